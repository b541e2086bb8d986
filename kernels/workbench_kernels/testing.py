"""What every op's test uses: cases and inputs drawn from its spec, awkward layouts, the checks.

`truth.py` says what is right, `bound.py` how near a result must be. Nothing here knows an op.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from workbench_kernels.bound import compare
from workbench_kernels.spec import OpSpec, Option
from workbench_kernels.truth import expect, run

Function = Callable[..., Any]
# Wider rows than these are not tried with every variant.
NARROW = 5000
# Namespaces of PyTorch's own ops.
BUILTIN = ("aten", "prims", "prim")
# What PyTorch says of an op that has no gradient of its own: a Function around it may have one.
NO_FORMULA = "no autograd formula was registered"


@dataclass(frozen=True)
class Case:
    """One size, dtype and setting of parameters; those not named keep their defaults. `variant` is
    the name of a whole setting.
    """

    rows: int
    cols: int
    dtype: torch.dtype
    parameters: Mapping[str, Option] = field(default_factory=dict)
    variant: str = ""

    def __str__(self) -> str:
        changed = f"-{self.variant}" if self.variant else "".join(self._changed())
        return f"{self.rows}x{self.cols}-{str(self.dtype).removeprefix('torch.')}{changed}"

    def _changed(self) -> Iterator[str]:
        for name, value in self.parameters.items():
            yield f"-{name}={value:g}" if isinstance(value, int | float) else f"-{name}={value}"


def device() -> torch.device:
    """Where tests run: the GPU, or the CPU (in Triton's interpreter) where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def draw(
    spec: OpSpec, rows: int, cols: int, dtype: torch.dtype, seed: int = 0
) -> tuple[Tensor, ...]:
    """The reference's inputs for one size, floating ones rounded to `dtype`; a seed fixes them."""
    with torch.random.fork_rng(range(torch.cuda.device_count())), device():
        torch.manual_seed(seed)
        drawn = spec.inputs(rows, cols)
    return tuple(t.to(device(), dtype if t.is_floating_point() else t.dtype) for t in drawn)


def small_shape(spec: OpSpec) -> tuple[int, int]:
    """The smallest of the spec's shapes that has several rows and a few more columns."""
    shapes = [(r, c) for r, c in spec.shapes if r > 1 and c >= 8] or list(spec.shapes)
    return min(shapes, key=lambda shape: shape[0] * shape[1])


def cases(spec: OpSpec) -> list[Case]:
    """Every shape in every dtype; then the small shape with other parameters than the defaults, and
    the variants.
    """
    plain = [Case(*shape, dtype) for shape in spec.shapes for dtype in spec.dtypes]
    return plain + changed_parameters(spec, spec.dtypes[0]) + variants(spec)


def variants(spec: OpSpec) -> list[Case]:
    """Every variant: in the first dtype at all shapes but wide ones, in the others at the small."""
    narrow = [shape for shape in spec.shapes if shape[1] <= NARROW]
    first, *others = spec.dtypes
    return [
        Case(*shape, dtype, settings, name)
        for name, settings in spec.variants.items()
        for dtype, shapes in ((first, narrow), *((other, [small_shape(spec)]) for other in others))
        for shape in shapes
    ]


def changed_parameters(spec: OpSpec, dtype: torch.dtype) -> list[Case]:
    """The small shape with every parameter smaller than its default, and with every one larger."""
    if not spec.parameters:
        return []
    smaller, larger = {}, {}
    for name, value in spec.parameters.items():
        smaller[name], larger[name] = _others(value)
    return [Case(*small_shape(spec), dtype, changed) for changed in (smaller, larger)]


