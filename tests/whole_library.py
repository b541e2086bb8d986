"""Every op of the library as its spec says: forward and backward, as a function and as a module,
compiled, sharded. What is here holds for all of them; nothing knows an op.
"""

from __future__ import annotations

import inspect
import json
import os
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from processes import spawn
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import workbench_kernels.nn
from workbench_kernels import ops, testing, truth
from workbench_kernels.nn import module_name
from workbench_kernels.spec import OpSpec

OPS = ops()
# What those ops are given that take it: some rows are ignored, and nothing waits to know how many.
OPTIONS = {"ignore_index": 0, "compact": False}
# A hundred token counts up to 4095, in no order; no two are alike, and a few are multiples of 16.
COUNTS = tuple(2 + (1999 * number + 611) % 4094 for number in range(100))
# Few tokens and many: to add up what many leave may take a step more, and so a kernel.
ENDS = (613, 4095)
# Some more, for what takes long: a single one, multiples of 16.
FEW = (1, 16, 1040)
ROWS = 12
# How long a rank waits for another one.
PATIENCE = timedelta(seconds=60)


@dataclass(frozen=True)
class Op:
    """An op of the library, with what it takes of `OPTIONS`."""

    spec: OpSpec
    function: Callable[..., Any]
    options: dict[str, Any]

    def draw(self, rows: int = ROWS, seed: int = 0) -> tuple[Tensor, ...]:
        """Inputs. On a GPU they are as wide as the narrowest that are timed, in the dtype training
        has; in the interpreter small.
        """
        width, dtype = testing.small_shape(self.spec)[1], self.spec.dtypes[0]
        if testing.device().type == "cuda":
            width, dtype = min(cols for _, cols in self.spec.sweep), torch.bfloat16
        return testing.draw(self.spec, rows, width, dtype, seed)

    def upstream(self, inputs: Sequence[Tensor]) -> list[Tensor | None]:
        """Gradients to send back, one for each output that has one."""
        _, outputs = truth.call(self.spec, self.function, inputs)
        return [torch.randn_like(y) if y.requires_grad else None for y in outputs]

    def step(
        self,
        inputs: Sequence[Tensor],
        upstream: Sequence[Tensor | None],
        function: Callable[..., Any] | None = None,
    ) -> dict[str, Tensor]:
        """Outputs and gradients by name, of the op or of a `function` in its place; as a training
        step asks for them, by `backward`.
        """
        leaves, outputs = truth.call(self.spec, function or self.function, inputs)
        names = truth.output_names(len(outputs))
        found = {name: y.detach() for name, y in zip(names, outputs, strict=True)}
        _send(outputs, upstream)
        named = zip(self.spec.tensors, leaves, strict=True)
        grads = {f"d{name}": leaf.grad for name, leaf in named if leaf is not None}
        return found | {name: grad for name, grad in grads.items() if grad is not None}

    def module(self, inputs: Sequence[Tensor]) -> nn.Module:
        """The op's module, whose parameters are the inputs of their names."""
        kind = getattr(workbench_kernels.nn, module_name(self.spec.name))
        taken = inspect.signature(kind).parameters.values()
        several = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
        needed = [p.name for p in taken if p.default is p.empty and p.kind not in several]
        usual = self.spec.parameters
        sizes = {name: usual.get(name, inputs[0].shape[-1]) for name in needed}
        module: nn.Module = kind(**sizes, **self.options)
        named = dict(zip(self.spec.tensors, inputs, strict=True))
        for name, _ in [*module.named_parameters()]:
            setattr(module, name, nn.Parameter(named[name].clone()))
        return module

    def passed(self, module: nn.Module, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """The inputs that are not the module's own, as leaves to call it with."""
        own = {name for name, _ in module.named_parameters()}
        named = zip(self.spec.tensors, inputs, strict=True)
        wanted = self.spec.differentiable
        return {n: t.detach().requires_grad_(n in wanted) for n, t in named if n not in own}


@cache
def find(name: str) -> Op:
    """The op of that name."""
    spec: OpSpec = import_module(f"workbench_kernels.{name}.spec").SPEC
    function = getattr(import_module(f"workbench_kernels.{name}.wrapper"), name)
    taken = inspect.signature(function).parameters
    options = {key: value for key, value in OPTIONS.items() if key in taken}
    return Op(spec, partial(function, **options), options)


def _send(outputs: Sequence[Tensor], upstream: Sequence[Tensor | None]) -> None:
    sent = [(y, dy) for y, dy in zip(outputs, upstream, strict=True) if dy is not None]
    ys, dys = zip(*sent, strict=True)
    torch.autograd.backward(ys, dys)


def alike(op: Op, got: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Assert that results are the same bits; on a GPU, whose products may be taken in another order
    another time, that of an op with products next to nothing is lost.
    """
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        assert got[name].dtype is value.dtype and got[name].shape == value.shape, name
        if op.spec.products and value.is_cuda:
            lost = (got[name].double() - value.double()).norm()
            assert lost <= 1e-2 * value.double().norm(), f"{name}: {lost}"
        else:
            torch.testing.assert_close(got[name], value, rtol=0, atol=0, equal_nan=True)


def check_checkpoint(op: Op, *, use_reentrant: bool) -> None:
    """Assert that what a checkpoint computes again gives the same gradients."""
    inputs = op.draw()
    upstream = op.upstream(inputs)

    def again(**named: Tensor) -> Any:
        def function(*tensors: Tensor) -> Any:  # a checkpoint may take nothing by name
            return op.function(**dict(zip(named, tensors, strict=True)))

        return checkpoint(function, *named.values(), use_reentrant=use_reentrant)

    alike(op, op.step(inputs, upstream, again), op.step(inputs, upstream))


# Compiled


def compilations(
    op: Op, counts: Sequence[int], others: Callable[[], AbstractContextManager[Any]]
) -> int:
    """How often PyTorch compiles the op for so many token counts. Of the first three, results are
    those of plain calls; the rest runs in the context `others`.
    """
    from torch._dynamo.testing import CompileCounterWithBackend  # the compiler takes long to import

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(op.function, backend=counter, fullgraph=True)
    for rows in counts[:3]:
        inputs = op.draw(rows)
        upstream = op.upstream(inputs)
        alike(op, op.step(inputs, upstream, compiled), op.step(inputs, upstream))
    with others():
        for rows in counts[3:]:
            inputs = op.draw(rows)
            op.step(inputs, op.upstream(inputs), compiled)
    return int(counter.frame_count)


def print_kernels() -> None:
    """Print what kernels Triton is asked for by each op that it was not asked for by the first
    token count: as JSON, a list by op. None is compiled, and there is no GPU: for a process of its
    own, without the interpreter.
    """
    from triton import knobs
    from triton.backends.compiler import GPUTarget
    from triton.runtime.driver import driver

    from workbench.bench import capture
    from workbench_kernels import launch, stored_gradients

    asked: dict[tuple[str, str], str] = {}

    def ask(*, key: str, repr: str, fn: Any, **_: Any) -> bool:
        asked.setdefault((fn.name, key), f"{fn.name} {key}")
        return True  # done: neither compiled nor launched

    knobs.runtime.jit_cache_hook = ask
    driver.set_active(capture.Driver(GPUTarget("cuda", 90, 32)))
    for module in (launch, stored_gradients):
        module.multiprocessors = lambda x: 132
    found: dict[str, list[str]] = {name: [] for name in OPS}
    for name in OPS:
        function, spec = capture.load(name)  # so that it runs on tensors without memory
        narrow, *wider = sorted({cols for _, cols in spec.sweep})
        for cols in (narrow, *wider):
            asked.clear()
            others = COUNTS if cols == narrow else ()
            for counts in (ENDS, (*FEW, *others)):
                known = len(asked)
                for rows in counts:
                    inputs = capture._inputs(spec, rows, cols, torch.bfloat16)
                    capture._forward_and_backward(function, spec, inputs, find(name).options)
            found[name] += [f"{cols} columns: {kernel}" for kernel in [*asked.values()][known:]]
    print(json.dumps(found))


# Sharded


class Scaled(nn.Module):
    """An op's module, whose inputs are scaled by something learned: not every one has parameters to
    shard.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.factor = nn.Parameter(torch.tensor([0.25, 0.75]))

    def forward(self, **tensors: Tensor) -> Any:
        factor = self.factor.sum()
        scaled = {n: t * factor if t.requires_grad else t for n, t in tensors.items()}
        return self.inner(**scaled)


def _gradients(
    op: Op, model: Scaled, inputs: Sequence[Tensor], upstream: Sequence[Tensor | None]
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Of the model's parameters, whole, and of what it is given."""
    from torch.distributed.tensor import DTensor

    leaves = op.passed(model.inner, inputs)
    outputs = model(**leaves)
    _send(outputs if isinstance(outputs, tuple) else (outputs,), upstream)
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    whole = {n: g.full_tensor() if isinstance(g, DTensor) else g for n, g in grads.items()}
    return whole, [leaf.grad for leaf in leaves.values() if leaf.grad is not None]


def _check_sharded(op: Op, mesh: Any) -> None:
    """Assert that a sharded model learns what a whole one does: the mean over the ranks, each of
    which has inputs of its own.
    """
    from torch.distributed.fsdp import FSDPModule, fully_shard

    def model() -> Scaled:
        return Scaled(op.module(op.draw())).to(testing.device())

    rank, ranks = mesh.get_local_rank(), mesh.size()
    inputs = [op.draw(seed=1 + number) for number in range(ranks)]
    torch.manual_seed(0)
    upstream = [op.upstream(given) for given in inputs]
    alone = [_gradients(op, model(), *given) for given in zip(inputs, upstream, strict=True)]
    sharded = model()
    if [*sharded.inner.parameters()]:  # which are freed after the forward, and gathered again
        fully_shard(sharded.inner, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    assert isinstance(sharded, FSDPModule)
    learned, sent = _gradients(op, sharded, inputs[rank], upstream[rank])
    mean = {name: sum(one[0][name] for one in alone) / ranks for name in alone[0][0]}
    torch.testing.assert_close(learned, mean, equal_nan=True)
    torch.testing.assert_close(sent, alone[rank][1], equal_nan=True)


def _rank(rank: int, ranks: int, folder: str) -> None:
    """One process of those that `train_sharded`."""
    from torch import distributed

    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(rank)
    else:
        from workbench import interpreter

        torch.set_num_threads(1)
        interpreter.enable()
    distributed.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=ranks,
        timeout=PATIENCE,
    )
    mesh = distributed.init_device_mesh("cuda" if on_gpu else "cpu", (ranks,))
    wrong = {}
    for name in OPS:
        try:
            _check_sharded(find(name), mesh)
        except Exception:
            wrong[name] = f"rank {rank}: {traceback.format_exc()}"
    Path(folder, f"{rank}.json").write_text(json.dumps(wrong))
    distributed.destroy_process_group()


def train_sharded(folder: Path) -> dict[str, list[str]]:
    """Train a model of each module, sharded by FSDP2 over two processes, or over the one for which
    there is a GPU; what went wrong, by op.
    """
    ranks = min(2, torch.cuda.device_count()) if torch.cuda.is_available() else 2
    # Multicast over NVLink may not be there, and the ranks have next to nothing to say.
    os.environ.setdefault("NCCL_NVLS_ENABLE", "0")
    spawn(_rank, (ranks, str(folder)), ranks)
    told = [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(ranks)]
    return {name: [one[name] for one in told if name in one] for name in OPS}
