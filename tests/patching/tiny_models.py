"""Causal language models of transformers by their type, tiny: their configs' sizes made small by
their names, so that a type needs no word of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

VOCABULARY, TOKENS = 96, 12

# What the fields of configs are called, and what is small for them.
SIZES: dict[str, Any] = {
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
    0: "pad_token_id attention_dropout hidden_dropout_prob attention_probs_dropout_prob dropout "
    "resid_pdrop embd_pdrop attn_pdrop hidden_dropout activation_dropout",
    3: "bos_token_id",
    5: "eos_token_id",
}
_MAY_BE_NONE = """head_dim num_key_value_heads n_routed_experts n_shared_experts n_group topk_group
num_experts_per_tok pad_token_id bos_token_id eos_token_id""".split()
SMALL = {name: size for size, names in SIZES.items() for name in names.split()}


def shrink(config_class: Any, overrides: dict[str, Any]) -> Any:
    """A config whose sizes are small, and those of its parts."""
    default = config_class()
    small = {**SMALL, **overrides}
    given: dict[str, Any] = {}
    for name, value in default.to_dict().items():
        if name in small and isinstance(value, int | float) and not isinstance(value, bool):
            given[name] = type(value)(small[name])
        elif value is None and name in _MAY_BE_NONE:
            given[name] = small[name]
        elif isinstance(value, list) and "layer" in name:
            given[name] = [*value[:1], *[v for v in value if v != value[0]][:1], *value[1:2]][:2]
    for name in getattr(config_class, "sub_configs", None) or {}:
        part = getattr(default, name, None)
        if hasattr(part, "to_dict"):
            given[name] = shrink(type(part), overrides)
    return config_class(**given)


# Tried one after the other, until a model runs.
ATTEMPTS: Sequence[dict[str, Any]] = (
    {},
    {"num_key_value_heads": 4, "num_kv_heads": 4},
    {"num_heads": 8},  # Mamba 2: as wide as hidden_size · expand
    {"num_hidden_layers": 4, "n_layer": 4, "num_layers": 4},
    {"num_experts_per_tok": 1, "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0},
    {"hidden_size": 64, "num_attention_heads": 4, "head_dim": 16, "num_key_value_heads": 4},
)


def build(kind: str, overrides: dict[str, Any]) -> nn.Module:
    """A tiny model of that type, in training."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    names = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind]
    model_class = getattr(transformers, names if isinstance(names, str) else names[0])
    config = shrink(model_class.config_class or CONFIG_MAPPING[kind], overrides)
    for name in ("is_decoder", "use_cache"):
        if hasattr(config, name):
            setattr(config, name, name == "is_decoder")
    torch.manual_seed(0)
    try:
        model: nn.Module = model_class._from_config(config, attn_implementation="eager")
    except AttributeError:  # the text's part of a model for more than text
        config = config.get_text_config()
        model = model_class._from_config(config, attn_implementation="eager")
    if hasattr(model, "set_default_language"):
        model.set_default_language(config.languages[0])
    for p in model.parameters():
        if p.numel() > 1 and not p.any():
            nn.init.normal_(p, std=0.02)  # zeros would hide what they take part in
    return model.float().train()


def batch() -> dict[str, Tensor]:
    """Tokens and their labels, of which some are ignored."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(6, VOCABULARY, (2, TOKENS), generator=generator)
    labels = tokens.clone()
    labels[0, :4] = -100
    return {"input_ids": tokens, "labels": labels}


def step(model: nn.Module, **inputs: Any) -> tuple[Any, dict[str, Tensor]]:
    """The output and the gradients of one step, with a batch in which `inputs` are others."""
    torch.manual_seed(2)
    model.zero_grad()
    output = model(**{**batch(), **inputs})
    output.loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return output, gradients


def difference(theirs: Any, ours: Any) -> str:
    """What is not the same of two steps; empty for nothing. Float32 sums in another order differ by
    a few units in the last place, and through the layers by some more: 1e-4 of the largest.
    """
    (output, gradients), (our_output, our_gradients) = theirs, ours
    loss, our_loss = output.loss.item(), our_output.loss.item()
    if not abs(loss - our_loss) <= 1e-5 * abs(loss):
        return f"loss {our_loss} for {loss}"
    if gradients.keys() != our_gradients.keys():
        return f"gradients of {sorted(gradients.keys() ^ our_gradients.keys())[:3]}"
    filled = {name: g for name, g in gradients.items() if g.numel()}
    largest = max(g.abs().max().item() for g in filled.values())
    for name, gradient in filled.items():
        off = (gradient - our_gradients[name]).abs().max().item()
        if not off <= 1e-4 * gradient.abs().max().item() + 1e-6 * largest:
            return f"gradient of {name} off by {off / gradient.abs().max().item():.1e}"
    return ""
