"""What the stages of the bench workflow do: profile an op, tune it, compare it with what it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import RepositoryError, UsageError
from workbench.layout import op_paths
from workbench.repository import Repository, content
from workbench.runs import Request, StageResult
from workbench.runs.engine import Context

if TYPE_CHECKING:
    from workbench.bench.measure import Plan
    from workbench.bench.measurement import Measurement
    from workbench.evidence import Evidence
    from workbench.tune.rewrites import Improver
    from workbench.tune.wave import Idea

WORKFLOW = "bench"
AS_IT_IS, ITSELF, BEFORE = "as it is", "itself", "before"
SWEEP = "sweep"
MINUTES = 10.0
# Rounds of a race, of which there are many, and where few of those who take part stay to the end.
_ROUNDS = 9
# What a contender holds at a size, in tensors of that size: a pool of inputs, gradients, results.
_TENSORS = 12
# How long a GPU's counters may take to be read.
_COUNTING_SECONDS = 30.0


def request(
    repository: Repository,
    op: str,
    targets: Sequence[str],
    minutes: float,
    sizes: Sequence[tuple[int, int]] | None,
    dtype: str | None,
    author: str | None,
) -> Request:
    """What `workbench tune` asks for.

    Raises:
        UsageError: no GPU, no such op or author, or a target that is none.
        RepositoryError: the op is not committed.
    """
    import torch

    from workbench.tune.rules import Target

    for target in targets:
        Target.parse(target)
    if author is not None:
        improver(author)
    if op not in repository.ops():
        raise UsageError(f"the library has no op {op!r}", "workbench ops lists them")
    if not repository.has("HEAD", op_paths(op)[0]):
        raise RepositoryError(f"{op} is not in HEAD", "commit it first: a run starts from HEAD")
    if not torch.cuda.is_available():
        raise UsageError(
            "tune needs a GPU, and there is none", f"workbench bench {op} compiles it for several"
        )
    options: dict[str, Any] = {
        "targets": list(targets),
        "seconds": 60 * minutes,
        "sizes": None if sizes is None else [list(size) for size in sizes],
        "dtype": dtype,
    }
    return Request(
        op=op,
        origin="the library",
        reference={},
        author=author or SWEEP,
        workflow=WORKFLOW,
        options=options,
    )


def improver(name: str) -> Improver:
    """The author of that name, who can make an op faster.

    Raises:
        UsageError: there is none, or it can't.
    """
    from workbench import authors

    author = authors.get(name)
    if not callable(getattr(author, "improve", None)):
        raise UsageError(
            f"the author {name!r} writes ops and can't make one faster",
            "leave --author out: what the kernel declares is swept",
        )
    improver: Improver = author  # type: ignore[assignment]
    return improver


def profile(context: Context) -> StageResult:
    """Measure the op as it is, and how far it is from itself.

    Raises:
        WorkbenchError: it can't be measured.
    """
    from workbench.bench.diagnose import diagnose
    from workbench.bench.diagnosis import Diagnosis, explain
    from workbench.bench.entrant import Rival
    from workbench.bench.measure import measure
    from workbench.bench.measurement import OURS
    from workbench.evidence.make import of_measurement
    from workbench.judge import sandbox
    from workbench.tune.rules import noise

    op, root = context.run.op, _base(context)
    rivals = (Rival(OURS, "op"), Rival(ITSELF, "op"))
    found = measure(root, op, _plan(context, rivals=rivals))
    evidence = of_measurement(found, root, content(root, op).digests, str(sandbox.find()))
    apart = noise(found, ITSELF)
    if found.failures:
        return StageResult(
            ok=False, summary=[], problem="\n".join(found.failures), evidence=[evidence]
        )
    if context.run.request.author == SWEEP:  # which looks at nothing of it, so no time is spent
        known = Diagnosis(op=op, device=found.device, sizes=tuple(map(explain, found.points)))
    else:
        size = _most_to_gain(found)
        context.tell(f"where the time goes at {size[0]} x {size[1]}")
        known = diagnose(root, found, [size], timeout=_COUNTING_SECONDS)
    return StageResult(
        summary=[*_without_peers(found), f"{apart:.1%} from itself"],
        data={
            "noise": apart,
            "measurement": found.model_dump(mode="json"),
            "diagnosis": known.sentences(),
        },
        evidence=[evidence],
    )


def tune(context: Context) -> StageResult:
    """Try variants, and write the fastest.

    Raises:
        VerificationFailed: the op itself is wrong.
        WorkbenchError: a process ended where it should not, or the author gave up.
    """
    from workbench.bench.measurement import Measurement
    from workbench.tune.notebook import Notebook
    from workbench.tune.panel import Panel
    from workbench.tune.rewrites import Rewrites
    from workbench.tune.rules import Patience, Target
    from workbench.tune.sweep import Sweep
    from workbench.tune.tune import Proposer, Tuning
    from workbench.tune.wave import floors, times

    run, options = context.run, context.run.request.options
    before = context.result("profile").data
    found = Measurement.model_validate(before["measurement"])
    repository = Repository.discover(context.folder)
    panel, notebook = Panel(repository, run.id, run.base, run.op), Notebook(context.folder)
    facts = [*context.result("profile").summary, *before["diagnosis"]]
    notebook.begun(f"{run.id} on {found.device}", facts)
    targets = [Target.parse(text) for text in options["targets"]]
    sizes = [(point.rows, point.cols) for point in found.points]
    proposers: list[Proposer] = [Sweep(sizes, _side_by_side(found))]
    if run.request.author != SWEEP:
        author = improver(run.request.author)
        proposers.append(Rewrites(author, _Teller(context, facts, notebook)))
    start = _start(context)
    outcome = Tuning(
        judge=panel,
        race=_Race(context, panel),
        notebook=notebook,
        patience=Patience(options["seconds"], targets, before["noise"]),
        times=times(found),
        floors=floors(found),
        tell=context.tell,
    ).run(start, proposers)
    repository.remove_variants(run.id)
    tried = sum(len(wave.ideas) for wave in outcome.waves)
    said = [f"{tried} variants in {len(outcome.waves)} waves", outcome.stopped]
    if outcome.best.digest == start.digest:
        ends = f"nothing is faster: {outcome.stopped}"
        return StageResult(
            summary=[*said, f"notebook {notebook.page}"], ends=ends, evidence=outcome.records
        )
    written = _write(context.root, run.op, outcome.best)
    return StageResult(
        summary=[*said, *written, f"notebook {notebook.page}"], evidence=outcome.records
    )


def compare(context: Context) -> StageResult:
    """Measure what came of it beside what it was, and beside its peers; at nobody's expense.

    Raises:
        WorkbenchError: it can't be measured.
    """
    from workbench.bench import table
    from workbench.bench.entrant import Rival
    from workbench.bench.measure import measure
    from workbench.bench.measurement import OURS
    from workbench.evidence.make import of_measurement
    from workbench.judge import sandbox
    from workbench.tune.rules import costs, expenses
    from workbench.tune.wave import ratios

    op, root = context.run.op, context.root
    files = content(root, op).digests
    before = Rival(BEFORE, "op", sources=_start(context).sources)
    found = measure(root, op, _plan(context, besides=(before,)))
    slower = expenses(ratios(found, OURS, BEFORE)) + costs(found, BEFORE)
    found = found.model_copy(update={"failures": (*found.failures, *slower)})
    return StageResult(
        ok=not found.failures,
        summary=found.summary(),
        problem="\n".join(found.failures),
        unknown=table.problems(found),
        tables={"measured": table.rows(found)},
        data=found.model_dump(mode="json"),
        evidence=[of_measurement(found, root, files, str(sandbox.find()))],
    )


@dataclass(frozen=True)
class _Race:
    """Times ideas beside the best so far, in the worktree of that."""

    context: Context
    panel: Any

    def __call__(self, best: Idea, ideas: Sequence[Idea]) -> Evidence:
        from workbench.bench.entrant import Rival
        from workbench.bench.measure import measure
        from workbench.bench.measurement import OURS
        from workbench.evidence.make import of_measurement
        from workbench.judge import sandbox

        op, root = self.context.run.op, self.panel.root(best)
        files = content(root, op).digests
        variants = [Rival(idea.name, "op", sources=idea.sources) for idea in ideas]
        plan = _plan(self.context, rivals=(Rival(OURS, "op"), *variants), rounds=_ROUNDS, race=True)
        found = measure(root, op, plan)
        return of_measurement(found, root, files, str(sandbox.find()))


@dataclass(frozen=True)
class _Teller:
    """What an author may know."""

    context: Context
    diagnosis: Sequence[str]
    notebook: Any

    def __call__(self, best: Idea) -> Any:
        from workbench.tune.rewrites import Findings

        spec = _base(self.context) / op_paths(self.context.run.op)[0] / "spec.py"
        return Findings(
            op=self.context.run.op,
            spec=spec.read_text(),
            sources=best.sources,
            diagnosis=self.diagnosis,
            notebook=self.notebook.page.read_text(),
        )


def _base(context: Context) -> Path:
    """The library as it was when the run began."""
    repository = Repository.discover(context.folder)
    return repository.ensure_variant(context.run.id, "base", context.run.base)


def _start(context: Context) -> Idea:
    from workbench.judge.stage import CANDIDATE
    from workbench.tune.wave import Idea

    folder = _base(context) / op_paths(context.run.op)[0]
    sources = {name: (folder / name).read_text(encoding="utf-8") for name in CANDIDATE}
    return Idea(name=AS_IT_IS, hypothesis="what the library has", expected=0.0, sources=sources)


def _plan(context: Context, **more: Any) -> Plan:
    import torch

    from workbench.bench.measure import Plan

    options = context.run.request.options
    sizes = [(rows, cols) for rows, cols in options["sizes"]] if options["sizes"] else None
    dtype = getattr(torch, options["dtype"]) if options["dtype"] else None
    return Plan(sizes, dtype, **more)


def _side_by_side(found: Measurement) -> int:
    """How many variants fit the GPU's memory at the largest size."""
    import torch

    largest = max(point.rows * point.cols for point in found.points)
    dtype = getattr(torch, found.points[0].dtype)
    room = 0.8 * torch.cuda.get_device_properties(0).total_memory
    return max(1, int(room / (_TENSORS * largest * dtype.itemsize)) - 1)


def _write(root: Path, op: str, best: Idea) -> list[str]:
    """Put an idea's files where they differ; which."""
    written = []
    for name, text in best.sources.items():
        path = root / op_paths(op)[0] / name
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            written.append(f"{op_paths(op)[0]}/{name}")
    return written


def _most_to_gain(found: Measurement) -> tuple[int, int]:
    """The size where the op is furthest above the floor, in seconds."""
    from workbench.tune.wave import floors, times

    above = dict[tuple[int, int], float]()
    for (rows, cols, way), seconds in times(found).items():
        more = seconds - floors(found).get((rows, cols, way), 0.0)
        above[rows, cols] = max(more, above.get((rows, cols), 0.0))
    return max(above, key=lambda size: above[size], default=(0, 0))


def _without_peers(found: Measurement) -> list[str]:
    return [fact for fact in found.summary() if "peer" not in fact]
