"""A loopback server that speaks the Messages API, streamed: what it says is a script, what it is
told it keeps. A step of a script is a reply, whole or broken off, or a refusal.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Block = dict[str, Any]
KEY = "sk-test-0123456789abcdef"
USAGE = {
    "input_tokens": 100,
    "output_tokens": 50,
    "cache_read_input_tokens": 1000,
    "cache_creation_input_tokens": 200,
    "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 0},
}


@dataclass(frozen=True)
class Turn:
    """A reply. Its stream breaks off in the first block with an `error` of that type, or when it
    is `dropped`; one that `hangs` stays open there.
    """

    content: tuple[Block, ...]
    stop_reason: str = ""
    usage: dict[str, Any] = field(default_factory=lambda: dict(USAGE))
    error: str = ""
    dropped: bool = False
    hangs: bool = False

    @property
    def stop(self) -> str:
        calls = any(block["type"] == "tool_use" for block in self.content)
        return self.stop_reason or ("tool_use" if calls else "end_turn")


@dataclass(frozen=True)
class Refused:
    """An answer that is no reply at all."""

    status: int
    kind: str = "api_error"
    message: str = "not now"
    headers: tuple[tuple[str, str], ...] = (("retry-after-ms", "1"),)


Step = Turn | Refused | Callable[[dict[str, Any]], Turn | Refused]
_ids = itertools.count(1)


def text(words: str) -> Block:
    return {"type": "text", "text": words}


def thinking(words: str) -> Block:
    return {"type": "thinking", "thinking": words, "signature": f"signed {words}"}


def call(tool: str, **arguments: object) -> Block:
    return {"type": "tool_use", "id": f"toolu_{next(_ids):04}", "name": tool, "input": arguments}


def turn(*blocks: Block, **more: Any) -> Turn:
    return Turn(tuple(blocks), **more)


class MessagesAPI:
    """The server. `requests` are the bodies it was sent, `headers` theirs; `waiting` is set while a
    reply hangs in the middle.
    """

    def __init__(self, script: Sequence[Step]) -> None:
        self.script = list(script)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.waiting, self.released = threading.Event(), threading.Event()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Nothing is logged."""

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                api.requests.append(body)
                api.headers.append({k.lower(): v for k, v in self.headers.items()})
                step = api.script.pop(0) if api.script else Refused(400, "invalid_request_error")
                answer = step if isinstance(step, Turn | Refused) else step(body)
                if isinstance(answer, Refused):
                    self._refuse(answer)
                else:
                    self._stream(body, answer)

            def _refuse(self, answer: Refused) -> None:
                error = {"type": answer.kind, "message": answer.message}
                data = json.dumps({"type": "error", "error": error}).encode()
                self.send_response(answer.status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def _stream(self, body: dict[str, Any], answer: Turn) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                self.close_connection = True
                try:
                    for event in _events(body["model"], answer):
                        self._send(event)
                        if answer.hangs and event["type"] == "content_block_delta":
                            api.waiting.set()
                            api.released.wait(60)
                            return
                except (BrokenPipeError, ConnectionResetError):
                    return

            def _send(self, event: dict[str, Any]) -> None:
                line = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
                self.wfile.write(line.encode())
                self.wfile.flush()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> MessagesAPI:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """With which a command asks this server."""
        return {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": self.url}

    def results(self, number: int = -1) -> list[Block]:
        """The results of tools that a request told."""
        content = self.requests[number]["messages"][-1]["content"]
        return [block for block in content if block["type"] == "tool_result"]


def _events(model: str, answer: Turn) -> list[dict[str, Any]]:
    """The events of a whole reply, or of what comes of one that breaks off."""
    message = {
        "id": f"msg_{next(_ids):04}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**answer.usage, "output_tokens": 1},
    }
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}, {"type": "ping"}]
    for index, block in enumerate(answer.content):
        empty, deltas = _streamed(block)
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        if answer.error:
            error = {"type": answer.error, "message": "in the middle"}
            return [*events, {"type": "error", "error": error}]
        if answer.dropped:
            return events
        events.append({"type": "content_block_stop", "index": index})
    stop = {"stop_reason": answer.stop, "stop_sequence": None}
    usage = {"output_tokens": answer.usage["output_tokens"]}
    return [
        *events,
        {"type": "message_delta", "delta": stop, "usage": usage},
        {"type": "message_stop"},
    ]


def _streamed(block: Block) -> tuple[Block, list[Block]]:
    """A block as a stream begins it, and the pieces it comes in."""
    if block["type"] == "text":
        pieces = [{"type": "text_delta", "text": part} for part in _parts(block["text"])]
        return {**block, "text": ""}, pieces
    if block["type"] == "thinking":
        pieces = [{"type": "thinking_delta", "thinking": p} for p in _parts(block["thinking"])]
        pieces.append({"type": "signature_delta", "signature": block["signature"]})
        return {**block, "thinking": "", "signature": ""}, pieces
    given = block["input"] if isinstance(block["input"], str) else json.dumps(block["input"])
    pieces = [{"type": "input_json_delta", "partial_json": part} for part in _parts(given)]
    return {**block, "input": {}}, pieces


def _parts(whole: str, size: int = 400) -> list[str]:
    return [whole[i : i + size] for i in range(0, len(whole), size)] or [""]
