"""Small reward models with random weights in the layouts of the published checkpoints."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForTokenClassification,
    Qwen2Model,
)

from . import tokenizers

HIDDEN = 64
_SHAPE: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 4096,
    "initializer_range": 0.2,  # large, so that scores differ
    "torch_dtype": "float32",
}


class Prm:
    """A checkpoint, and the transformers model whose `head` maps token ids to logits."""

    def __init__(
        self,
        folder: Path,
        make_tokenizer: Callable[[Path], PreTrainedTokenizerFast],
        architecture: str,
    ) -> None:
        torch.manual_seed(len(architecture))
        self.folder = folder
        self.tokenizer = make_tokenizer(folder)
        self.model, self.head, extra = _build(architecture, len(self.tokenizer))
        weights = {name: w.detach().clone() for name, w in self.model.state_dict().items()}
        weights = {**weights, **{name: w.detach() for name, w in extra.items()}}
        config = {**self.model.config.to_dict(), "architectures": [architecture]}
        (folder / "config.json").write_text(json.dumps(config, default=str))
        if architecture == "Qwen2ForPrmModel":  # Skywork's comes as a .bin
            torch.save(weights, folder / "pytorch_model.bin")
        else:
            save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    @torch.no_grad()
    def logits(self, ids: list[int]) -> torch.Tensor:
        """What the published head makes of every position: [len(ids), num outputs]."""
        return self.head(torch.tensor([ids]))[0]


def _build(
    architecture: str, vocab: int
) -> tuple[Any, Callable[..., torch.Tensor], dict[str, Any]]:
    qwen = Qwen2Config(vocab_size=vocab, tie_word_embeddings=False, **_SHAPE)
    match architecture:
        case "Qwen2ForPrmModel":  # saved with an unused lm_head, as TRL's wrapper does
            base = Qwen2ForCausalLM(qwen).eval()
            linear = torch.nn.Linear(HIDDEN, 1)
            names = {f"v_head.summary.{n}": w for n, w in linear.state_dict().items()}
            return base, lambda ids: linear(base.model(ids).last_hidden_state), names
        case "Qwen2ForProcessRewardModel":
            wrapped = torch.nn.Module()
            wrapped.model = Qwen2Model(qwen).eval()
            wrapped.config = qwen
            wrapped.score = torch.nn.Sequential(
                torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 2)
            )
            return wrapped, lambda ids: wrapped.score(wrapped.model(ids).last_hidden_state), {}
        case "Qwen2ForTokenClassification":
            qwen.num_labels = 2
            tagger = Qwen2ForTokenClassification(qwen).eval()
            return tagger, lambda ids: tagger(ids).logits, {}
        case "Qwen2ForCausalLM":
            writer = Qwen2ForCausalLM(qwen).eval()
            return writer, lambda ids: writer(ids).logits, {}
        case "MistralForCausalLM":
            mistral = MistralForCausalLM(MistralConfig(vocab_size=vocab, **_SHAPE)).eval()
            return mistral, lambda ids: mistral(ids).logits, {}
        case "LlamaForCausalLM":
            llama = LlamaForCausalLM(LlamaConfig(vocab_size=vocab, **_SHAPE)).eval()
            return llama, lambda ids: llama(ids).logits, {}
        case "LlamaForSequenceClassification":
            config = LlamaConfig(vocab_size=vocab, num_labels=1, **_SHAPE)
            config.pad_token_id = 0
            orm = LlamaForSequenceClassification(config).eval()
            return orm, lambda ids: orm.score(orm.model(ids).last_hidden_state), {}
    raise ValueError(architecture)


LAYOUTS: dict[str, tuple[Callable[[Path], PreTrainedTokenizerFast], str]] = {
    "skywork": (tokenizers.qwen, "Qwen2ForPrmModel"),
    "qwen-math-prm": (tokenizers.qwen, "Qwen2ForProcessRewardModel"),
    "reasonflux": (tokenizers.qwen, "Qwen2ForProcessRewardModel"),
    "pure": (tokenizers.qwen, "Qwen2ForTokenClassification"),
    "math-shepherd": (tokenizers.mistral, "MistralForCausalLM"),
    "rlhflow": (tokenizers.llama3, "LlamaForCausalLM"),
    "thinkprm": (tokenizers.qwen, "Qwen2ForCausalLM"),
    "genprm": (tokenizers.qwen, "Qwen2ForCausalLM"),
    "outcome": (tokenizers.llama3, "LlamaForSequenceClassification"),
}


def make(family: str, folder: Path) -> Prm:
    """A checkpoint of that family."""
    folder.mkdir(parents=True, exist_ok=True)
    return Prm(folder, *LAYOUTS[family])
