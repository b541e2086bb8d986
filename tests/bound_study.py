"""What `bound.FACTOR` costs and buys: `python tests/bound_study.py [OP ...]` prints the table.

Every op of the catalogues is drafted; for its outputs and gradients, in every shape and dtype and
for several seeds, the study notes the least factor that would let it pass. Beside it stand the
mutants of each that round to bfloat16 somewhere inside, which a good factor rejects.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import conftest  # noqa: F401  (the interpreter, before any kernel is imported)
import torch

import workbench_kernels
from workbench import tiers
from workbench.authors import Assignment, get
from workbench.channel import dtype_name
from workbench.judge.mutants import mutants
from workbench.judge.stage import CANDIDATE
from workbench.layout import LIBRARY
from workbench.profile import analyze
from workbench.reference import find
from workbench_kernels.bound import compare_one
from workbench_kernels.spec import OpSpec
from workbench_kernels.testing import Function, cases, draw
from workbench_kernels.truth import expect, run

FACTORS = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 8.0)
# The op is tried with so many seeds, a mutant with one; so many mutants of an op are tried.
SEEDS, MOST_ROUNDED = 3, 2
NAMES = [name for tier in tiers.tiers() if tier.number < 3 for name in tier.references]


@dataclass(frozen=True)
class Needed:
    """The least factor with which all results of a program in one dtype pass, and where it was
    needed. `change` is "" for the op itself, else what a mutant has wrong.
    """

    op: str
    change: str
    dtype: str
    factor: float
    where: str


def study(name: str, root: Path) -> Iterator[Needed]:
    """The op as it is drafted, then each mutant that rounds to bfloat16 inside."""
    reference = find(name)
    profile = analyze(reference, name)
    get("draft").write(Assignment(profile=profile, reference=reference, root=root, folder=root))
    folder = root / LIBRARY / name
    yield from _needed(name, "", folder.parent, SEEDS)
    sources = {file: (folder / file).read_text() for file in CANDIDATE}
    rounded = [m for m in mutants(sources, most=1000) if m.kind == "lower precision"]
    for mutant in rounded[:MOST_ROUNDED]:
        with tempfile.TemporaryDirectory() as other:
            changed = Path(other) / name
            changed.mkdir()
            for file in ("spec.py", *CANDIDATE):
                (changed / file).write_text((folder / file).read_text())
            (changed / mutant.file).write_text(mutant.source)
            yield from _needed(name, mutant.description, Path(other), 1)


def _needed(name: str, change: str, folder: Path, seeds: int) -> Iterator[Needed]:
    spec, function = _load(name, folder)
    found = list(_factors(spec, function, seeds))
    for dtype in spec.dtypes:
        worst = max((factor, where) for of, factor, where in found if of is dtype)
        yield Needed(name, change, dtype_name(dtype), *worst)


def _load(name: str, folder: Path) -> tuple[OpSpec, Function]:
    for module in [m for m in sys.modules if m.startswith(f"workbench_kernels.{name}")]:
        del sys.modules[module]
    workbench_kernels.__path__[:] = [str(folder), str(Path(workbench_kernels.__file__).parent)]
    spec = import_module(f"workbench_kernels.{name}.spec").SPEC
    return spec, getattr(import_module(f"workbench_kernels.{name}.wrapper"), name)


def _factors(
    spec: OpSpec, function: Function, seeds: int
) -> Iterator[tuple[torch.dtype, float, str]]:
    """For each result its dtype, the least factor that lets it pass, and its name."""
    for case in cases(spec):
        for seed in range(seeds):
            inputs = draw(spec, case.rows, case.cols, case.dtype, seed)
            expected = expect(spec, inputs, parameters=case.parameters, seed=seed)
            got = run(spec, function, inputs, expected.upstream, parameters=case.parameters)
            for result, eager in expected.eager.items():
                values = got[result], eager, expected.truth[result]
                ratio = compare_one(result, *values, expected.error[result]).ratio
                if ratio > 1:
                    again = compare_one(result, *values, expected.worst_error[result]).ratio
                    ratio = min(ratio, again)
                yield case.dtype, ratio, f"{result} {case}"


def table(found: Sequence[Needed]) -> str:
    """How many ops pass and how many rounded mutants are rejected, by dtype and factor."""
    rows = [f"{'dtype':10} {'factor':>6}   ops pass   rounded rejected"]
    for dtype in dict.fromkeys(n.dtype for n in found):
        right = [n.factor for n in found if n.dtype == dtype and not n.change]
        rounded = [n.factor for n in found if n.dtype == dtype and n.change]
        for factor in FACTORS:
            passed, caught = sum(f <= factor for f in right), sum(f > factor for f in rounded)
            counts = f"{passed:4} of {len(right)}   {caught:4} of {len(rounded)}"
            rows.append(f"{dtype:10} {factor:6g} {counts}")
    return "\n".join(rows)


def main(names: Iterable[str]) -> None:
    torch.set_num_threads(1)
    found: list[Needed] = []
    with tempfile.TemporaryDirectory() as folder:
        (root := Path(folder)).joinpath(LIBRARY).mkdir(parents=True)
        for name in names:
            for needed in study(name, root):
                print(f"{needed.factor:10.3g}  {needed.op:20} {needed.where:24} {needed.change}")
                found.append(needed)
    print(table(found))


if __name__ == "__main__":
    main(sys.argv[1:] or NAMES)
