"""What a model costs, read off its `config.json`: no weights, no torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..errors import ConfigError

_BITS = {"float32": 32, "bfloat16": 16, "float16": 16, "float8_e4m3fn": 8}
_OTHER_KINDS = {  # keys of what this arithmetic does not cover
    "num_experts": "a mixture of experts",
    "num_local_experts": "a mixture of experts",
    "n_routed_experts": "a mixture of experts",
    "kv_lora_rank": "latent attention",
}


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Costs of one model on one GPU.

    Args:
        name: For messages and reports.
        weight_bytes: Of memory.
        read_bytes: Weights that one forward reads: all but an input embedding of its own.
        kv_bytes: KV cache of one token, all layers.
        flops: Of one token through the layers' matrices.
        head_flops: Of one token through the output head; 0 if there is none.
        attention_flops: Of one token for each token before it.
    """

    name: str
    weight_bytes: int
    read_bytes: int
    kv_bytes: int
    flops: float
    head_flops: float
    attention_flops: float

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        name: str = "model",
        *,
        dtype: str | None = None,
        kv_dtype: str | None = None,
        tp_size: int = 1,
    ) -> Self:
        """A dense decoder with gated MLPs, as Llama, Mistral and Qwen are.

        Args:
            config: Parsed `config.json`.
            dtype: Of the activations and of weights that are not quantized, if not the config's.
            kv_dtype: Of the KV cache, if it is not `dtype`.
            tp_size: GPUs that share every layer.

        Raises:
            ConfigError: A size is missing or no positive integer, or it is a model of another kind.
        """
        config = config.get("text_config") or config
        for key, kind in _OTHER_KINDS.items():
            if config.get(key):
                raise ConfigError(f"{name}: {kind} ({key}) cannot be planned for yet")
        hidden, layers, heads, inner, vocabulary = (
            _size(config, name, key)
            for key in (
                "hidden_size",
                "num_hidden_layers",
                "num_attention_heads",
                "intermediate_size",
                "vocab_size",
            )
        )
        kv_heads = _size(config, name, "num_key_value_heads", heads)
        head_dim = _size(config, name, "head_dim", max(1, hidden // heads))
        bits = _bits(config, name, dtype)
        attention = 2 * hidden * heads * head_dim + 2 * hidden * kv_heads * head_dim
        matrices = layers * (attention + 3 * hidden * inner) // tp_size
        embedding = vocabulary * hidden // tp_size
        architectures = config.get("architectures") or ["ForCausalLM"]
        writes = str(architectures[0]).endswith("ForCausalLM")  # a reward model has no such head
        tied = bool(config.get("tie_word_embeddings", False))
        read = matrices * _weight_bits(config, bits) // 8 + writes * embedding * bits // 8
        own_embedding = 0 if writes and tied else embedding * bits // 8
        kv_bits = bits if kv_dtype in (None, "auto") else _BITS.get(str(kv_dtype), 8)
        return cls(
            name=name,
            weight_bytes=read + own_embedding,
            read_bytes=read,
            kv_bytes=2 * layers * max(1, kv_heads // tp_size) * head_dim * kv_bits // 8,
            flops=2.0 * matrices,
            head_flops=2.0 * embedding if writes else 0.0,
            attention_flops=4.0 * layers * heads * head_dim / tp_size,
        )

    @classmethod
    def named(cls, name: str, *, verifier: bool = False) -> Self:
        """The shape of a folder with a `config.json`, or one of SHAPES.

        Args:
            verifier: A shape of SHAPES is meant without its language model head.

        Raises:
            ConfigError: There is no such shape or folder, or its config is of no use.
        """
        if name.lower() in SHAPES:
            architecture = "Qwen2ForPrmModel" if verifier else "Qwen2ForCausalLM"
            return cls.from_config({**SHAPES[name.lower()], "architectures": [architecture]}, name)
        path = Path(name).expanduser()
        file = path / "config.json" if path.is_dir() else path
        if not file.is_file():
            raise ConfigError(
                f"{name}: is neither a folder with a config.json nor one of {', '.join(SHAPES)};"
                " nothing is downloaded for a plan, a local config.json is needed"
            )
        try:
            config = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as exc:
            raise ConfigError(f"{file}: cannot be read as JSON: {exc}") from exc
        if not isinstance(config, dict):
            raise ConfigError(f"{file}: must be a JSON object, got {type(config).__name__}")
        return cls.from_config(config, name)


def _size(config: Mapping[str, Any], name: str, key: str, default: int | None = None) -> int:
    value = config.get(key)
    if value is None:
        value = default
    if type(value) is not int or value < 1:
        raise ConfigError(f"{name}: {key} in config.json must be a positive integer, got {value!r}")
    return value


def _bits(config: Mapping[str, Any], name: str, dtype: str | None) -> int:
    named = dtype if dtype not in (None, "auto") else None
    named = named or config.get("torch_dtype") or config.get("dtype") or "bfloat16"
    found = _BITS.get(str(named).removeprefix("torch."))
    if found is None:
        raise ConfigError(f"{name}: dtype must be one of {', '.join(_BITS)}, got {named}")
    return found


def _weight_bits(config: Mapping[str, Any], bits: int) -> int:
    """Bits per weight of the layers' matrices."""
    quantization = config.get("quantization_config") or {}
    if "fp8" in str(quantization.get("quant_method")):
        return 8
    stored = quantization.get("bits")
    return stored if type(stored) is int and 1 <= stored <= bits else bits


# Published configs of the models that the paper pairs (arXiv:2509.00195).
SHAPES: dict[str, dict[str, Any]] = {
    "qwen2.5-1.5b": {
        "hidden_size": 1536,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "intermediate_size": 8960,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    },
    "qwen2.5-7b": {
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 18944,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    },
    "mistral-7b": {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 32000,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    },
}
