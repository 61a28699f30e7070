"""Checkpoint folders with real model shapes and no weights, for `load_format="dummy"`."""

import json
from pathlib import Path

from fasttts_sglang.verifier.families import CONFIG_KEY

_COMMON = {
    "model_type": "qwen2",
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "use_sliding_window": False,
    "tie_word_embeddings": True,
}

# Qwen2.5's published configs; `toy` is for CPU tests
SHAPES = {
    "toy": {
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 256,
        "vocab_size": 1000,
        "torch_dtype": "float32",
    },
    "1.5b": {
        "hidden_size": 1536,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "intermediate_size": 8960,
        "vocab_size": 151936,
        "torch_dtype": "bfloat16",
    },
    "7b": {
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 18944,
        "vocab_size": 151936,
        "torch_dtype": "bfloat16",
    },
}

GENERATOR = "Qwen2ForCausalLM"
VERIFIER = "Qwen2ForPrmModel"  # ours: a value per token, read from the generator's tokens
STOCK_VERIFIER = "Qwen2ForRewardModel"  # SGLang's: a value at the last token


def write(folder: Path, shape: str, architecture: str) -> str:
    """Write the config of a model; return its folder."""
    path = folder / f"{shape}-{architecture}"
    path.mkdir(parents=True, exist_ok=True)
    config = {**_COMMON, **SHAPES[shape], "architectures": [architecture]}
    config[CONFIG_KEY] = "shared-tokens"  # others do not look
    (path / "config.json").write_text(json.dumps(config))
    return str(path)
