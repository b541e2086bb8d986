"""Asking another process: one request, one answer, and what it means when none comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from workbench.channel import Channel, ChannelClosed, ChannelError

# One request may take this long; torch.compile's first takes seconds.
PATIENCE_SECONDS = 90.0
# What an answer may weigh besides what was sent: nothing a request asks of a worker is larger.
MOST_BYTES = 256 << 20


class Ended(Exception):
    """The process can't be asked any more; the message says how it ended."""


class Raised(Exception):
    """What was asked for raised an exception there: `kinds` are its class and the bases' names."""

    def __init__(self, kinds: Sequence[str], message: str) -> None:
        super().__init__(f"{kinds[0] if kinds else 'an exception'}: {message}")
        self.kinds, self.message = tuple(kinds), message


class Remote:
    """One process behind a channel. `how` says how it ended, once nothing comes from it.

    `patience` is how many seconds an answer may take, `most` how many bytes it may have, besides 16
    times as many as were sent.
    """

    def __init__(
        self,
        channel: Channel,
        deadline: float,
        how: Callable[[], str],
        patience: float = PATIENCE_SECONDS,
        most: int = MOST_BYTES,
    ) -> None:
        self._channel, self._deadline, self._how = channel, deadline, how
        self._patience, self._most = patience, most
        self._lock = threading.Lock()
        self._ended = ""

    def ask(
        self, body: dict[str, Any], tensors: Sequence[Tensor] = ()
    ) -> tuple[dict[str, Any], list[Tensor]]:
        """Send a request and wait for its answer.

        Raises:
            Raised: what was asked for raised.
            Ended: it hangs, is gone or does not answer as it should; no later request is answered.
        """
        with self._lock:
            sent = sum(t.untyped_storage().nbytes() for t in tensors)
            return self._exchange(body, tensors, self._most + 16 * sent)

    def receive(self) -> dict[str, Any]:
        """What it says unasked.

        Raises:
            Ended: as `ask`.
        """
        with self._lock:
            return self._exchange(None, (), self._most)[0]

    def _exchange(
        self, body: dict[str, Any] | None, tensors: Sequence[Tensor], most: int
    ) -> tuple[dict[str, Any], list[Tensor]]:
        if self._ended:
            raise Ended(self._ended)
        try:
            if body is not None:
                self._channel.send(body, tensors)
            deadline = min(self._deadline, time.monotonic() + self._patience)
            return self._channel.receive(deadline=deadline, most=most)
        except TimeoutError:
            self._ended = "hangs: no answer in time"
        except ChannelClosed:
            self._ended = self._how()
        except ChannelError as error:
            self._ended = f"does not answer as it should: {error}"
        raise Ended(self._ended)

    def close(self) -> None:
        """Close the channel: the process ends, if it can."""
        self._channel.close()


def check_raised(reply: dict[str, Any]) -> None:
    """Raise what the answer says was raised.

    Raises:
        Raised: it was.
    """
    raised = reply.get("raised")
    if raised:
        kinds = [str(kind) for kind in raised.get("kinds", [])]
        raise Raised(kinds, str(raised.get("message", ""))[:500])
