"""The op under judgement. Everything the judge asks of it goes through `Candidate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import Tensor

from workbench.judge.trial import Skip
from workbench_kernels.bound import Comparison, compare
from workbench_kernels.nn import module_name
from workbench_kernels.spec import OpSpec
from workbench_kernels.truth import Expected, expect, run

Layout = Callable[[Tensor], Tensor]
# What a reference raises for inputs it was not made for.
_UNSERVED = (RuntimeError, ValueError, IndexError, TypeError, AssertionError)


@dataclass(frozen=True)
class Candidate:
    """An op of the library: what it must be, its functional form and its module."""

    spec: OpSpec
    function: Callable[..., Any]
    module: type[Any]

    def run(
        self,
        inputs: Sequence[Tensor],
        expected: Expected,
        *,
        parameters: Mapping[str, float] | None = None,
        needs: Sequence[str] | None = None,
    ) -> dict[str, Tensor]:
        """Outputs and gradients by name."""
        sent = expected.upstream
        return run(self.spec, self.function, inputs, sent, parameters=parameters, needs=needs)

    def expect(
        self,
        inputs: Sequence[Tensor],
        *,
        parameters: Mapping[str, float] | None = None,
        needs: Sequence[str] | None = None,
        seed: int = 0,
        upstream: Layout | None = None,
    ) -> Expected:
        """What the reference gives; `upstream` lays out the gradient sent back.

        Raises:
            Skip: the reference itself does not take these inputs.
        """
        try:
            return expect(
                self.spec, inputs, parameters=parameters, needs=needs, seed=seed, layout=upstream
            )
        except _UNSERVED as error:
            raise Skip(f"the reference refuses it ({type(error).__name__})") from error

    def compare(
        self,
        inputs: Sequence[Tensor],
        *,
        parameters: Mapping[str, float] | None = None,
        needs: Sequence[str] | None = None,
        seed: int = 0,
        upstream: Layout | None = None,
    ) -> list[Comparison]:
        """Outputs and gradients against the truth, which is found before the op sees the inputs.

        Raises:
            Skip: the reference itself does not take these inputs.
        """
        expected = self.expect(
            inputs, parameters=parameters, needs=needs, seed=seed, upstream=upstream
        )
        return compare(self.run(inputs, expected, parameters=parameters, needs=needs), expected)


def load(op: str) -> Candidate:
    """Import the op from the library on the path. What its files raise is passed on."""
    spec = import_module(f"workbench_kernels.{op}.spec").SPEC
    wrapper = import_module(f"workbench_kernels.{op}.wrapper")
    return Candidate(spec, getattr(wrapper, op), getattr(wrapper, module_name(op)))
