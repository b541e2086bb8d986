"""Which of transformers' language models the library serves, and whether they learn the
same with it: every type built tiny, trained a step as it is and patched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

# In the order they are shown: the best first.
Standing = Literal["whole", "loss", "parts", "none", "wrong", "not built"]


class Row(BaseModel):
    """One type. `ran` counts the library's ops of one step, forward and backward; `served` and
    `left` count modules by kind; `reasons` say why modules were left alone, once each. `difference`
    says what is not the same with the library, and is empty where nothing is; `why` why there is no
    model.
    """

    model_config = ConfigDict(frozen=True)

    type: str
    why: str = ""
    ran: Mapping[str, int] = {}
    served: Mapping[str, int] = {}
    left: Mapping[str, int] = {}
    reasons: tuple[str, ...] = ()
    difference: str = ""

    @property
    def fused(self) -> bool:
        """Whether its loss was computed without its logits ever being in memory."""
        return self.ran.get("linear_cross_entropy", 0) > 0

    @property
    def standing(self) -> Standing:
        """How much of it is served: `whole` is the loss and every module that was found."""
        if self.why:
            return "not built"
        if self.difference:
            return "wrong"
        if not self.served:
            return "none"
        if not self.fused:
            return "parts"
        return "loss" if self.left else "whole"


class Coverage(BaseModel):
    """All types of one transformers, as seen with these versions."""

    model_config = ConfigDict(frozen=True)

    versions: Mapping[str, str]
    device: str
    rows: tuple[Row, ...]

    def of(self, standing: Standing) -> list[Row]:
        """Those that stand so."""
        return [row for row in self.rows if row.standing == standing]
