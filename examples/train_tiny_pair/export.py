"""Write the pair in the layout of published checkpoints: config.json, safetensors, tokenizer."""

import json
from pathlib import Path
from typing import Any

import tokens
import torch
from network import Verifier
from safetensors.torch import save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from fasttts_sglang.verifier.families import CONFIG_KEY


def export(
    folder: Path, generator: Qwen2ForCausalLM, verifier: Verifier, temperature: float
) -> None:
    """Write `folder/generator` and `folder/verifier`; weights are bfloat16."""
    kinds = {
        "generator": {"architectures": ["Qwen2ForCausalLM"]},
        "verifier": {"architectures": ["Qwen2ForPrmModel"], CONFIG_KEY: "shared-tokens"},
    }
    for (name, kind), model in zip(kinds.items(), (generator, verifier), strict=True):
        _write(folder / name, {**_config(model.config), **kind}, model)
    sampling = {
        "bos_token_id": tokens.BOS,
        "eos_token_id": tokens.EOS,
        "pad_token_id": tokens.PAD,
        "do_sample": True,
        "temperature": temperature,
    }
    _write_json(folder / "generator" / "generation_config.json", sampling)


def _config(c: Qwen2Config) -> dict[str, Any]:
    """Return config.json by hand: the keys of published Qwen2 checkpoints, old readers included."""
    return {
        "model_type": "qwen2",
        "vocab_size": c.vocab_size,
        "hidden_size": c.hidden_size,
        "intermediate_size": c.intermediate_size,
        "num_hidden_layers": c.num_hidden_layers,
        "num_attention_heads": c.num_attention_heads,
        "num_key_value_heads": c.num_key_value_heads,
        "hidden_act": c.hidden_act,
        "max_position_embeddings": c.max_position_embeddings,
        "max_window_layers": c.num_hidden_layers,
        "use_sliding_window": False,
        "sliding_window": None,
        "rope_theta": 10000.0,
        "rms_norm_eps": c.rms_norm_eps,
        "initializer_range": c.initializer_range,
        "attention_dropout": 0.0,
        "tie_word_embeddings": True,
        "use_cache": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": tokens.BOS,
        "eos_token_id": tokens.EOS,
        "pad_token_id": tokens.PAD,
    }


def _write(folder: Path, config: dict[str, Any], model: torch.nn.Module) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}  # tied
    weights = {k: v.detach().cpu().bfloat16().contiguous() for k, v in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", config)
    tokens.save_tokenizer(folder)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
