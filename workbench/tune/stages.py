"""What the stages of the bench workflow do: profile an op, tune it, compare it with what it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.errors import RepositoryError, UsageError
from workbench.layout import op_paths
from workbench.repository import Repository
from workbench.runs import Request, StageResult
from workbench.runs.engine import Context

if TYPE_CHECKING:
    from workbench.bench.measure import Plan
    from workbench.bench.measurement import Measurement
    from workbench.tune.clock import Clock
    from workbench.tune.notebook import Notebook
    from workbench.tune.panel import Panel
    from workbench.tune.rewrites import Findings, Improver
    from workbench.tune.wave import Idea
    from workbench.tune.worktrees import Variants

WORKFLOW = "bench"
BEFORE = "before"
SWEEP = "sweep"
MINUTES = 10.0
# Variants of a wave where nobody here knows how much memory a GPU there has.
MOST_ELSEWHERE = 6
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
    on: str,
    model: str | None,
) -> Request:
    """What `workbench tune` asks for.

    Raises:
        UsageError: no GPU, or several models of them, no such op or author, or a target that is
            none.
        RepositoryError: the op is not committed.
    """
    from workbench.tune.rules import Target

    for target in targets:
        Target.parse(target)
    if author is not None:
        improver(author)
    repository.check_ops([op])
    if not repository.has("HEAD", op_paths(op)[0]):
        raise RepositoryError(f"{op} is not in HEAD", "commit it first: a run starts from HEAD")
    options: dict[str, Any] = {
        "targets": list(targets),
        "seconds": 60 * minutes,
        "sizes": None if sizes is None else [list(size) for size in sizes],
        "dtype": dtype,
        "on": on,
        "model": _model(on, model, op),
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


def _model(on: str, asked: str | None, op: str) -> str:
    """The one model of GPU to tune for: what is best on another may be something else.

    Raises:
        UsageError: there is none, or several.
    """
    from workbench import jobs

    with jobs.executor(on) as executor:
        models = list(executor.models)
        if not models:
            raise jobs.no_gpu("tune", executor, op)
        if asked is not None and asked not in models:
            raise UsageError(f"{executor.name} has no {asked!r}", f"it has {', '.join(models)}")
        if asked is None and len(models) > 1:
            raise UsageError(
                f"{executor.name} has several models of GPU, and tune is for one",
                f"--model, one of {', '.join(models)}",
            )
    return asked or models[0]


@dataclass(frozen=True)
class _Bench:
    """What a stage works with."""

    variants: Variants
    clock: Clock
    panel: Panel
    plan: Plan


@contextmanager
def _bench(context: Context) -> Iterator[_Bench]:
    from workbench import jobs
    from workbench.tune.clock import Clock
    from workbench.tune.panel import Panel
    from workbench.tune.worktrees import Variants

    run, options = context.run, context.run.request.options
    repository = Repository.discover(context.folder)
    variants = Variants(repository, run.id, run.base, run.op)
    plan = _plan(options)
    with jobs.executor(options["on"]) as executor:
        model = options["model"] if len(executor.models) > 1 else ""
        clock = Clock(variants, executor, model, plan, context.tell)
        panel = Panel(variants, executor, model, context.tell)
        yield _Bench(variants, clock, panel, plan)


def profile(context: Context) -> StageResult:
    """Measure the op as it is, and how far it is from itself.

    Raises:
        WorkbenchError: it can't be measured.
    """
    from workbench.bench.entrant import Rival
    from workbench.bench.export import measured
    from workbench.bench.measurement import OURS
    from workbench.bench.regression import ITSELF
    from workbench.tune.rules import host_noise, noise

    with _bench(context) as bench:
        rivals = (Rival(OURS, "op"), Rival(ITSELF, "op"))
        evidence = bench.clock.measure(bench.variants.start(), replace(bench.plan, rivals=rivals))
        found = measured(evidence)
        if found.failures:
            problem = "\n".join(found.failures)
            return StageResult(ok=False, summary=[], problem=problem, evidence=[evidence])
        apart = noise(found, ITSELF)
        said = _diagnosis(context, bench, found)
    return StageResult(
        summary=[*_without_peers(found), f"{apart:.1%} from itself"],
        data={
            "noise": apart,
            "host noise": host_noise(found, ITSELF),
            "measurement": found.model_dump(mode="json"),
            "diagnosis": said,
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
    from workbench.tune.rewrites import Rewrites
    from workbench.tune.rules import Patience, Target
    from workbench.tune.sweep import Sweep
    from workbench.tune.tune import Proposer, Tuning
    from workbench.tune.wave import floors, times
    from workbench.tune.worktrees import write

    run, options = context.run, context.run.request.options
    before = context.result("profile").data
    found = Measurement.model_validate(before["measurement"])
    facts = [*context.result("profile").summary, *before["diagnosis"]]
    notebook = Notebook(context.folder)
    notebook.begun(f"{run.id} on {found.device}", facts)
    targets = [Target.parse(text) for text in options["targets"]]
    sizes = [(point.rows, point.cols) for point in found.points]
    with _bench(context) as bench:
        proposers: list[Proposer] = [Sweep(sizes, _side_by_side(found))]
        if run.request.author != SWEEP:
            told = _Teller(bench.variants, facts, notebook)
            proposers.append(Rewrites(improver(run.request.author), told))
        start = bench.variants.as_it_is()
        outcome = Tuning(
            judge=bench.panel,
            race=replace(bench.clock, plan=replace(bench.plan, sizes=sizes)).race,
            notebook=notebook,
            patience=Patience(options["seconds"], targets, before["noise"]),
            times=times(found),
            floors=floors(found),
            tell=context.tell,
        ).run(start, proposers)
        bench.variants.remove()
    tried = sum(len(wave.ideas) for wave in outcome.waves)
    said = [f"{tried} variants in {len(outcome.waves)} waves", outcome.stopped]
    ends = f"nothing is faster: {outcome.stopped}" if outcome.best.digest == start.digest else ""
    written = [] if ends else write(context.root, run.op, outcome.best)
    summary = [*said, *written, f"notebook {notebook.page}"]
    return StageResult(summary=summary, ends=ends, evidence=outcome.records)


def compare(context: Context) -> StageResult:
    """Measure what came of it beside what it was, and beside its peers; at nobody's expense.

    Raises:
        WorkbenchError: it can't be measured.
    """
    from workbench.bench.entrant import Rival
    from workbench.bench.export import measured
    from workbench.bench.measurement import OURS
    from workbench.runs.measured import result
    from workbench.tune.rules import costs, expenses
    from workbench.tune.wave import ratios

    with _bench(context) as bench:
        before = Rival(BEFORE, "op", sources=bench.variants.as_it_is().sources)
        plan = replace(bench.plan, besides=(before,), patient=False)
        evidence = bench.clock.measure(context.root, plan)
    found = measured(evidence)
    slower = expenses(ratios(found, OURS, BEFORE)) + costs(
        found, BEFORE, context.result("profile").data["host noise"]
    )
    return result(found, evidence, slower)


@dataclass(frozen=True)
class _Teller:
    """What an author may know."""

    variants: Variants
    diagnosis: Sequence[str]
    notebook: Notebook

    def __call__(self, best: Idea) -> Findings:
        from workbench.tune.rewrites import Findings

        return Findings(
            op=self.variants.op,
            spec=self.variants.spec(),
            sources=best.sources,
            diagnosis=self.diagnosis,
            notebook=self.notebook.page.read_text(),
        )


def _plan(options: dict[str, Any]) -> Plan:
    import torch

    from workbench.bench.measure import Plan

    sizes = [(rows, cols) for rows, cols in options["sizes"]] if options["sizes"] else None
    return Plan(sizes, getattr(torch, options["dtype"]) if options["dtype"] else None)


def _diagnosis(context: Context, bench: _Bench, found: Measurement) -> list[str]:
    """Where the time goes: of what was measured, and for an author of what this GPU counts too."""
    from workbench.bench.diagnose import diagnose
    from workbench.bench.diagnosis import Diagnosis, explain

    if context.run.request.author == SWEEP:  # which looks at nothing of it, so no time is spent
        sizes = tuple(map(explain, found.points))
        return Diagnosis(op=found.op, device=found.device, sizes=sizes).sentences()
    rows, cols = _most_to_gain(found)
    context.tell(f"where the time goes at {rows} x {cols}")
    root = bench.variants.start()
    return diagnose(root, found, [(rows, cols)], timeout=_COUNTING_SECONDS).sentences()


def _side_by_side(found: Measurement) -> int:
    """How many variants fit the GPU's memory at the largest size."""
    import torch

    if not torch.cuda.is_available():  # it is elsewhere
        return MOST_ELSEWHERE
    largest = max(point.rows * point.cols for point in found.points)
    dtype = getattr(torch, found.points[0].dtype)
    room = 0.8 * torch.cuda.get_device_properties(0).total_memory
    return max(1, int(room / (_TENSORS * largest * dtype.itemsize)) - 1)


def _most_to_gain(found: Measurement) -> tuple[int, int]:
    """The size where the op is furthest above the floor, in seconds."""
    from workbench.tune.wave import floors, times

    above = dict[tuple[int, int], float]()
    for (rows, cols, way), seconds in times(found).items():
        more = seconds - floors(found).get((rows, cols, way), 0.0)
        above[rows, cols] = max(more, above.get((rows, cols), 0.0))
    return max(above, key=lambda size: above[size])


def _without_peers(found: Measurement) -> list[str]:
    return [fact for fact in found.summary() if "peer" not in fact]
