"""How an op becomes a real torch op: schema, implementation, fake, autograd; visible to
`torch.compile` as one node.

Ops are defined with `torch.library.Library` and not `torch.library.custom_op`: the same features in
less of the host's time per call. Re-importing a changed op (a test, the judge) replaces its
earlier definition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

NAMESPACE = "workbench_kernels"
_LIBRARIES: dict[str, torch.library.Library] = {}
_IMPLEMENTATIONS: dict[str, Callable[..., Any]] = {}
# An op with its gradient, as an autograd function that calls the implementation.
_DIRECT: dict[str, Callable[..., Any]] = {}
# Whether a tensor is (or was, it may have got out) a transform's.
_is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
# What an argument may be besides a tensor.
_PLAIN = frozenset({type(None), bool, int, float, str})


def define(
    name: str,
    implementation: Callable[..., Any],
    *,
    fake: Callable[..., Any],
    mutates: Sequence[str] = (),
) -> Callable[..., Any]:
    """Register `implementation` as `torch.ops.workbench_kernels.<name>` and return what calls it.

    The schema comes from the implementation's type hints. It mutates the arguments that `mutates`
    names, and returns no alias of one. `fake` computes the outputs' shapes, strides and dtypes
    without touching data.

    Where nobody would see a difference, the implementation is called directly: to find it by way
    of PyTorch's dispatcher, which calls back into Python twice, takes the host longer than the
    launch.
    """
    _LIBRARIES.pop(name, None)
    _DIRECT.pop(name, None)
    library = torch.library.Library(NAMESPACE, "FRAGMENT")
    schema = torch.library.infer_schema(implementation, mutates_args=mutates)
    library.define(
        name + schema, tags=(torch.Tag.pt2_compliant_tag, torch.Tag.needs_fixed_stride_order)
    )
    for device in ("CPU", "CUDA"):
        library.impl(name, implementation, device)
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=library)
    _LIBRARIES[name] = library
    overload = getattr(getattr(torch.ops, NAMESPACE), name).default

    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling() or _watched():
            return overload(*args)
        differentiated = False
        for value in args:
            kind = type(value)
            if kind is Tensor or kind is Parameter:
                if value.is_meta or _is_wrapped(value):
                    return overload(*args)
                differentiated = differentiated or value.requires_grad
            elif kind not in _PLAIN and (isinstance(value, Tensor) or _has_tensors(value)):
                return overload(*args)
        if not differentiated or not torch.is_grad_enabled():
            return implementation(*args)
        direct = _DIRECT.get(name)
        return overload(*args) if direct is None else direct(*args)

    _IMPLEMENTATIONS[name] = implementation
    return call


def autograd(
    name: str, *, save: Callable[[Any, Any, Any], None], backward: Callable[..., Any]
) -> None:
    """Give `name`, which returns a tensor or a tuple of them, its gradient, and make a gradient of
    that gradient a clear error.

    Where the op was called directly, `save` and `backward` find `ctx.called_directly`: then nobody
    but the caller of `name` has seen its outputs.
    """
    library, implementation = _LIBRARIES[name], _IMPLEMENTATIONS[name]
    torch.library.register_autograd(
        f"{NAMESPACE}::{name}", backward, setup_context=save, lib=library
    )

    def forward(ctx: Any, *inputs: Any) -> Any:
        output = implementation(*inputs)
        ctx.called_directly = True
        save(ctx, inputs, output)
        assert not isinstance(output, list), f"{name} must return a tuple, not a list"
        return output

    functions = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    direct: Any = type(name, (torch.autograd.Function,), functions)
    # Without what `apply` does of its own for transforms: those are not for direct calls anyway.
    _DIRECT[name] = super(torch.autograd.Function, direct).apply

    def refuse(ctx: Any, *grads: Tensor) -> None:
        raise NotImplementedError(
            f"{name} has no second derivative: its backward can't be differentiated"
        )

    backward_name = f"{name}_backward"
    torch.library.register_autograd(
        f"{NAMESPACE}::{backward_name}",
        refuse,
        setup_context=lambda ctx, inputs, output: None,
        lib=_LIBRARIES[backward_name],
    )


def _watched() -> bool:
    """Whether something looks at ops, or at what they are given, on the way: a mode of PyTorch's
    dispatcher (tracing, counting, choosing what a checkpoint keeps) or a function transform.
    """
    return (
        torch._C._len_torch_dispatch_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
    )


def _has_tensors(value: object) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(one, Tensor) for one in value)


def spread(grads: Sequence[Tensor], needs: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """One entry per input: the next gradient where it was needed, None elsewhere."""
    remaining = iter(grads)
    return tuple(next(remaining) if needed else None for needed in needs)
