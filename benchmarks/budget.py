"""One KV budget for two models, as tokens per model. Pure."""

from .shapes import SHAPES, num_parameters

_BYTES = {"float32": 4, "bfloat16": 2}
GIB = 1 << 30
RESERVE = 0.1
"""Fraction of a card that holds neither weights nor KV: CUDA contexts and graphs, activations."""


def kv_bytes_per_token(shape: str) -> int:
    """Bytes of keys and values of one token.

    >>> kv_bytes_per_token("1.5b")
    28672
    >>> kv_bytes_per_token("mistral-7b")
    131072
    """
    config = SHAPES[shape]
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    width = config["num_key_value_heads"] * head_dim * _BYTES[config["torch_dtype"]]
    return int(2 * config["num_hidden_layers"] * width)


def weight_bytes(shape: str, *, verifier: bool = False) -> int:
    """Bytes of a model's weights.

    >>> round(weight_bytes("7b") / GIB, 2)
    14.18
    """
    return num_parameters(shape, verifier=verifier) * _BYTES[SHAPES[shape]["torch_dtype"]]


def left_on_card(generator: str, verifier: str, gpu_gib: float) -> float:
    """GiB for the KV of both models on a card of `gpu_gib`, after weights and `RESERVE`.

    Raises:
        ValueError: The weights alone do not fit; the message says what is missing.

    >>> round(left_on_card("7b", "1.5b", 24), 2)
    4.54
    >>> round(left_on_card("1.5b", "7b", 24), 2)
    5.56
    >>> round(left_on_card("1.5b", "1.5b", 12), 2)
    5.05
    >>> left_on_card("7b", "1.5b", 16)
    Traceback (most recent call last):
    ValueError: the weights of 7b+1.5b take 17.06 GiB, and a card of 16 GiB has 14.40 for them
    """
    weights = (weight_bytes(generator) + weight_bytes(verifier, verifier=True)) / GIB
    usable = gpu_gib * (1 - RESERVE)
    if usable <= weights:
        raise ValueError(
            f"the weights of {generator}+{verifier} take {weights:.2f} GiB,"
            f" and a card of {gpu_gib:g} GiB has {usable:.2f} for them"
        )
    return usable - weights


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
