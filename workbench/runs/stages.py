"""What the stages of a workflow do: each turns a run's context into a result, and knows no other.

They import what is heavy (torch, the judge) only when they run, so that asking for help stays fast.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from workbench.autopatch import stages as autopatching
from workbench.errors import BadReference
from workbench.repository import Repository, content
from workbench.runs import Commission, Request, StageResult, gate, revising
from workbench.runs.attempts import findings
from workbench.runs.engine import Context, StageFunction
from workbench.runs.store import Store
from workbench.tune import stages as tuning

if TYPE_CHECKING:
    from workbench.authors import Author
    from workbench.profile import Profile


def request(
    op: str,
    target: str | None,
    tier: int | None,
    force_tier: bool,
    author: str,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Request:
    """What `workbench new` asks for, with the reference's whole text.

    Raises:
        UsageError: no such tier or author.
        BadReference: the reference is unknown, can't be read, or no kernel could be judged by it.
    """
    from workbench import authors, reference, soundness, tiers

    authors.get(author)
    if tier is not None:
        tiers.tier(tier)
    if target == "-":
        found = reference.parse(sys.stdin.read(), op, "<stdin>", "a snippet")
    else:
        found = reference.load(target) if target else reference.find(op)
    soundness.check(found)
    return Request(
        op=op,
        origin=found.origin,
        reference=found.to_record(),
        tier=tier,
        force_tier=force_tier,
        author=author,
        options=dict(options),
    )


def author(name: str | None, options: Mapping[str, Any], store: Store) -> str:
    """The author of that name, or the one of who names none, ready to begin with these options.

    Raises:
        UsageError: there is none, or it can't begin.
        RunError: there is no run to replay.
    """
    from workbench import authors

    name = name or authors.default()
    if name.startswith(authors.REPLAY):
        name = f"{authors.REPLAY}{store.find(name.removeprefix(authors.REPLAY)).id}"
    authors.get(name).check(options, store.folder_of(name).parent)
    return name


def classify(target: str) -> Profile:
    """The profile of a reference `FILE.py:FUNC`, or of a catalogue's.

    Raises:
        BadReference: it is unknown, can't be read, or no kernel could be judged by it.
    """
    from workbench import reference, soundness
    from workbench.profile import analyze as profile

    found = reference.load(target) if ":" in target else reference.find(target)
    soundness.check(found)
    return profile(found, found.symbol)


def analyze(context: Context) -> StageResult:
    """Trace the reference and say what the op is.

    Raises:
        BadReference: it can't be traced.
        TierError: the op is of another tier than asked for.
    """
    asked = context.run.request
    if asked.commission is not None:
        return _propose(context, asked.commission)
    return analysis(asked)


def analysis(asked: Request) -> StageResult:
    """What an op is whose reference a person wrote: the same in every run of the request.

    Raises:
        BadReference: it can't be traced.
        TierError: the op is of another tier than asked for.
    """
    from workbench.profile import analyze as profile
    from workbench.reference import Reference

    reference = Reference.from_record(asked.reference)
    found = profile(reference, asked.op).as_tier(asked.tier, force=asked.force_tier)
    return StageResult(summary=profile_facts(found, asked.tier), data=found.model_dump(mode="json"))


def _propose(context: Context, commission: Commission) -> StageResult:
    """Have the reference written, if it isn't yet, and say what it is; it is run in a sandbox only.

    Raises:
        AuthorError: the author can't, or its budget is spent.
        BadReference: what is there now is no reference.
        TierError: the op is of another tier than asked for.
    """
    from workbench import authors, proposal

    asked, facts = context.run.request, list[str]()
    context.folder.mkdir(parents=True, exist_ok=True)
    text = gate.read(context.folder) or commission.derived
    if not text:
        defined = authors.definer(asked.author).define(
            authors.Wanted(
                op=asked.op,
                commission=commission,
                tier=asked.tier or 1,
                origin=asked.origin,
                folder=context.folder,
                options=asked.options,
                tell=context.tell,
            )
        )
        text, facts = defined.text, [f"reference by {asked.author}", *defined.facts]
    try:
        found = proposal.examine(text, asked.op, asked.origin)
    except BadReference as error:
        gate.write(context.folder, text)
        hint = f"workbench profile edit {context.run.id}"
        raise BadReference(str(error), f"{error.hint}\n{hint}".strip()) from error
    gate.write(context.folder, found.text)
    profile = found.profile.as_tier(asked.tier, force=asked.force_tier)
    summary = [*profile_facts(profile, asked.tier), *facts]
    return StageResult(summary=summary, data=gate.data(found, profile))


def profile_facts(profile: Profile, asked: int | None = None) -> list[str]:
    """A profile in three facts: the reference, its traced graphs, its tier."""
    from workbench import tiers

    tier = f"tier {profile.tier}: {tiers.tier(profile.tier).title}"
    if profile.tier != profile.traced_tier:
        tier += f", forced; traced as tier {profile.traced_tier}"
    elif asked is not None:
        tier += ", as asked"
    origin = (
        profile.origin.partition(":")[0]
        if profile.origin.startswith("catalogue")
        else profile.origin
    )
    return [
        f"reference {profile.formula or profile.op} ({origin})",
        f"traced {profile.forward_ops} forward, {profile.backward_ops} backward ops",
        tier,
    ]


def generate(context: Context) -> StageResult:
    """Let the run's author write the op's files.

    Raises:
        AuthorError: the author can't, or its budget is spent.
    """
    from workbench import authors

    return written(authors.get(context.run.request.author), context)


def written(author: Author, context: Context) -> StageResult:
    """What this author writes.

    Raises:
        AuthorError: the author can't, or its budget is spent.
    """
    from workbench import authors
    from workbench.profile import Profile
    from workbench.reference import Reference

    run = context.run
    wrote = author.write(
        authors.Assignment(
            profile=Profile.model_validate(context.result("analyze").data),
            reference=Reference.from_record(run.request.reference),
            root=context.root,
            folder=context.folder,
            findings=tuple(findings(run, "generate")),
            options=run.request.options,
            cohort=run.request.cohort,
            tell=context.tell,
        )
    )
    return StageResult(
        summary=[f"{author.name} author", *wrote.facts, *collapse(wrote.paths)],
        unknown=list(wrote.unknown),
        data={"files": [path.as_posix() for path in wrote.paths], "repairs": wrote.repairs},
    )


def collapse(paths: Iterable[Path]) -> list[str]:
    """Paths as a shell would take them, those of one folder in one: `relu2/{spec,kernel}.py`."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in paths:
        groups[path.parent.as_posix(), path.suffix].append(path.stem)
    return [
        f"{folder}/{{{','.join(stems)}}}{suffix}"
        if len(stems) > 1
        else f"{folder}/{stems[0]}{suffix}"
        for (folder, suffix), stems in groups.items()
    ]


