"""The loop: a model is asked, its tools are called, what they return is told, until it submits.

What the transcript has is taken from there: a resumed run goes the same way again without asking,
and writes again what it wrote.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

from workbench.agent.budget import Budget
from workbench.agent.model import Block, Message, Model, Reply, Request
from workbench.agent.prices import Usage
from workbench.agent.tools import SUBMIT, Tools, not_done, result_block
from workbench.agent.transcript import Begun, Prefix, Replied, Result, Said, Transcript
from workbench.errors import AuthorError

NUDGE = "You called no tool. Go on; when the op is right, call submit."
CUT_OFF = (
    "Your reply was cut off at its limit of tokens, and nothing of it was carried out. "
    "Say less at once: one file in a call, or an edit of a part of it."
)
# What a reply ends with when there is nothing to go on from; the same may be asked again.
_ENDINGS = {
    "refusal": "the model refused to go on",
    "model_context_window_exceeded": "the conversation is longer than the model can read",
}
# Bound to the model that thought them.
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})


class Conversation:
    """One author's conversation with a model about one op or its reference."""

    def __init__(
        self,
        model: Model,
        toolbox: Tools,
        transcript: Transcript,
        budget: Budget,
        tell: Callable[[str], None],
    ) -> None:
        self._model, self._toolbox, self._transcript = model, toolbox, transcript
        self._budget, self._tell = budget, tell
        self._messages: list[Message] = []
        self._context = 0  # tokens of the last prompt and its reply

    def run(self, system: str, task: str, findings: Sequence[str], aside: str = "") -> None:
        """Talk until the op is submitted once more than there are findings: each of them is the
        answer to a submission. What is said `aside` comes after the task, in a block of its own.

        Raises:
            LimitReached: what may be spent is spent.
            AuthorError: the model can't be asked, or won't go on.
        """
        prefix = self._transcript.take(Prefix) or self._transcript.append(
            Prefix(system=system, tools=self._toolbox.schemas)
        )
        answers, found = [_text(words) for words in (task, aside) if words], iter(findings)
        while True:
            reply = self._turn(prefix, answers)
            if reply.stop_reason in _ENDINGS:
                hint = "resume the run to ask again, perhaps with another --model"
                raise AuthorError(_ENDINGS[reply.stop_reason], hint)
            answers, submitted = self._answers(reply)
            if submitted:
                finding = next(found, None)
                if finding is None:
                    return
                answers.append(_text(finding))

    def _turn(self, prefix: Prefix, answers: list[Block]) -> Reply:
        """Say this, and have the reply: the one that was had before, or a new one."""
        said = self._transcript.take(Said)
        message = said.message if said is not None else self._message(answers)
        reply = self._remembered()
        if reply is None:
            request = Request(
                system=prefix.system,
                tools=prefix.tools,
                messages=[*self._messages, message],
                max_tokens=self._budget.output(self._prompt(prefix, message)),
            )
            if said is None:
                self._transcript.append(Said(message=message))
            reply = self._ask(request)
        self._context = reply.usage.tokens
        content = reply.content or [_text("(nothing)")]
        self._messages += [message, {"role": "assistant", "content": content}]
        return reply

    def _remembered(self) -> Reply | None:
        """The reply that the transcript has, if one can go on from it. All of them are counted."""
        reply: Reply | None = None
        while entry := self._transcript.take(Begun) or self._transcript.take(Replied):
            self._count(entry)
            if isinstance(entry, Replied):
                reply = self._own(entry)
        return None if reply is None or reply.stop_reason in _ENDINGS else reply

    def _own(self, entry: Replied) -> Reply:
        """A reply as this model may read it."""
        if entry.model == self._model.name:
            return entry.reply
        content = [block for block in entry.reply.content if block["type"] not in _THOUGHTS]
        return entry.reply.model_copy(update={"content": content})

    def _ask(self, request: Request) -> Reply:
        started = time.monotonic()
        self._say(self._budget.spent.turns + 1, self._model.name)
        reply = self._model.reply(request, self._begun)
        seconds = round(time.monotonic() - started, 3)
        entry = Replied(model=self._model.name, reply=reply, seconds=seconds)
        self._count(self._transcript.append(entry))
        return reply

    def _begun(self, usage: Usage) -> None:
        self._count(self._transcript.append(Begun(model=self._model.name, usage=usage)))
        self._budget.check()  # one that broke off before this one is paid for too

    def _count(self, entry: Begun | Replied) -> None:
        if isinstance(entry, Begun):
            self._budget.begun(entry.model, entry.usage)
        else:
            self._budget.replied(entry.model, entry.reply.usage, entry.seconds)

    def _answers(self, reply: Reply) -> tuple[list[Block], bool]:
        """What to say to a reply, and whether it handed the op in."""
        calls = reply.calls
        if reply.stop_reason == "max_tokens":  # the last call may lack its end
            return not_done(calls, CUT_OFF) or [_text(CUT_OFF)], False
        if not calls:
            return [_text(NUDGE)], False
        results = [self._result(call) for call in calls]
        submitted = any(result.tool == SUBMIT and not result.is_error for result in results)
        return [result_block(result) for result in results], submitted

    def _result(self, call: Block) -> Result:
        result = self._transcript.take(Result)
        if result is not None:
            self._toolbox.repeat(call, result)
        else:
            self._say(self._budget.spent.turns, call["name"])
            result = self._transcript.append(self._toolbox.call(call))
        self._budget.worked(result.seconds)
        return result

    def _message(self, answers: list[Block]) -> Message:
        return {"role": "user", "content": [*answers, _text(f"Left: {self._budget.left()}.")]}

    def _prompt(self, prefix: Prefix, message: Message) -> int:
        """Tokens of the next prompt, rather too many: a token has two bytes or more."""
        new = [message] if self._context else [prefix.system, prefix.tools, message]
        return self._context + len(json.dumps(new)) // 2

    def _say(self, turn: int, doing: str) -> None:
        self._tell(self._budget.progress(turn, doing))


def _text(text: str) -> Block:
    return {"type": "text", "text": text}
