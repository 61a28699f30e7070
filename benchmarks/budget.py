"""One KV budget for two models, as tokens per model. Pure."""

from typing import Any

from .shapes import SHAPES

_BYTES = {"float32": 4, "bfloat16": 2}
GIB = 1 << 30


def kv_bytes_per_token(shape: str) -> int:
    """Bytes of keys and values of one token.

    >>> kv_bytes_per_token("1.5b")
    28672
    """
    config: dict[str, Any] = SHAPES[shape]
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    width = config["num_key_value_heads"] * head_dim * _BYTES[config["torch_dtype"]]
    return int(2 * config["num_hidden_layers"] * width)


def split(generator: str, verifier: str, kv_gib: float, verifier_share: float) -> tuple[int, int]:
    """Tokens of the generator's and of the verifier's KV cache.

    >>> split("1.5b", "1.5b", 7, 0.5)
    (131072, 131072)
    """
    generator_bytes = kv_gib * GIB * (1 - verifier_share)
    verifier_bytes = kv_gib * GIB * verifier_share
    return (
        int(generator_bytes / kv_bytes_per_token(generator)),
        int(verifier_bytes / kv_bytes_per_token(verifier)),
    )
