"""The two networks: transformers' Qwen2, once with a language head and once with a value head."""

import tokens
import torch
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Model


def config(*, smoke: bool = False) -> Qwen2Config:
    """Return the shape of both models (2.8 M parameters; far fewer for a smoke test)."""
    return Qwen2Config(
        vocab_size=len(tokens.VOCABULARY),
        hidden_size=64 if smoke else 256,
        intermediate_size=160 if smoke else 640,
        num_hidden_layers=2 if smoke else 4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokens.BOS,
        eos_token_id=tokens.EOS,
        pad_token_id=tokens.PAD,
        attn_implementation="sdpa",
    )


class ValueHead(nn.Module):
    """One logit per token; named as in the published Skywork-o1-Open-PRM checkpoints."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.summary = nn.Linear(hidden, 1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.summary(hidden).squeeze(-1)


class Verifier(nn.Module):
    """A Qwen2 trunk and a value head: reads the generator's own token ids, logit per token."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.model = Qwen2Model(config)
        self.v_head = ValueHead(config.hidden_size)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.model(input_ids=ids, use_cache=False).last_hidden_state
        return self.v_head(hidden)


def verifier_from(generator: Qwen2ForCausalLM) -> Verifier:
    """Return a verifier whose trunk starts as a copy of the generator's."""
    verifier = Verifier(generator.config).to(generator.device)
    verifier.model.load_state_dict(generator.model.state_dict())
    return verifier


def round_weights(model: nn.Module) -> None:
    """Round the weights to bfloat16 in place: what is measured is then what is stored.

    Such values are also exact in float16 (down to its smallest number) and in float32.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())
