"""One run of an op's own tests, in a process of its own."""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.channel import Channel, ChannelClosed, ChannelError
from workbench.judge.host import Host
from workbench.judge.remote import Ended
from workbench.judge.stage import Stage


class SuiteResult(BaseModel):
    """What a run came to, as the process that ran it tells, or how that process ended."""

    model_config = ConfigDict(frozen=True)

    code: int = -1
    passed: int = 0
    skipped: int = 0
    failed: int = 0
    failures: list[str] = []
    seconds: float = 0.0
    ended: str = ""

    @property
    def is_green(self) -> bool:
        """Every test that ran passed, and some did."""
        return self.code == 0 and self.passed > 0 and not self.failed

    @property
    def problem(self) -> str:
        """Why it isn't green."""
        if self.ended:
            return self.ended
        if self.failures:
            return f"{self.failed} of {self.passed + self.failed} fail, first {self.failures[0]}"
        return "" if self.is_green else "the file has no test that runs"


def run(
    host: Host, stage: Stage, folder: Path, deadline: float, *, first_failure: bool = False
) -> SuiteResult:
    """Run the op's tests on the op in `folder`; the run is ended at `deadline`."""
    try:
        job = host.suite(stage.test, stage.path(folder), first_failure=first_failure)
    except Ended as gone:
        return SuiteResult(ended=str(gone))
    channel = Channel(job.end)
    try:
        reply, _ = channel.receive(deadline=max(deadline, time.monotonic()), most=0)
        return SuiteResult.model_validate(reply)
    except TimeoutError:
        return SuiteResult(ended="not finished in time")
    except ChannelClosed:
        return SuiteResult(ended=f"the tests' process {job.ending()}")
    except (ChannelError, ValidationError):
        return SuiteResult(ended="the tests' process does not answer as it should")
    finally:
        channel.close()
        job.stop()
