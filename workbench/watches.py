"""What several jobs are at: on a terminal, one's growing table, or a line for each of many."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.live import Live

from workbench.bench.progress import Step
from workbench.jobs import Job
from workbench.live import Watch

# Often enough to see that it lives; a terminal that is drawn takes time from the host.
_DRAWS_PER_SECOND = 4


class Watches:
    """Shows the steps of jobs on a console, or nowhere."""

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._watches: dict[str, Watch] = {}
        self._live: Live | None = None

    def __enter__(self) -> Watches:
        if self._console is not None and self._console.is_terminal:
            self._live = Live(
                get_renderable=self.shown,
                console=self._console,
                transient=True,  # what it says is said again, in full, when a job ends
                refresh_per_second=_DRAWS_PER_SECOND,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __call__(self, job: Job, step: Step) -> None:
        """The job is at this step now."""
        if job.label not in self._watches:
            self._watches[job.label] = Watch(job.label, self._console)
        self._watches[job.label](step)

    def ended(self, job: Job) -> None:
        """The job is at nothing any more."""
        self._watches.pop(job.label, None)

    def shown(self) -> RenderableType:
        """A table where one job runs; where more do, each has a line."""
        watches = list(self._watches.values())
        if len(watches) == 1:
            return watches[0].table()
        return Group(*(watch.now() for watch in watches))
