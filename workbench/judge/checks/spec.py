"""The check of the spec: that what the op is judged by asks something of it.

A person confirms that a reference is the right one; that it is one, nobody should have to look for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from workbench.judge.checks.cases import unseen_shapes
from workbench.judge.memory import same_bits
from workbench.judge.referee import Referee
from workbench.judge.trial import Skip, Trial, Wrong
from workbench_kernels.bound import Comparison
from workbench_kernels.testing import small_shape
from workbench_kernels.truth import Expected

FEWEST_COLUMNS = 8
# An error in float32, over the size of the result, that no honest arithmetic has.
ROUGH = 1e-4


@dataclass(frozen=True)
class Spec:
    """Each trial is one demand on the spec of the op that is called `name`."""

    referee: Referee
    name: str
    seed: int

    def checks(self) -> dict[str, Callable[[], Iterator[Trial]]]:
        """The check by name."""
        return {"spec": self.spec}

    def spec(self) -> Iterator[Trial]:
        """Names, dtypes and sizes are usable, inputs are random, the reference depends on them."""
        yield Trial("name", self._name)
        yield Trial("dtypes", self._dtypes)
        yield Trial("shapes", self._shapes)
        yield Trial("inputs", self._inputs)
        yield Trial("reference", self._reference)
        yield Trial("precision", self._precision)
        yield Trial("sizes", self._sizes)
        yield Trial("parameters", self._parameters)

    def _name(self) -> list[Comparison]:
        if self.referee.spec.name != self.name:
            raise Wrong(f"the spec names {self.referee.spec.name}, the folder {self.name}")
        return []

    def _dtypes(self) -> list[Comparison]:
        dtypes = set(self.referee.spec.dtypes)
        if torch.float32 not in dtypes or not dtypes & {torch.bfloat16, torch.float16}:
            raise Wrong("an op serves float32 and one of bfloat16 and float16, at least")
        return []

    def _shapes(self) -> list[Comparison]:
        rows, cols = small_shape(self.referee.spec)
        if rows < 2 or cols < FEWEST_COLUMNS:
            raise Wrong(f"no shape has 2 rows and {FEWEST_COLUMNS} columns")
        if not self.referee.spec.sweep:
            raise Wrong("there is no size to measure")
        return []

    def _inputs(self) -> list[Comparison]:
        shape = small_shape(self.referee.spec)
        first, again, other = (self._draws(*shape, more) for more in (0, 0, 1))
        if len(first) != len(self.referee.spec.tensors):
            raise Wrong(f"inputs() gives {len(first)} tensors, the spec names others")
        for name, a, b, c in zip(self.referee.spec.tensors, first, again, other, strict=True):
            if not same_bits(a, b):
                raise Wrong(f"{name} is another one for the same seed")
            if a.is_floating_point() and a.numel() > 1 and same_bits(a, c):
                raise Wrong(f"{name} is the same for every seed: nothing is tried with it")
            if a.is_floating_point() and a.numel() > 1 and _is_constant(a):
                raise Wrong(f"{name} has one value everywhere")
        return []

    def _reference(self) -> list[Comparison]:
        spec, expected, again = self.referee.spec, self._expected, self._expect()
        for name, value in expected.eager.items():
            if not same_bits(value, again.eager[name]):
                raise Wrong(f"the reference's {name} is another one when called again")
            if not expected.truth[name].any():
                raise Wrong(f"the reference's {name} is zero everywhere")
        constant = [n for n, y in expected.truth.items() if n[0] == "y" and _is_constant(y)]
        if constant and all(expected.truth[name].numel() > 1 for name in constant):
            raise Wrong(f"the reference's {constant[0]} has one value everywhere")
        if not spec.differentiable and not spec.mutates:
            raise Wrong("no input has a gradient: it can't be trained with")
        return []

    def _precision(self) -> list[Comparison]:
        """What is rough itself holds nothing to anything."""
        for name, error in self._expected.error.items():
            truth = self._expected.truth[name]
            if truth.isfinite().all() and float(error.norm()) > ROUGH * float(truth.norm()):
                share = float(error.norm() / truth.norm())
                raise Wrong(f"the reference's {name} is rough: an error of {share:.1g} in float32")
        return []

    @cached_property
    def _expected(self) -> Expected:
        return self._expect()

    def _expect(self) -> Expected:
        inputs = self.referee.draw(*small_shape(self.referee.spec), torch.float32, self.seed)
        return self.referee.expect(inputs, seed=self.seed)

    def _sizes(self) -> list[Comparison]:
        """Sizes it does not name must be sizes it takes, or there is nothing to be right at."""
        spec, refused = self.referee.spec, []
        for shape in spec.shapes:
            self._draws(*shape)
        sizes = [s for s in unseen_shapes(spec, self.seed) if min(s) > 1 and s not in spec.shapes]
        for rows, cols in sizes:
            try:
                drawn = self._draws(rows, cols)
                self.referee.expect(drawn, seed=self.seed)
            except Skip as reason:
                refused.append(f"({rows}, {cols}): {reason}")
        if len(refused) == len(sizes):
            raise Wrong(f"the reference takes no size but its spec's; {refused[0]}")
        return []

    def _draws(self, rows: int, cols: int, more: int = 0) -> tuple[Tensor, ...]:
        """Inputs of the size asked for: what they are cut down to is tried, and nothing else. The
        columns may be spread over several dimensions.
        """
        drawn = self.referee.draw(rows, cols, torch.float32, self.seed + more)
        if self.referee.spec.products:
            if not {rows, cols} <= {side for t in drawn for side in t.shape}:
                raise Wrong(f"{rows} and {cols} are no sides of the inputs when asked for that")
        elif (rows, cols) not in [(*t.shape[:1], math.prod(t.shape[1:])) for t in drawn]:
            raise Wrong(f"none of the inputs is ({rows}, {cols}) when asked for that")
        return drawn

    def _parameters(self) -> list[Comparison]:
        """What is never another than by default need not do anything."""
        spec = self.referee.spec
        for name, settings in spec.variants.items():
            if left := [n for n in spec.tensors if settings.get(n, n) is not n and settings[n]]:
                raise Wrong(f"variant {name} sets {left[0]}, a tensor: it can only be left out")
        if missing := self.referee.not_varied:
            raise Wrong(
                f"the reference takes {', '.join(missing)}; name it in `parameters` or `variants`"
            )
        return []


def _is_constant(t: Tensor) -> bool:
    return t.numel() > 0 and bool((t == t.reshape(-1)[0]).all())
