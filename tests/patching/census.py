"""What `patch` serves of every causal language model that transformers has, made tiny; no test.

python tests/patching/census.py rope [types …]
"""

from __future__ import annotations

import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from typing import Any

os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from workbench import interpreter

interpreter.enable()

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402
from transformers.models.auto.modeling_auto import (  # noqa: E402
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
)

from workbench_kernels.patching import Report, patch, unpatch  # noqa: E402

launched: Counter[str] = Counter()


class _Launches(TorchDispatchMode):
    """Counts the calls of the library's ops."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace not in ("aten", "prim", "prims"):
            launched[func.name()] += 1
        return func(*args, **(kwargs or {}))


# The largest that a number of a config, so named, is left.
LARGEST = {
    "layers": 2, "num_hidden": 2, "depth": 2, "n_layer": 2, "heads": 4, "n_head": 4, "vocab": 128,
    "experts": 4, "intermediate": 64, "hidden_size": 64, "n_embd": 64, "d_model": 64, "d_ff": 64,
    "ffn": 64, "n_inner": 64, "head_dim": 16, "rotary_dim": 8, "rope_head_dim": 8, "lora_rank": 16,
    "state_size": 8, "max_position": 128, "n_positions": 128, "n_ctx": 128, "group": 2,
    "top_k": 2, "moe_k": 2, "experts_per": 2, "dim": 64, "chunk_size": 8, "rank": 16,
}  # fmt: skip


def main(kind: str, types: Iterable[str]) -> None:
    """Print what became of each type, and then of how many."""
    counts: Counter[str] = Counter()
    for name in types or MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        said = "\n    ".join(_of(kind, name)) or "nothing of the kind"
        counts[said.split(" ", 1)[0]] += 1
        print(f"{name}: {said}", flush=True)
    print(dict(counts))


def _of(kind: str, name: str) -> list[str]:
    try:
        model = build(name)
    except Exception as error:  # what a tiny configuration leads to is not known
        return [f"unbuilt {type(error).__name__}: {str(error)[:150]}"]
    before = _loss(model)
    report = patch(model, only=[kind])
    launched.clear()
    after = _loss(model)
    unpatch(model)
    said = str(report).splitlines()[1:]
    if not said:
        return []
    head = f"{_head(report)} launched {launched.total()}"
    if isinstance(before, float) and isinstance(after, float):
        head += f" loss differs by {abs(before - after):.1e}"
    else:
        head += f" no loss: {before} {after if after != before else ''}"
    return [head, *(line.strip()[:400] for line in said)]


def _head(report: Report) -> str:
    if not report.left:
        return f"served {len(report.served)},"
    return f"{'partly' if report.served else 'left'} {len(report.served)}/{len(report.entries)},"


def _loss(model: nn.Module) -> float | str:
    ids = torch.arange(4, 16)[None].repeat(2, 1)
    torch.manual_seed(0)
    try:
        with torch.no_grad(), _Launches():
            return float(model(input_ids=ids, labels=ids, use_cache=False).loss)
    except Exception as error:
        return f"{type(error).__name__} {str(error)[:100]}"


def build(name: str) -> nn.Module:
    """A tiny model of the type, with random weights."""
    config = CONFIG_MAPPING[name]()
    for part in [config, config.get_text_config()]:
        shrink(part)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def shrink(config: Any) -> None:
    """Make every number of a configuration small that says how large something is."""
    values = vars(config)
    for name, value in list(values.items()):
        if hasattr(value, "to_dict"):
            shrink(value)
        elif type(value) is int:
            found = [most for word, most in LARGEST.items() if word in name]
            if found and value > min(found):
                setattr(config, name, min(found))
        elif isinstance(value, list) and name.endswith(("layer_types", "block_types")):
            # Of a long pattern, a layer of each type.
            setattr(config, name, (list(dict.fromkeys(value)) * 2)[:2])
    heads, width = values.get("num_attention_heads"), values.get("hidden_size")
    if values.get("head_dim", 0) is None and isinstance(width, int) and isinstance(heads, int):
        config.head_dim = width // heads
    if "qk_rope_head_dim" in values and "head_dim" in values:
        config.head_dim = config.qk_rope_head_dim
    if isinstance(heads, int) and isinstance(values.get("num_key_value_heads"), int):
        config.num_key_value_heads = heads if "kv_lora_rank" in values else min(heads, 2)
    if isinstance(width, int) and isinstance(values.get("pad_token_id"), int):
        config.pad_token_id = 0


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
