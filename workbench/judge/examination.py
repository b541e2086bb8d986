"""One examination of an op: the processes it takes, and the checks in their order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import torch

from workbench.judge import suite
from workbench.judge.checks import Behaviour, Clock, Interface, Spec, Values, Work
from workbench.judge.draws import by_several_draws
from workbench.judge.op import Op
from workbench.judge.place import Place
from workbench.judge.remote import Ended, Raised
from workbench.judge.sandbox import Sandbox
from workbench.judge.stage import Stage
from workbench.judge.suites import Suites, mutation_score, of_run, own_tests
from workbench.judge.trial import ONE_HAND, Hand, Trial, Trials, conduct, first_wrong
from workbench.judge.verdict import MUTATION, OWN_TESTS, Check, MutantResult
from workbench_kernels.bound import Comparison

# A mutant may hang: nobody waits for one as long as for a candidate.
_MUTANT_SECONDS = 30.0
# One trial of these takes longest. Of several hands, one begins with it while others do the rest.
_LONG = ("torch op", "torch.compile", "large offsets")
# What a mutant is not tried with: nearly always it would be in vain.
_DEAR = ("module", "second derivative", "torch op", "torch.compile", "large offsets")
# Checks that run nothing of the candidate.
_OF_FILES = frozenset({"source", "spec"})
# How far the seeds of two draws are apart.
_DRAW = 1000
_SHORT = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def _nothing() -> None:
    """There is nothing to wait for."""


class Examination:
    """One op on `device`, examined there and, where its tests are, in the interpreter. Leaving the
    context ends every process that this takes. With `remembers` the truth of inputs is found once
    for all that are examined.

    After `conduct`, `dtypes` and `mutants` say what was found besides.
    """

    def __init__(
        self,
        stage: Stage,
        sandbox: Sandbox,
        device: str,
        seed: int,
        deadline: float,
        only: Collection[str] | None = None,
        *,
        remembers: bool = False,
    ) -> None:
        self._stage, self._seed, self._deadline, self._only = stage, seed, deadline, only
        self._device = self._interpreter = Place(
            stage,
            sandbox,
            device,
            deadline,
            remembers=remembers,
            candidates=self._wants_candidate(),
        )
        if self._device.is_gpu and self._wants_suites():
            self._interpreter = Place(stage, sandbox, "cpu", deadline)
        self._open = ExitStack()
        self.dtypes: tuple[str, ...] = ()
        self.mutants: list[MutantResult] = []

    def __enter__(self) -> Examination:
        with ExitStack() as places:
            for place in dict.fromkeys((self._device, self._interpreter)):
                places.enter_context(place)
            self._open = places.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def conduct(self) -> list[Check]:
        """Make every check, of the spec, the candidate and its tests."""
        return list(self._checks())

    def of_candidate(self, folder: Path, only: Collection[str] | None = None) -> Iterator[Check]:
        """The checks of the kernel and wrapper in `folder`, in processes of their own: all of them,
        or those of the names `only`.
        """
        try:
            with self.opened(folder) as op:
                yield from self._examine(op, only)
        except Ended as error:
            yield _gone(error)

    def of_variant(self, folder: Path, of: int = 1) -> Iterator[Check]:
        """All checks of a candidate of the op in `folder`, one `of` so many at once, and its tests
        with that.
        """
        with ThreadPoolExecutor(1) as beside:
            tests = beside.submit(suite.run, self._device.host, self._stage, folder, self._deadline)
            try:
                with self._device.opened(folder, of=of) as op:
                    yield from self._examine(op, None, tests.result)
            except Ended as error:
                yield _gone(error)
            yield of_run(tests.result(), tests.result().problem)

    def opened(self, folder: Path) -> AbstractContextManager[Op]:
        """The op in `folder`, in processes of its own; not imported yet."""
        return self._device.opened(folder)

    def _checks(self) -> Iterator[Check]:
        try:
            spec = Spec(self._device.referee, self._stage.name, self._seed)
            self.dtypes = tuple(_SHORT[dtype] for dtype in spec.referee.spec.dtypes)
            self._interpreter.referee  # noqa: B018  (several threads will want it)
        except (Raised, Ended) as error:
            yield Check(name="spec", status="failed", message=f"spec.py {error}")
            return
        with ThreadPoolExecutor(1) as beside:  # the referee is asked of its spec by nobody else
            asked = _asked(spec.checks(), self._only)
            of_spec = beside.submit(lambda: list(conduct(asked, ended="spec")))
            of_candidate = list(self._of_candidate()) if self._wants_candidate() else []
        yield from of_spec.result()
        yield from of_candidate

    def _of_candidate(self) -> Iterator[Check]:
        """The checks of the candidate, then of its tests."""
        suites: Suites | None = None
        try:
            with self.opened(self._stage.op) as op:
                # The suites come second to a busy GPU: everything else waits for the op.
                suites = self._suites() if self._wants_suites() else None
                settle = suites.join if suites is not None else _nothing
                yield from self._examine(op, self._only, settle)
        except Ended as error:
            yield _gone(error)
        finally:
            if suites is not None:
                suites.join()
        if suites is not None:
            yield own_tests(suites)
            yield (score := mutation_score(suites))
            if score.status != "skipped":
                self.mutants = suites.mutants

    def _examine(
        self, op: Op, only: Collection[str] | None, settle: Callable[[], object] = _nothing
    ) -> Iterator[Check]:
        """The import, then what several hands may share, then what looks back over all calls or
        measures time. Nothing goes on without the op's process.
        """
        alone, shared = ONE_HAND, by_several_draws(partial(self._compared, op))
        repeatable = {"repeatable": shared.pop("repeatable")}
        clock = Clock(op, self._seed, self._device.is_gpu, settle)
        last = {**clock.checks(), **repeatable, **Work(op, self._seed).checks()}
        imports = {"imports": lambda: [Trial(self._stage.name, partial(_load, op))]}
        with ThreadPoolExecutor(1) as beside:
            for groups, hands in ((imports, alone), (shared, op.hands), (last, alone)):
                if groups is shared and _asked(clock.checks(), only):
                    beside.submit(clock.prepare)
                for check in _conducted(_asked(groups, only), hands):
                    yield check
                    if check.status == "failed" and check.name in ("imports", "process"):
                        return

    def _compared(self, op: Op, draw: int) -> dict[str, Trials]:
        """The checks that compare results, with values of one draw."""
        seed = self._seed + _DRAW * draw
        values, behaviour = Values(op, self._seed, seed), Behaviour(op, seed, self._free)
        return {**values.checks(), **behaviour.checks(), **Interface(op, seed).checks()}

    def _free(self) -> int:
        """Bytes of GPU memory that are free, 0 without a GPU."""
        return torch.cuda.mem_get_info()[0] if self._device.is_gpu else 0

    def _wants_candidate(self) -> bool:
        """Whether candidates are asked: by `conduct`, or by who names no check for it to make."""
        return not self._only or not _OF_FILES.issuperset(self._only)

    def _wants_suites(self) -> bool:
        return self._only is None or bool({OWN_TESTS, MUTATION} & set(self._only))

    def _suites(self) -> Suites:
        places = self._device, self._interpreter
        return Suites(self._stage, self._deadline, *places, self._wrong)

    def _wrong(self, place: Place, folder: Path) -> str:
        """What is wrong with the op in `folder`, "" if nothing can be found there."""
        try:
            with place.opened(folder, _MUTANT_SECONDS) as op:
                groups = by_several_draws(partial(self._compared, op))
                for dear in _DEAR:
                    del groups[dear]
                return first_wrong(groups, op.hands)
        except (Raised, Ended) as error:
            return str(error)


def _gone(error: Ended) -> Check:
    """The check that fails when the op's process is not there to be asked."""
    return Check(name="process", status="failed", message=str(error))


def _asked(groups: Mapping[str, Trials], only: Collection[str] | None) -> dict[str, Trials]:
    """Those of the checks that are wanted; the import always is."""
    wanted = groups if only is None else {*only, "imports"}
    return {name: trials for name, trials in groups.items() if name in wanted}


def _conducted(groups: Mapping[str, Trials], hands: Sequence[Hand]) -> list[Check]:
    """The checks of a candidate in their order; several hands begin with what takes longest."""
    dealt = groups
    if len(hands) > 1:
        dealt = dict(sorted(groups.items(), key=lambda group: group[0] not in _LONG))
    place = {name: number for number, name in enumerate(groups)}
    found = conduct(dealt, hands, ended="process")
    return sorted(found, key=lambda check: place.get(check.name, len(place)))


def _load(op: Op) -> list[Comparison]:
    op.load()
    return []


def choose_device() -> tuple[str, str]:
    """Where ops run here: as PyTorch calls it, and as a person would."""
    if torch.cuda.is_available():
        return "cuda", torch.cuda.get_device_name()
    return "cpu", "cpu interpreter, no GPU involved"
