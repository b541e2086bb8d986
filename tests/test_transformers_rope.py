"""rope and qk_norm_rope in place of what transformers computes, outputs and gradients: every family
of rotary functions, and norms of heads before them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.qk_norm_rope import spec as qk_norm_rope_spec
from workbench_kernels.qk_norm_rope.wrapper import qk_norm_rope
from workbench_kernels.rope.spec import SPEC
from workbench_kernels.rope.wrapper import rope

BATCH, LENGTH, HEADS, KV_HEADS, WIDTH = 2, 5, 6, 2, 16
Tables = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Family:
    """How a model's function is called, and how rope is called in its place.

    `tables` makes of frequencies (batch, tokens, pairs) what the model has, `given` of that what
    rope takes.
    """

    model: str
    theirs: Callable[[Any, Tensor, Tensor, Tensor, Tensor], Any]
    options: dict[str, Any] = field(default_factory=dict)
    tables: Callable[[Tensor], Tables] = lambda angles: _twice(angles)
    given: Callable[[Tensor], Tensor] = lambda table: table
    pairs: int = WIDTH // 2
    tokens_first: bool = False

    def __str__(self) -> str:
        return self.model


def _twice(angles: Tensor) -> Tables:
    both = torch.cat([angles, angles], -1)
    return both.cos(), both.sin()


def _each_twice(angles: Tensor) -> Tables:
    both = angles.repeat_interleave(2, -1)
    return both.cos(), both.sin()


def _once(angles: Tensor) -> Tables:
    return angles.cos(), angles.sin()


def _half(table: Tensor) -> Tensor:
    return table[..., : table.shape[-1] // 2]


def _plain(model: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
    return model.apply_rotary_pos_emb(q, k, cos, sin)


def _interleave(model: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
    return model.apply_rotary_pos_emb_interleave(q, k, cos, sin)


def _vision(model: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
    return model.apply_rotary_pos_emb_vision(q, k, cos, sin)


def _one_by_one(model: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
    return tuple(model.apply_rotary_pos_emb(x, cos, sin) for x in (q, k))


def _gptj(model: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
    return tuple(model.apply_rotary_pos_emb(x, sin, cos) for x in (q, k))


def _complex(model: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
    return model.apply_rotary_emb(q, k, torch.complex(cos.float(), sin.float()))


PER_PAIR = {"per_pair": True}
INTERLEAVED = {"pairing": "interleaved"}
FAMILIES = [
    Family("llama", _plain),
    Family("glm4_moe", _plain, pairs=3),
    Family("phi3", _plain, pairs=4),
    Family("qwen2_vl", _vision, tokens_first=True),
    Family("olmo", _plain),
    Family("modernbert", _plain),
    Family("gemma4", _one_by_one),
    Family("cohere", _plain, INTERLEAVED, tables=_each_twice),
    Family("glm", _plain, INTERLEAVED | PER_PAIR, given=_half, pairs=4),
    Family("helium", _plain, INTERLEAVED | PER_PAIR, given=_half),
    Family("ernie4_5", _plain, INTERLEAVED | PER_PAIR, given=_half),
    Family("gptj", _gptj, INTERLEAVED | PER_PAIR, tables=_once, tokens_first=True),
    Family(
        "deepseek_v3", _interleave, {"pairing": "interleaved_to_half"} | PER_PAIR, given=_half
    ),
    Family("pe_audio", _plain, INTERLEAVED | PER_PAIR, given=_half),
    Family("gpt_oss", _plain, PER_PAIR, tables=_once),
    Family("deepseek_v2", _complex, INTERLEAVED | PER_PAIR, tables=_once),
    Family("llama4", _complex, INTERLEAVED | PER_PAIR, tables=_once, tokens_first=True),
]  # fmt: skip


def _modeling(name: str) -> Any:
    """transformers' module of a model."""
    try:
        return import_module(f"transformers.models.{name}.modeling_{name}")
    except ImportError as error:
        pytest.skip(f"there is no {name} to compare with: {error}")


def _draw(family: Family, dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    q, k = (torch.randn(BATCH, LENGTH, n, WIDTH) for n in (HEADS, KV_HEADS))
    if not family.tokens_first:
        q, k = q.transpose(1, 2), k.transpose(1, 2)
    angles = 100 * torch.rand(BATCH, LENGTH, family.pairs)
    return [t.to(testing.device(), dtype) for t in (q, k, *family.tables(angles))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_is_what_transformers_computes(family: Family, dtype: torch.dtype) -> None:
    model = _modeling(family.model)

    def theirs(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
        return family.theirs(model, q, k, cos, sin)

    def ours(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
        heads_dim = 2 if family.tokens_first else 1
        tables = family.given(cos), family.given(sin)
        return rope(q, k, *tables, **family.options, heads_dim=heads_dim)

    testing.check(replace(SPEC, reference=theirs), ours, _draw(family, dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_takes_complex_pairs_as_they_lie(dtype: torch.dtype) -> None:
    model, family = _modeling("llama4"), FAMILIES[-1]
    q, k, cos, sin = _draw(family, torch.float32)
    table = torch.view_as_real(torch.complex(cos, sin))
    yq, yk = rope(
        q.to(dtype), k.to(dtype), table[..., 0], table[..., 1], **family.options, heads_dim=2
    )
    wanted = model.apply_rotary_emb(q.to(dtype), k.to(dtype), torch.complex(cos, sin))
    torch.testing.assert_close((yq, yk), wanted)


def test_takes_the_sections_of_a_multimodal_model() -> None:
    model = _modeling("qwen2_vl")
    sections, family = (2, 3, 3), FAMILIES[0]
    torch.manual_seed(0)
    angles = 100 * torch.rand(3, BATCH, LENGTH, WIDTH // 2, device=testing.device())
    select = model.Qwen2VLRotaryEmbedding.recomposition_frequencies
    q, k, _, _ = _draw(family, torch.float32)

    def theirs(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
        known = SimpleNamespace(mrope_section=sections)
        return family.theirs(model, q, k, *(select(known, table) for table in (cos, sin)))

    def ours(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
        return rope(q, k, cos, sin, per_pair=True, sections=sections, heads_dim=1)

    testing.check(replace(SPEC, reference=theirs), ours, [q, k, angles.cos(), angles.sin()])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("name", "norm", "offset", "pairs"),
    [
        ("qwen3", "Qwen3RMSNorm", 0.0, WIDTH // 2),
        ("gemma3", "Gemma3RMSNorm", 1.0, WIDTH // 2),
        ("qwen3_next", "Qwen3NextRMSNorm", 1.0, 2),
    ],
)
def test_is_norm_and_rotation_of_transformers(
    name: str, norm: str, offset: float, pairs: int, dtype: torch.dtype
) -> None:
    model, family = _modeling(name), replace(FAMILIES[0], pairs=pairs)
    kind, eps = getattr(model, norm), 1e-5
    q, k, cos, sin = _draw(family, dtype)
    weights = torch.rand(2, WIDTH).to(q)

    def theirs(
        q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor, cos: Tensor, sin: Tensor
    ) -> Any:
        normal = [
            torch.func.functional_call(kind(WIDTH, eps=eps), {"weight": scale}, (x,))
            for x, scale in ((q, q_weight), (k, k_weight))
        ]
        return model.apply_rotary_pos_emb(*normal, cos, sin)

    ours = partial(qk_norm_rope, eps=eps, offset=offset, heads_dim=1)

    spec = replace(qk_norm_rope_spec.SPEC, reference=theirs)
    testing.check(spec, ours, [q, k, *weights, cos, sin])
