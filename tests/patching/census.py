"""Which causal language models of transformers get the fused loss, and whether with it their loss
and gradients are the same.

    TRITON_INTERPRET=1 python tests/patching/census.py [TYPE ...]

Of every type a tiny model is built, its config's sizes made small by their names, and trained for
one step as it is and with `install`. Each in a process of its own, forked from one that has
imported everything; a table `type | built | fused | equal | why not` goes to stdout.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from tiny_models import ATTEMPTS, build, difference, step
from torch import Tensor

SECONDS = 90  # for one type


@dataclass
class Row:
    """What became of one type."""

    type: str
    built: bool = False
    fused: bool = False
    equal: bool = False
    why: str = ""

    def __str__(self) -> str:
        yes = ["yes" if b else "no" for b in (self.built, self.fused, self.equal)]
        return " | ".join([self.type, *yes, self.why])


def types() -> list[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def measure(kind: str) -> Row:
    """One type: built, trained, patched, trained, compared."""
    from workbench_kernels.patching import lazy, loss

    row = Row(kind)
    for overrides in ATTEMPTS:
        try:
            model = build(kind, overrides)
            patched = copy.deepcopy(model)
            again = copy.deepcopy(model)
            theirs = step(model)
            if not theirs[0].loss.isfinite():
                row.why = "its loss is not finite"
                continue
            row.built = True
            break
        except Exception as error:
            row.why = row.why or f"{type(error).__name__}: {str(error)[:150]}".replace("\n", " ")
    if not row.built:
        return row
    row.why = ""
    found = loss.head_of(patched)
    if isinstance(found, str):
        row.why = found
        return row
    needed: list[str] = []
    materialise = lazy.Deferred.materialise

    def spy(deferred: Any) -> Tensor:
        frame = sys._getframe(1)
        while frame.f_back and "types" not in frame.f_locals:
            frame = frame.f_back
        needed.append(getattr(frame.f_locals.get("func"), "__name__", "?"))
        return materialise(deferred)

    lazy.Deferred.materialise = spy  # type: ignore[method-assign]
    _, head = found
    loss.install(patched, head, token_accuracy=True)
    ours = step(patched)
    row.fused = loss.accuracy_of(head) is not None and not needed
    row.why = f"needed by {needed[0]}" if needed else "" if row.fused else "no lazy logits"
    off = difference(theirs, ours)
    if off:
        repeated = difference(theirs, step(again))
        off += "; nor is it the same when repeated unpatched" if repeated else ""
        row.why = off
    row.equal = not off
    return row


def _measure_into(pipe: Any, kind: str) -> None:
    torch.set_num_threads(1)
    try:
        row = measure(kind)
    except Exception as error:
        row = Row(kind, True, why=f"{type(error).__name__}: {str(error)[:200]}".replace("\n", " "))
    pipe.send(asdict(row))


def census(kinds: Sequence[str]) -> Iterator[Row]:
    fork = multiprocessing.get_context("fork")
    for kind in kinds:
        ours, theirs = fork.Pipe(duplex=False)
        process = fork.Process(target=_measure_into, args=(theirs, kind))
        process.start()
        theirs.close()
        try:
            yield Row(**ours.recv()) if ours.poll(SECONDS) else Row(kind, why="took too long")
        except EOFError:
            yield Row(kind, why="its process died")
        process.kill()
        process.join()


def main() -> None:
    os.environ["TRITON_INTERPRET"] = "1"
    from workbench import interpreter

    interpreter.enable()
    import transformers

    transformers.logging.set_verbosity_error()
    rows = []
    for row in census(sys.argv[1:] or types()):
        print(row, flush=True)
        rows.append(row)
    built, fused = [r for r in rows if r.built], [r for r in rows if r.fused]
    both = sum(r.equal for r in fused)
    print(
        f"{len(rows)} types, {len(built)} built, {len(fused)} fused, {both} of them equal, "
        f"{sum(r.equal for r in built)} equal in all"
    )


if __name__ == "__main__":
    main()
