"""The checks of work: the op's own kernels did it, and the process is as it was.

What a call launched and dispatched is the worker's word, and the static scan keeps a candidate from
changing it; that nothing comes out right without the kernels is seen from here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from workbench.judge.memory import same_bits
from workbench.judge.op import Op
from workbench.judge.remote import Raised
from workbench.judge.trial import Trial, Wrong
from workbench_kernels.bound import Comparison, compare
from workbench_kernels.op import NAMESPACE
from workbench_kernels.testing import small_shape
from workbench_kernels.truth import Expected

# Ops that only allocate or fill; what they are given decides a shape, never a value.
_ALLOCATE = {
    "empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided",
    "zeros", "zeros_like", "new_zeros", "ones", "ones_like", "new_ones",
    "full", "full_like", "new_full", "fill_", "zero_", "scalar_tensor",
}  # fmt: skip
# Ops that move values from one layout, dtype or device to another.
_MOVE = {"clone", "copy_", "_to_copy", "contiguous", "_reshape_copy", "lift_fresh", "_unsafe_view"}
# What `workbench_kernels.products` asks of PyTorch: products, and one number to be read.
_MULTIPLY = {"mm", "addmm", "addmm_", "item", "_local_scalar_dense"}


@dataclass(frozen=True)
class Work:
    """Each method is one check: it yields its trials, over all calls made so far."""

    op: Op
    seed: int

    def checks(self) -> dict[str, Callable[[], Iterator[Trial]]]:
        """The checks by name."""
        return {"work": self.work, "process": self.process}

    def work(self) -> Iterator[Trial]:
        """Kernels were launched, PyTorch computed nothing (but products, if the spec has them), and
        without kernels nothing is right.
        """
        yield Trial("launches", self._launches)
        yield Trial("torch ops", self._torch_ops)
        yield Trial("without its kernels", self._without_kernels)

    def process(self) -> Iterator[Trial]:
        """No setting of PyTorch is changed, no thread left, no random number drawn."""
        yield Trial("what the calls left behind", self._left_behind)

    def _launches(self) -> list[Comparison]:
        calls = self.op.seen.calls
        if not any(facts.launches for facts in calls):
            raise Wrong("no kernel was ever launched")
        without = sum(not facts.forward_launches for facts in calls)
        if without:
            raise Wrong(f"{without} of {len(calls)} calls launch no kernel in the forward")
        return []

    def _torch_ops(self) -> list[Comparison]:
        used = {name for facts in self.op.seen.calls for name in facts.ops}
        allowed = _MULTIPLY if self.op.spec.products else set[str]()
        computing = sorted(name for name in used if _computes(name, allowed))
        if computing:
            raise Wrong(f"PyTorch computes: {', '.join(computing[:8])}")
        return []

    def _without_kernels(self) -> list[Comparison]:
        """With every launch left out and fresh memory full of NaN, each result must be wrong."""
        inputs = self.op.draw(*small_shape(self.op.spec), self.op.spec.dtypes[0], self.seed)
        expected = self.op.expect(inputs, seed=self.seed)
        try:
            got = self.op.run(inputs, expected, poison=True, launching=False)
        except Raised:
            return []  # it can't even go on without them
        given = [*inputs, *(dy for dy in expected.upstream if dy is not None)]
        for found in compare(got, expected):
            value = got.get(found.name)
            if value is None or found.message or _is_trivial(found.name, value, expected, given):
                continue
            raise Wrong(f"{found.name} is right without any kernel of the op")
        return []

    def _left_behind(self) -> list[Comparison]:
        if self.op.seen.changed:
            raise Wrong(f"not as before: {'; '.join(sorted(self.op.seen.changed)[:8])}")
        return []


def _is_trivial(name: str, value: Tensor, expected: Expected, given: list[Tensor]) -> bool:
    """Whether a result needs no kernel: it has no element, is zero, or passes something on."""
    passed_on = any(same_bits(value, t) for t in given)
    return not value.numel() or not expected.truth[name].any() or passed_on


@cache
def _builtin() -> frozenset[str]:
    """The names of PyTorch's own ops, whatever of the library was imported into this process."""
    names = torch._C._dispatch_get_all_op_names()
    return frozenset(name for name in names if not name.startswith(f"{NAMESPACE}::"))


def _computes(name: str, allowed: Collection[str] = ()) -> bool:
    """Whether a dispatched op (`aten.sum.dim_IntList`) computes with the values it is given, and is
    none of those `allowed`.
    """
    namespace, op, overload = (*name.split("."), "", "")[:3]
    full = f"{namespace}::{op}" + ("" if overload in ("default", "") else f".{overload}")
    if full not in _builtin():
        return namespace in ("aten", "prims")  # an op of its own, whose inside is recorded too
    if namespace != "aten":
        return True
    return op not in (_ALLOCATE | _MOVE).union(allowed) and not _is_view(full)


def _is_view(name: str) -> bool:
    """Whether an op returns another view of its first argument's memory, and writes nothing."""
    schema = torch._C._get_schema(*(*name.split("."), "")[:2])
    aliased = [a.alias_info for a in (*schema.arguments, *schema.returns) if a.alias_info]
    returns = [a.alias_info for a in schema.returns]
    return all(returns) and bool(aliased) and not any(info.is_write for info in aliased)
