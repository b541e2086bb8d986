"""Keys stay out of whatever is kept or shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

REDACTED = "[redacted]"
# Of the environment: what the SDK takes as a credential.
_NAMES = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS")


def redacted(text: str) -> str:
    """The text without this process's keys."""
    for key in _keys():
        text = text.replace(key, REDACTED)
    return text


def without_keys(data: Any) -> Any:
    """The same of every text in data as JSON has it."""
    if isinstance(data, str):
        return redacted(data)
    if isinstance(data, list):
        return [without_keys(item) for item in data]
    if isinstance(data, dict):
        return {redacted(name): without_keys(item) for name, item in data.items()}
    return data


def _keys() -> Iterator[str]:
    for name in _NAMES:
        for line in os.environ.get(name, "").splitlines():
            header, _, value = line.partition(": ")  # as custom headers are given
            yield value.strip() or header