def _others(value: float) -> tuple[float, float]:
    """Two other values of a parameter, of its kind: a flag, a count or a number."""
    if isinstance(value, bool):
        return not value, value
    if isinstance(value, int):
        return max(1, value // 2), 2 * value
    return 0.5 * value, 1.5 * value + 0.25


def check(
    spec: OpSpec,
    function: Function,
    inputs: Sequence[Tensor],
    *,
    parameters: Mapping[str, Option] | None = None,
    seed: int = 0,
    layout: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Assert that outputs and gradients are as near to the truth as `bound.py` asks.

    Raises:
        AssertionError: names the output or gradient, the place, the values and the error.
    """
    expected = expect(spec, inputs, parameters=parameters, seed=seed, layout=layout)
    got = run(spec, function, inputs, expected.upstream, parameters=parameters)
    if wrong := [c.message for c in compare(got, expected) if c.message]:
        raise AssertionError(f"{spec.name}: " + "\n".join(wrong))


def assert_same(got: Tensor, expected: Tensor) -> None:
    """Assert what other kernels give that compute the same, some of it for less: the same bits in
    the interpreter. On a GPU each may round other products, of what it adds up, and a product of
    other sizes adds up in another order: within 16 eps of the largest.
    """
    within = 16 * torch.finfo(got.dtype).eps * float(expected.abs().max()) if got.is_cuda else 0.0
    torch.testing.assert_close(got, expected, rtol=0.0, atol=within)


def check_case(spec: OpSpec, function: Function, case: Case, seed: int = 0) -> None:
    """`check` for one case."""
    inputs = draw(spec, case.rows, case.cols, case.dtype, seed)
    check(spec, function, inputs, parameters=case.parameters, seed=seed)


def check_layout(spec: OpSpec, function: Function, layout: str, seed: int = 0) -> None:
    """`check` with every input and upstream gradient in memory as `LAYOUTS[layout]` puts it."""
    put = LAYOUTS[layout]
    for dtype in spec.dtypes:
        inputs = [put(t) for t in draw(spec, *small_shape(spec), dtype, seed)]
        check(spec, function, inputs, seed=seed, layout=put)


def check_sizes(spec: OpSpec, function: Function) -> None:
    """Assert that a tensor of another size than the rest is refused where the reference can't take
    it, and served rightly or refused where it can.

    Raises:
        AssertionError: names the tensor.
    """
    rows, cols = small_shape(spec)
    others = draw(spec, rows + 1, cols + 1, spec.dtypes[0])
    for index, other in enumerate(others):
        inputs = list(draw(spec, rows, cols, spec.dtypes[0]))
        if len(inputs) > 1 and inputs[index].shape != other.shape:
            inputs[index] = other
            if not _refuses(function, dict(zip(spec.tensors, inputs, strict=True))):
                _check_served(spec, function, inputs, spec.tensors[index])


def _refuses(function: Function, inputs: Mapping[str, Tensor]) -> bool:
    try:
        function(**inputs)
    except (TypeError, ValueError):
        return True
    return False


def _check_served(spec: OpSpec, function: Function, inputs: Sequence[Tensor], name: str) -> None:
    try:
        spec.reference(**dict(zip(spec.tensors, inputs, strict=True)))
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        what = f"{spec.name}: {name} of another size is served, the reference refuses it"
        raise AssertionError(what) from error
    check(spec, function, inputs)


def check_torch_op(spec: OpSpec, function: Function) -> None:
    """Assert that the op is a sound torch op both ways, and a single node to `torch.compile`.

    Raises:
        Exception: whatever `torch.library.opcheck` or `torch.compile` finds wrong.
        AssertionError: no op of this library ran, or compiling it changed a bit of the results.
    """
    check_registration(spec, function)
    check_compiles(spec, function)


def check_registration(spec: OpSpec, function: Function) -> None:
    """`torch.library.opcheck` on every registered op that one forward and backward calls."""
    inputs = draw(spec, *small_shape(spec), spec.dtypes[0])
    upstream = expect(spec, inputs).upstream
    check_ops(spec.name, lambda: run(spec, function, inputs, upstream))


def check_ops(name: str, call: Callable[[], object], tests: Sequence[str] | None = None) -> None:
    """`torch.library.opcheck` on every op that is not PyTorch's own and that `call` calls: all its
    tests, or those of the names `tests`.

    Raises:
        Exception: whatever opcheck finds wrong.
        AssertionError: there is no such op.
    """
    with _RegisteredCalls() as recorder:
        call()
    if not recorder.calls:
        raise AssertionError(f"{name}: no registered op was called")
    chosen: dict[str, Any] = {} if tests is None else {"test_utils": tuple(tests)}
    for op, args, kwargs in recorder.calls:
        fit = args if _has_gradient(op, args, kwargs) else _without_gradient(args)
        torch.library.opcheck(op, fit, kwargs, **chosen)
        _check_fake_strides(op, fit, kwargs)


def _check_fake_strides(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """That the fake's outputs lie as the op's do, which opcheck leaves out on a CPU before torch
    2.13; Inductor addresses by what the fake says.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode  # takes long, and few need it

    with FakeTensorMode() as mode:
        described = (mode.from_tensor(a) if isinstance(a, Tensor) else a for a in args)
        fake = _flat(op(*described, **kwargs))
    for said, given in zip(fake, _flat(op(*map(_copy, args), **kwargs)), strict=True):
        if isinstance(given, Tensor) and _strides(said) != _strides(given):
            what = f"the fake of {op} says strides {said.stride()}, it gives {given.stride()}"
            raise AssertionError(what)


def _strides(t: Tensor) -> list[int]:
    """The strides that matter."""
    if not t.numel():
        return []
    return [stride for size, stride in zip(t.shape, t.stride(), strict=True) if size > 1]


def _has_gradient(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the op itself has a gradient to check: a backward op refuses, and so may one that is
    called from a `torch.autograd.Function` or writes into its arguments.
    """
    if op._schema.is_mutable:
        return False
    args = tuple(_copy(a) for a in args)
    leaves = [a for a in args if isinstance(a, Tensor) and a.requires_grad]
    given = op(*args, **kwargs)
    outputs = [y for y in _flat(given) if isinstance(y, Tensor) and y.requires_grad]
    if not leaves or not outputs:
        return True  # opcheck says what is wrong with that
    try:
        torch.autograd.grad(outputs, leaves, [*map(torch.ones_like, outputs)], allow_unused=True)
    except NotImplementedError:
        return False
    except RuntimeError as error:
        if NO_FORMULA in str(error):
            return False
        raise
    return True


def _copy(argument: Any) -> Any:
    """A tensor as it is now: what a call does to its arguments is what opcheck looks for."""
    if not isinstance(argument, Tensor):
        return argument
    return argument.detach().clone().requires_grad_(argument.requires_grad)


def _flat(given: Any) -> list[Any]:
    return [*given] if isinstance(given, (tuple, list)) else [given]


def _without_gradient(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(a.detach() if isinstance(a, Tensor) else a for a in args)


def check_compiles(spec: OpSpec, function: Function) -> None:
    """Compiled without a graph break, outputs and gradients equal a plain call's bit for bit."""
    inputs = draw(spec, *small_shape(spec), spec.dtypes[0])
    upstream = expect(spec, inputs).upstream
    plain = run(spec, function, inputs, upstream)
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for name, value in run(spec, compiled, inputs, upstream).items():
        if not torch.equal(value, plain[name]):
            raise AssertionError(f"{spec.name}: {name} changes under torch.compile")


class _RegisteredCalls(TorchDispatchMode):
    """Records the first call of each op but PyTorch's own, with arguments fit to call it again."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func.namespace not in BUILTIN and all(func is not op for op, _, _ in self.calls):
            self.calls.append((func, tuple(map(_copy, args)), kwargs))
        return func(*args, **kwargs)


def _poisoned(t: Tensor, shape: Sequence[int]) -> Tensor:
    """Memory like the tensor's; what lies between its elements must never be read."""
    return t.new_full(tuple(shape), float("nan") if t.is_floating_point() else 1)


def _transposed(t: Tensor) -> Tensor:
    return t.mT.contiguous().mT if t.ndim > 1 else t


def _every_other_column(t: Tensor) -> Tensor:
    if not t.ndim:
        return t
    return _poisoned(t, (*t.shape[:-1], 2 * t.shape[-1]))[..., ::2].copy_(t)


def _slice_of_wider_rows(t: Tensor) -> Tensor:
    if not t.ndim:
        return t
    return _poisoned(t, (*t.shape[:-1], t.shape[-1] + 3))[..., : t.shape[-1]].copy_(t)


def _misaligned(t: Tensor) -> Tensor:
    return _poisoned(t, (t.numel() + 1,))[1:].view(t.shape).copy_(t)


def _expanded(t: Tensor) -> Tensor:
    return t[:1].expand(t.shape) if t.ndim else t


# The same values elsewhere in memory, except `expanded`: there every row is the first one.
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": _transposed,
    "every_other_column": _every_other_column,
    "slice_of_wider_rows": _slice_of_wider_rows,
    "misaligned": _misaligned,
    "expanded": _expanded,
}


def _batches_apart(t: Tensor) -> Tensor:
    if t.ndim < 3:
        return t
    wider = _poisoned(t, (*t.shape[:-2], t.shape[-2] + 2, t.shape[-1]))
    return wider[..., : t.shape[-2], :].copy_(t)


def _batches_swapped(t: Tensor) -> Tensor:
    return t.transpose(0, 1).contiguous().transpose(0, 1) if t.ndim > 2 else t


# What three dimensions may be besides: no single stride leads from row to row.
BATCHES: dict[str, Callable[[Tensor], Tensor]] = {
    "batches apart": _batches_apart,
    "batches swapped": _batches_swapped,
}