def verify(context: Context) -> StageResult:
    """Ask the judge whether the op is right, and whether its spec is the one that was confirmed."""
    from workbench import judge
    from workbench.agent.findings import findings as findings_of
    from workbench.evidence.make import of_verdict
    from workbench.jobs import lock
    from workbench.verification import rules
    from workbench.verification.result import joined

    run, root = context.run, context.root
    if run.request.reference:
        stands = [rules.spec_of_run(run, root, run.op)]
    else:
        known = (Repository.discover(context.folder), run.base, root, run.op)
        kept = [rules.test_of_base(*known)] if run.request.workflow == revising.WORKFLOW else []
        stands = [rules.spec_of_base(*known), *kept]
    with lock.own_gpu(lambda step: context.tell(step.what)):  # nobody is timed meanwhile
        verdict = joined(judge.verify(root, run.op), stands)
    failures = [f"{check.name}: {check.message}" for check in verdict.failures]
    unknown = [f"{check.name}: {check.message}" for check in verdict.skipped]
    if verdict.interpreted:
        unknown.insert(0, "whether it is right on a GPU: verified in Triton's interpreter")
    return StageResult(
        ok=verdict.passed,
        summary=verdict.summary(),
        problem="" if verdict.passed else "\n".join(failures) or "no check passed",
        findings="" if verdict.passed else findings_of(verdict),
        unknown=unknown,
        data=verdict.model_dump(mode="json"),
        evidence=[of_verdict(verdict)],
    )


def bench(context: Context) -> StageResult:
    """Ask what the op costs, as far as this machine can tell.

    Raises:
        WorkbenchError: the compiler's process ended without a report.
    """
    import torch

    from workbench.bench import static
    from workbench.bench.table import floor_row, usage_row
    from workbench.evidence.make import of_report
    from workbench.profile import Profile

    if torch.cuda.is_available():
        return _measured(context)
    files = content(context.root, context.run.op).digests
    report = static.static_report(context.root, context.run.op)
    *facts, no_time = report.summary()
    analysis = context.run.latest("analyze")  # a revised op had its own, long ago
    known = floor(Profile.model_validate(analysis.result.data)) if analysis is not None else []
    summary = [*facts, *known, no_time]
    return StageResult(
        ok=not report.failures,
        summary=summary,
        problem="\n".join(report.failures),
        unknown=["how fast it is: it was compiled, not run"],
        tables={
            "compiled": [usage_row(usage) for usage in report.kernels],
            "must move": [floor_row(floor) for floor in report.floors],
        },
        data=report.model_dump(mode="json"),
        evidence=[of_report(report, context.root, files, summary)],
    )


def _measured(context: Context) -> StageResult:
    from workbench.bench.measure import Plan, measure
    from workbench.evidence.make import of_measurement
    from workbench.jobs import lock
    from workbench.judge import sandbox
    from workbench.runs import measured

    op, root = context.run.op, context.root
    files = content(root, op).digests
    with lock.own_gpu(lambda step: context.tell(step.what)):
        found = measure(root, op, Plan())
    return measured.result(found, of_measurement(found, root, files, str(sandbox.find())))


def floor(profile: Profile) -> list[str]:
    """The transfers per element no kernel can avoid, forward + backward; nothing where unknown."""
    sides = [str(t.reads + t.writes) for t in (profile.forward, profile.backward) if t is not None]
    return [f"floor {'+'.join(sides)} transfers per element"] if sides else []


STAGES: dict[str, StageFunction] = {
    "analyze": analyze,
    "generate": generate,
    "verify": verify,
    "bench": bench,
    "profile": tuning.profile,
    "tune": tuning.tune,
    "compare": tuning.compare,
    "revise": revising.revise,
    "look into": autopatching.look_into,
    "write recipe": autopatching.write_recipe,
    "prove recipe": autopatching.prove_recipe,
}
