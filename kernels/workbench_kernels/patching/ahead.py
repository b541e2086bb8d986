"""Patching models that are not built yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from torch import nn


@contextmanager
def built_within(model_type: str, then: Callable[[nn.Module], object]) -> Iterator[None]:
    """Call `then` with every transformers model of this type that is built while the context lasts,
    when it is first called: only then are its weights where they belong.

    Of transformers one method is another meanwhile, and is restored: what a model calls at the end
    of its making.

    Raises:
        ImportError: transformers is not installed.
    """
    from transformers import PreTrainedModel

    made = PreTrainedModel.post_init

    @wraps(made)
    def post_init(self: Any) -> None:
        made(self)
        if self.config.model_type == model_type:
            _at_first_call(self, then)

    PreTrainedModel.post_init = post_init  # type: ignore[method-assign]
    try:
        yield
    finally:
        PreTrainedModel.post_init = made  # type: ignore[method-assign]


def _at_first_call(model: nn.Module, then: Callable[[nn.Module], object]) -> None:
    def first(model: nn.Module, arguments: Any) -> None:
        hook.remove()
        then(model)

    hook = model.register_forward_pre_hook(first)
