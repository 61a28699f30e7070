"""Reward model heads that return one value per position, so a forward scores every step at once."""

from collections.abc import Iterable

import torch
from sglang.srt.layers.pooler import EmbeddingPoolerOutput
from sglang.srt.layers.quantization.base_config import QuantizationConfig
from sglang.srt.model_executor.forward_batch_info import ForwardBatch
from sglang.srt.models.qwen2 import Qwen2ForCausalLM, Qwen2Model
from sglang.srt.models.registry import ModelRegistry
from sglang.srt.utils import add_prefix
from torch import nn
from transformers import Qwen2Config


class Qwen2ForPrmModel(nn.Module):
    """Qwen2 with a scalar value head, in the checkpoint layout of Skywork-o1-Open-PRM.

    Keys: `model.*` and `v_head.summary.{weight,bias}`. `lm_head.*` is ignored.
    """

    def __init__(
        self, config: Qwen2Config, quant_config: QuantizationConfig | None = None, prefix: str = ""
    ) -> None:
        super().__init__()
        self.config = config
        self.quant_config = quant_config
        self.model = Qwen2Model(config, quant_config, add_prefix("model", prefix))
        self.v_head = nn.ModuleDict({"summary": nn.Linear(config.hidden_size, 1)})

    @torch.no_grad()
    def forward(
        self,
        input_ids: torch.Tensor,
        positions: torch.Tensor,
        forward_batch: ForwardBatch,
        input_embeds: torch.Tensor | None = None,
        get_embedding: bool = True,
    ) -> EmbeddingPoolerOutput:
        """Probability that the reasoning is right so far: [num new tokens] float32 in [0, 1]."""
        hidden = self.model(input_ids, positions, forward_batch, input_embeds)
        values = self.v_head["summary"](hidden).squeeze(-1)
        return EmbeddingPoolerOutput(embeddings=torch.sigmoid(values.float()))

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Load a published checkpoint; a missing head means that this is no PRM."""
        kept = [(name, weight) for name, weight in weights if not name.startswith("lm_head")]
        if not any(name.startswith("v_head.summary.") for name, _ in kept):
            raise ValueError("the checkpoint has no v_head.summary.*: it is not a reward model")
        Qwen2ForCausalLM._legacy_load_weights(self, kept)


ARCHITECTURES: dict[str, type[nn.Module]] = {"Qwen2ForPrmModel": Qwen2ForPrmModel}


def register() -> None:
    """Make the reward models known to SGLang in this process."""
    ModelRegistry.models.update(ARCHITECTURES)
