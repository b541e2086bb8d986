"""A model of any type of transformers, as small as it can be: its config's sizes made small by what
they are called.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
VOCABULARY, TOKENS = 96, 12

# What is small, and what the fields are called that it is for.
_SIZES: Mapping[int, str] = {
    32: "hidden_size d_model n_embd dim embed_dim emb_dim attention_hidden_size hidden_dim "
    "embedding_size word_embed_proj_dim dim_model projection_dim decoder_hidden_size "
    "lru_width embedding_dim",
    48: "intermediate_size ffn_dim n_inner ffn_hidden_size dim_ff d_ff encoder_ffn_dim "
    "decoder_ffn_dim feed_forward_size shared_expert_intermediate_size inner_dim "
    "decoder_intermediate_size dense_intermediate_size",
    16: "moe_intermediate_size expert_dim q_lora_rank kv_lora_rank index_head_dim "
    "expert_ffn_hidden_size moe_latent_size expert_hidden_size",
    4: "num_attention_heads n_head num_heads n_heads decoder_attention_heads n_layer_heads "
    "encoder_attention_heads encoder_num_attention_heads num_experts num_local_experts "
    "n_routed_experts moe_num_experts index_n_heads attention_heads num_query_heads",
    2: "num_hidden_layers n_layer num_layers n_layers decoder_layers encoder_layers "
    "num_key_value_heads num_kv_heads num_experts_per_tok moe_topk moe_k moe_num_experts_per_tok "
    "num_experts_per_token num_decoder_layers top_k moe_top_k num_selected_experts",
    8: "head_dim qk_nope_head_dim v_head_dim qk_rope_head_dim kv_channels rotary_dim "
    "attention_head_size index_topk d_kv global_head_dim swa_head_dim linear_key_head_dim "
    "linear_value_head_dim",
    1: "n_group topk_group n_shared_experts first_k_dense_replace num_nextn_predict_layers "
    "moe_num_shared_experts num_shared_experts n_groups mamba_n_groups",
    64: "max_position_embeddings n_positions n_ctx max_sequence_length max_seq_len "
    "max_target_positions sliding_window",
    VOCABULARY: "vocab_size",
    0: "attention_dropout hidden_dropout_prob attention_probs_dropout_prob dropout "
    "resid_pdrop embd_pdrop attn_pdrop hidden_dropout activation_dropout",
}
_SMALL = {name: size for size, names in _SIZES.items() for name in names.split()}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 3, "eos_token_id": 5}
# May be None by default, which means another size's share, or another kind of layer.
_OPTIONAL = frozenset(
    {"head_dim", "num_key_value_heads", "n_routed_experts", "n_shared_experts", "n_group"}
    | {"topk_group", "num_experts_per_tok"}
)
# What a file has beside the configuration: where it came from, how its weights are stored.
NOT_ITS_OWN = frozenset({"model_type", "auto_map", "quantization_config", "_name_or_path"})
# What is tried on top, one after the other, until a model of the type runs.
CHANGES: tuple[Mapping[str, int], ...] = (
    {},
    {"num_key_value_heads": 4, "num_kv_heads": 4},
    {"num_heads": 8},  # Mamba 2's are as wide as hidden_size · expand
    {"num_experts_per_tok": 1, "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0},
    {"num_hidden_layers": 4, "n_layer": 4, "num_layers": 4},
    {"hidden_size": 64, "num_attention_heads": 4, "head_dim": 16, "num_key_value_heads": 4},
    # Rotary sections are of heads as wide as these.
    {"hidden_size": 128, "num_attention_heads": 2, "head_dim": 64, "num_key_value_heads": 2},
    {"hidden_size": 256, "num_attention_heads": 2, "head_dim": 128, "num_key_value_heads": 2},
)


def types() -> list[str]:
    """Every type of causal language model that transformers has, and of those that are shown images
    as well: they are given text alone.
    """
    return list(_names())


@cache
def _names() -> dict[str, str]:
    """What the class of each type is called."""
    from transformers.models.auto import modeling_auto as auto

    texts: Any = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    images: Any = auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    both = {**images, **texts}
    return {kind: both[kind] if isinstance(both[kind], str) else both[kind][0] for kind in both}


def build(
    kind: str, changes: Mapping[str, int], asked: Mapping[str, Any] = MappingProxyType({})
) -> nn.Module:
    """A tiny model of that type, in training, the same each time; no parameter is zero, which would
    hide what it takes part in. Of a configuration all but its sizes is kept.
    """
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    made: Any = getattr(transformers, _names()[kind])
    config_class = made.config_class or CONFIG_MAPPING[kind]
    config = _shrunk(config_class, {**_SMALL, **changes}, asked)
    for name in ("is_decoder", "use_cache"):
        if hasattr(config, name):
            setattr(config, name, name == "is_decoder")
    torch.manual_seed(0)
    try:
        model: Any = made._from_config(config, attn_implementation="eager")
    except AttributeError:  # of a model for more than text, its part for text
        config = config.get_text_config()
        model = made._from_config(config, attn_implementation="eager")
    if hasattr(model, "set_default_language"):
        model.set_default_language(config.languages[0])
    for parameter in model.parameters():
        if parameter.numel() > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return model.float().train()  # type: ignore[no-any-return]


def first(
    kind: str, runs: Callable[[nn.Module], T], asked: Mapping[str, Any] = MappingProxyType({})
) -> tuple[nn.Module, T]:
    """The first model of the type that runs, and what `runs` gives for a copy of it.

    Raises:
        Exception: what was wrong with the first of all, if none does.
    """
    errors = []
    for changes in CHANGES:
        try:
            model = build(kind, changes, asked)
            return model, runs(copy.deepcopy(model))
        except Exception as error:  # what a tiny configuration leads to is not known
            errors.append(error)
    raise errors[0]


def batch(device: torch.device) -> dict[str, Tensor]:
    """Two rows of tokens, some of one ignored."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(6, VOCABULARY, (2, TOKENS), generator=generator).to(device)
    labels = tokens.clone()
    labels[0, :4] = -100
    return {"input_ids": tokens, "labels": labels}


def _shrunk(
    kind: Any, small: Mapping[str, int], asked: Mapping[str, Any] = MappingProxyType({})
) -> Any:
    """A config whose sizes are small, and those of its parts; the rest as asked, or its own."""
    parts = set(getattr(kind, "sub_configs", None) or ())
    kept = {name: value for name, value in asked.items() if name not in parts | NOT_ITS_OWN}
    default = kind(**copy.deepcopy(kept))
    given = kept | dict(_small_fields(default.to_dict(), small))
    for name in sorted(parts):
        if hasattr(part := getattr(default, name, None), "to_dict"):
            given[name] = _shrunk(type(part), small, asked.get(name) or {})
    return kind(**given)


def _small_fields(fields: Mapping[str, Any], small: Mapping[str, int]) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if name in _TOKENS:
            yield name, _TOKENS[name]
        elif name in small and isinstance(value, int | float) and not isinstance(value, bool):
            yield name, type(value)(small[name])
        elif name in small and value is None and name in _OPTIONAL:
            yield name, small[name]
        elif isinstance(value, list) and "layer" in name and len(value) > 2:
            others = [one for one in value if one != value[0]]
            yield name, [value[0], *others[:1], value[1]][:2]
