"""Verdicts on variants of an op that was judged: the same code with other launch parameters.

Every check of a candidate is made of each, and the op's tests run with each. How much those tests
notice is a matter of the tests and the code, which are the same, so that is taken over. Besides,
many variants share the processes and the truth of each input, and what Triton has compiled for one
is not compiled for another.
"""

from __future__ import annotations

import ast
import hashlib
import secrets
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ConfigDict

from workbench.judge import sandbox
from workbench.judge.examination import Examination, choose_device
from workbench.judge.place import cores
from workbench.judge.stage import LIBRARY, prepare
from workbench.judge.verdict import MUTATION, Check, Verdict
from workbench.judge.verify import TIMEOUT_SECONDS, source
from workbench_kernels.tuning import Table

Sources = Mapping[str, str]
# How many variants are examined in the time that one verdict may take; the cores that one keeps
# busy while others are examined beside it.
_AT_ONCE, _CORES = 4, 4
# How an op declares what can be tuned.
DECLARED = {kind.__name__: kind for kind in get_args(Table)}


class Examined(BaseModel):
    """What was found of a variant itself, and with which values."""

    model_config = ConfigDict(frozen=True)

    seed: int
    checks: tuple[Check, ...]
    seconds: float


def same_code(one: Sources, other: Sources) -> bool:
    """Whether two sources differ in the numbers of what they declare to be tuned, and in nothing
    else that Python sees.
    """
    if one.keys() != other.keys():
        return False
    try:
        return all(_code(one[name]) == _code(other[name]) for name in one)
    except (SyntaxError, ValueError, RecursionError):
        return False


def examine(root: Path, op: str, variants: Mapping[str, Sources]) -> dict[str, Examined]:
    """Make the checks of a candidate of each variant of the op below `root`; there is at least one.

    Raises:
        UsageError: the sandbox asked for is not to be had here.
    """
    seed, device = secrets.randbits(31), choose_device()[0]
    timeout = TIMEOUT_SECONDS * (1 + len(variants) / _AT_ONCE)
    with tempfile.TemporaryDirectory(prefix="workbench-judge-") as folder:
        stage = prepare(root, op, Path(folder))
        deadline = time.monotonic() + timeout
        with Examination(
            stage, sandbox.find(), device, seed, deadline, (), remembers=True
        ) as examination:

            def one(name: str, of: int) -> Examined:
                started = time.monotonic()
                checks = [source(root, op, variants[name])]
                checks += examination.of_variant(stage.add_variant(name, variants[name]), of)
                seconds = round(time.monotonic() - started, 1)
                return Examined(seed=seed, checks=tuple(checks), seconds=seconds)

            # The first alone: the others find what it has had compiled.
            first, *others = variants
            found = {first: one(first, 1)}
            at_once = max(1, min(len(others), cores() // _CORES))
            with ThreadPoolExecutor(at_once) as threads:
                found |= zip(others, threads.map(partial(one, of=at_once), others), strict=True)
    return found


def verdict(judged: Verdict, variant: Sources, found: Examined) -> Verdict:
    """The verdict on a variant of what was `judged`; the checks of spec and tests are its."""
    own = {check.name for check in found.checks}
    kept = [check for check in judged.checks if check.name not in own]
    folder = (LIBRARY / judged.op).as_posix()
    digests = {
        f"{folder}/{name}": hashlib.sha256(text.encode()).hexdigest()
        for name, text in variant.items()
    }
    return judged.model_copy(
        update={
            "seed": found.seed,
            "files": {**judged.files, **digests},
            "checks": (*found.checks, *map(_taken_over, kept)),
            "seconds": found.seconds,
        }
    )


def _taken_over(check: Check) -> Check:
    if check.name != MUTATION or check.status != "passed":
        return check
    same = "as it is of the same code with other launch parameters"
    return check.model_copy(update={"message": "; ".join(filter(None, [check.message, same]))})


def _code(source: str) -> str:
    """The program without what its declarations say: which parameter has which number, and where
    that changes.
    """
    module = ast.parse(source)
    for statement in module.body:
        call = statement.value if isinstance(statement, ast.Assign) else None
        if isinstance(call, ast.Call) and ast.unparse(call.func) in DECLARED:
            for argument in call.args:
                ast.literal_eval(argument)  # what has to be run is code
            call.args = []
    return ast.dump(module)
