"""One examination of an op: the processes it takes, and the checks in their order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

import torch

from workbench.channel import Channel
from workbench.judge.checks import Behaviour, Clock, Interface, Spec, Values, Work
from workbench.judge.host import Host
from workbench.judge.op import Op
from workbench.judge.referee import Referee, RefereeProcess
from workbench.judge.remote import Ended, Raised, Remote
from workbench.judge.sandbox import Sandbox
from workbench.judge.stage import Stage
from workbench.judge.suites import Suites, mutation_score, own_tests
from workbench.judge.trial import Trial, conduct, first_wrong
from workbench.judge.verdict import MUTATION, OWN_TESTS, Check, MutantResult
from workbench_kernels.bound import Comparison

_SHORT = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}

Trials = Callable[[], Iterable[Trial]]


class Examination:
    """The processes that it takes to examine one op, and the checks. Leaving the context ends them.

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
    ) -> None:
        self._stage, self._seed, self._deadline, self._only = stage, seed, deadline, only
        self._gpu = device != "cpu"
        arguments = (stage, sandbox, device, deadline)
        self._host, self._process = Host(*arguments), RefereeProcess(*arguments)
        self._open = ExitStack()
        self.dtypes: tuple[str, ...] = ()
        self.mutants: list[MutantResult] = []

    def __enter__(self) -> Examination:
        with ExitStack() as processes:
            processes.enter_context(self._host)
            self._remote = processes.enter_context(self._process)
            self._open = processes.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def conduct(self) -> list[Check]:
        """Make every check, of the spec, the candidate and its tests."""
        return list(self._checks())

    def of_candidate(self, folder: Path, only: Collection[str] | None = None) -> Iterator[Check]:
        """The checks of the kernel and wrapper in `folder`, in a process of their own: all of them,
        or those of the names `only`.
        """
        try:
            with self._worker() as worker:
                op = Op(self._referee, worker)
                groups = self._groups(op, folder)
                yield from self._conduct(groups, only, ended="process")
        except Ended as error:
            yield Check(name="process", status="failed", message=str(error))

    def _checks(self) -> Iterator[Check]:
        try:
            self.dtypes = tuple(_SHORT[dtype] for dtype in self._referee.spec.dtypes)
        except (Raised, Ended) as error:
            yield Check(name="spec", status="failed", message=f"spec.py {error}")
            return
        suites = Suites(self._host, self._stage, self._deadline) if self._wants_suites() else None
        try:
            spec = Spec(self._referee, self._stage.name, self._seed)
            yield from self._conduct(spec.checks(), self._only, ended="spec")
            yield from self.of_candidate(self._stage.op, self._only)
        finally:
            if suites is not None:
                suites.join()
        if suites is not None:
            yield own_tests(suites)
            score, self.mutants = mutation_score(suites, self._wrong)
            yield score

    @cached_property
    def _referee(self) -> Referee:
        return Referee(self._remote)

    def _groups(self, op: Op, folder: Path) -> dict[str, Trials]:
        """The checks of a candidate in their order: the last ones look back over all calls."""
        behaviour = Behaviour(op, self._seed, free_memory()).checks()
        repeatable = {"repeatable": behaviour.pop("repeatable")}
        return {
            "imports": lambda: [Trial(op.spec.name, lambda: self._load(op, folder))],
            **Values(op, self._seed).checks(),
            **behaviour,
            **Interface(op, self._seed).checks(),
            **Clock(op, self._seed, gpu=self._gpu).checks(),
            **repeatable,
            **Work(op, self._seed).checks(),
        }

    def _conduct(
        self, groups: Mapping[str, Trials], only: Collection[str] | None, *, ended: str
    ) -> Iterator[Check]:
        """Each check in turn; the end of a process fails the check `ended`, which is the last."""
        for name, trials in groups.items():
            if only is not None and name not in {*only, "imports"}:
                continue
            try:
                check = conduct(name, trials)
            except Ended as error:
                yield Check(name=ended, status="failed", message=f"{error}, during '{name}'")
                return
            yield check
            if name == "imports" and check.status == "failed":
                return

    @contextmanager
    def loaded(self, folder: Path) -> Iterator[Op]:
        """The op in `folder`, imported in a process of its own.

        Raises:
            Raised, Ended: its import does not come to an end.
        """
        with self._worker() as worker:
            op = Op(self._referee, worker)
            self._load(op, folder)
            yield op

    def _load(self, op: Op, folder: Path) -> list[Comparison]:
        op.load(self._stage.name, [str(folder), str(self._stage.package)])
        return []

    @contextmanager
    def _worker(self) -> Iterator[Remote]:
        job = self._host.serve()
        remote = Remote(Channel(job.end), self._deadline, job.ending)
        try:
            yield remote
        finally:
            remote.close()
            job.stop()

    def _wants_suites(self) -> bool:
        return self._only is None or bool({OWN_TESTS, MUTATION} & set(self._only))

    def _wrong(self, folder: Path) -> str:
        """What is wrong with the op in `folder`, "" if nothing can be found."""
        try:
            with self.loaded(folder) as op:
                interface = Interface(op, self._seed)
                groups = Values(op, self._seed).checks() | Behaviour(op, self._seed).checks()
                for trials in (*groups.values(), interface.form, interface.refusals):
                    if found := first_wrong(trials):
                        return found
        except (Raised, Ended) as error:
            return str(error)
        return ""


def choose_device() -> tuple[str, str]:
    """Where ops run here: as PyTorch calls it, and as a person would."""
    if torch.cuda.is_available():
        return "cuda", torch.cuda.get_device_name()
    return "cpu", "cpu interpreter, no GPU involved"


def free_memory() -> int:
    """Bytes of GPU memory that are free, 0 without a GPU."""
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0
