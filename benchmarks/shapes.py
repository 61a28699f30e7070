"""Checkpoint folders with real model shapes and no weights, for `load_format="dummy"`.

All are of Qwen2's architecture, for which both SGLang and we have a reward model. Mistral-7B's
layers differ from that by the biases of three projections only, so its shape runs in the same
classes and costs the same. A verifier that reads the generator's tokens needs its vocabulary:
every real shape here has the 151,936 entries of Qwen2.5-1.5B (Qwen2.5-7B is published with
152,064, Mistral-7B with 32,000).
"""

import json
from pathlib import Path
from typing import Any

from fasttts_sglang.memory.shapes import SHAPES as PUBLISHED
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
}

_VOCABULARY = 151936  # of Qwen2.5-1.5B

SHAPES: dict[str, dict[str, Any]] = {
    "toy": {  # for tests on a CPU
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 256,
        "vocab_size": 1000,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
    },
    "1.5b": PUBLISHED["qwen2.5-1.5b"],
    "7b": {**PUBLISHED["qwen2.5-7b"], "vocab_size": _VOCABULARY},
    "mistral-7b": {**PUBLISHED["mistral-7b"], "vocab_size": _VOCABULARY},
}

PAIRS = [
    f"{generator}+{verifier}"
    for generator in SHAPES
    for verifier in SHAPES
    if SHAPES[generator]["vocab_size"] == SHAPES[verifier]["vocab_size"]
]

GENERATOR = "Qwen2ForCausalLM"
VERIFIER = "Qwen2ForPrmModel"  # ours: a value per token, read from the generator's tokens
STOCK_VERIFIER = "Qwen2ForRewardModel"  # SGLang's: a value at the last token


def num_parameters(shape: str, *, verifier: bool = False) -> int:
    """Weights of a shape as it is loaded; a verifier has no output matrix.

    >>> round(num_parameters("7b") / 1e9, 2)
    7.61
    >>> round(num_parameters("1.5b", verifier=True) / 1e9, 2)
    1.54
    """
    config = SHAPES[shape]
    hidden = config["hidden_size"]
    kv = config["num_key_value_heads"] * (hidden // config["num_attention_heads"])
    attention = 2 * hidden * (hidden + kv) + hidden + 2 * kv
    layer = attention + 3 * hidden * config["intermediate_size"] + 2 * hidden
    matrices = 1 if verifier or config["tie_word_embeddings"] else 2
    vocabulary = matrices * config["vocab_size"] * hidden
    return int(vocabulary + config["num_hidden_layers"] * layer + hidden)


def write(folder: Path, shape: str, architecture: str) -> str:
    """Write the config of a model; return its folder."""
    path = folder / f"{shape}-{architecture}"
    path.mkdir(parents=True, exist_ok=True)
    config = {**_COMMON, **SHAPES[shape], "architectures": [architecture]}
    config[CONFIG_KEY] = "shared-tokens"  # others do not look
    (path / "config.json").write_text(json.dumps(config))
    return str(path)
