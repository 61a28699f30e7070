"""Reward model heads that return one value per position, so a forward scores every step at once.

Each class loads the published checkpoint layout of its architecture. They are registered under
names of their own: the generator may be of the same architecture as the verifier.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import torch
from sglang.srt.layers.pooler import EmbeddingPoolerOutput
from sglang.srt.layers.quantization.base_config import QuantizationConfig
from sglang.srt.model_executor.forward_batch_info import ForwardBatch
from sglang.srt.models.qwen2 import Qwen2ForCausalLM, Qwen2Model
from sglang.srt.models.registry import ModelRegistry
from sglang.srt.utils import add_prefix
from torch import nn
from transformers import Qwen2Config

from ..errors import ConfigError

_OURS = "FastTTS"  # before an architecture's name: the class that reads it as a reward model


class _Read:
    """The forward of every model here: `scores` of the hidden states that `where` picks."""

    model: nn.Module

    @torch.no_grad()
    def forward(
        self,
        input_ids: torch.Tensor,
        positions: torch.Tensor,
        forward_batch: ForwardBatch,
        input_embeds: torch.Tensor | None = None,
        get_embedding: bool = True,
    ) -> EmbeddingPoolerOutput:
        """What `scores` returns, in the batch's order."""
        hidden = self.model(input_ids, positions, forward_batch, input_embeds)
        return EmbeddingPoolerOutput(embeddings=self.scores(self.where(hidden, forward_batch)))

    def where(self, hidden: torch.Tensor, forward_batch: ForwardBatch) -> torch.Tensor:
        """All positions."""
        return hidden

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """Probability that the reasoning is right so far: [n, hidden_size] to [n] float32."""
        raise NotImplementedError


class _Qwen2Prm(_Read, nn.Module):
    """Qwen2 and a head instead of a vocabulary."""

    head = "score."  # what the names of its weights begin with

    def __init__(
        self, config: Qwen2Config, quant_config: QuantizationConfig | None = None, prefix: str = ""
    ) -> None:
        super().__init__()
        self.config = config
        self.quant_config = quant_config
        self.model = Qwen2Model(config, quant_config, add_prefix("model", prefix))

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Load a published checkpoint; a missing head means that this is no reward model."""
        kept = [(name, weight) for name, weight in weights if not name.startswith("lm_head")]
        if not any(name.startswith(self.head) for name, _ in kept):
            raise ValueError(f"the checkpoint has no {self.head}*: it is not a reward model")
        Qwen2ForCausalLM._legacy_load_weights(self, kept)


class Qwen2ForPrmModel(_Qwen2Prm):
    """A scalar value head: `v_head.summary.{weight,bias}`, as in Skywork-o1-Open-PRM."""

    head = "v_head.summary."

    def __init__(self, config: Qwen2Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.v_head = nn.ModuleDict({"summary": nn.Linear(config.hidden_size, 1)})

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """Sigmoid of the value."""
        return torch.sigmoid(self.v_head["summary"](hidden).squeeze(-1).float())


class Qwen2ForProcessRewardModel(_Qwen2Prm):
    """Two classes behind a hidden layer: `score.{0,2}.*`, as in Qwen2.5-Math-PRM."""

    def __init__(self, config: Qwen2Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        size = config.hidden_size
        self.score = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, 2))

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """Probability of class 1."""
        return self.score(hidden).float().softmax(-1)[..., 1]


class Qwen2ForTokenClassification(_Qwen2Prm):
    """Two classes: `score.{weight,bias}`, as in PURE-PRM-7B.

    PURE's reward is p1 - p0 in [-1, 1]; p1 ranks the same and is a probability.
    """

    def __init__(self, config: Qwen2Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.score = nn.Linear(config.hidden_size, 2)

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """Probability of class 1."""
        return self.score(hidden).float().softmax(-1)[..., 1]


OWN = {
    cls.__name__: cls
    for cls in (Qwen2ForPrmModel, Qwen2ForProcessRewardModel, Qwen2ForTokenClassification)
}


class _OutcomeScores(_Read):
    """Mixed into SGLang's classes for sequence classification, which have the `score` head."""

    score: nn.Module

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """Sigmoid of a single output; of two, the probability of the second."""
        logits = self.score(hidden).float()
        return logits.softmax(-1)[..., 1] if logits.shape[-1] == 2 else logits[..., 0].sigmoid()


class _LabelScores(_Read):
    """Mixed into SGLang's language models: how likely one of two tokens is the next."""

    lm_head: nn.Module
    labels: torch.Tensor  # [2] ids of the tokens for right and wrong, set after loading

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """Probability of the first label among the two."""
        logits = hidden @ self.lm_head.weight[self.labels].T
        return logits.float().softmax(-1)[..., 0]


class _NextToken(_Read):
    """Mixed into SGLang's language models that write verdicts: logits of each row's last token."""

    lm_head: nn.Module

    def where(self, hidden: torch.Tensor, forward_batch: ForwardBatch) -> torch.Tensor:
        """The last position of each row."""
        if forward_batch.forward_mode.is_decode():
            return hidden
        return hidden[forward_batch.extend_seq_lens.cumsum(0) - 1]

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """[n, hidden_size] to [n, vocab_size]."""
        return hidden @ self.lm_head.weight.T


def register(architecture: str, *, generative: bool = False) -> str:
    """Make the reward model of a checkpoint known to SGLang in this process.

    Returns:
        The architecture to ask SGLang for.

    Raises:
        ConfigError: SGLang has no such model.
    """
    name = _OURS + ("Verdict" if generative else "") + architecture
    if name not in ModelRegistry.models:
        own = OWN.get(architecture)
        ModelRegistry.models[name] = own or _derived(architecture, name, generative)
    return name


def _derived(architecture: str, name: str, generative: bool) -> type[nn.Module]:
    stock = ModelRegistry.models.get(architecture)
    if stock is None:
        raise ConfigError(f"--fasttts-verifier-path: SGLang has no model {architecture}")
    if isinstance(stock, str):
        module, _, attribute = stock.rpartition(".")
        stock = getattr(import_module(module), attribute)
    if generative:
        mixin: type[_Read] = _NextToken
    else:
        mixin = _LabelScores if architecture.endswith("ForCausalLM") else _OutcomeScores
    return type(name, (mixin, stock), {})
