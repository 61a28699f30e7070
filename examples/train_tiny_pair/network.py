"""The two networks: transformers' Qwen2, once with a language head and once with a value head."""

import tokens
import torch
from torch import nn
from torch.nn import functional
from transformers import Qwen2Config, Qwen2Model


def generator_config(*, smoke: bool = False) -> Qwen2Config:
    """Return the generator's shape: 2.8 M parameters (far fewer for a smoke test)."""
    return _config(64, 2, 640) if smoke else _config(256, 4, 640)


def verifier_config(*, smoke: bool = False) -> Qwen2Config:
    """Return the verifier's shape: 3.0 M parameters, deeper than the generator.

    To check a token it must first work out what the token should be, as the generator does, then
    compare, then sum up over the step: two more layers.
    """
    return _config(64, 3, 384) if smoke else _config(256, 6, 384)


def _config(hidden: int, layers: int, intermediate: int) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=len(tokens.VOCABULARY),
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=max(1, hidden // 128),
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
    """A Qwen2 trunk and a value head: reads the generator's own token ids, one logit per token."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.config = config
        self.model = Qwen2Model(config)
        self.v_head = ValueHead(config.hidden_size)

    def values_and_next_tokens(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of the values, [rows, tokens], and of the next token, [.., vocabulary].

        For training. The next token is read two layers below the top, through the input embedding:
        what a token should be must be known before it can be compared with what it is. In a
        small experiment checking was then learned about twice as fast as with the top.
        """
        layers = self.model(input_ids=ids, use_cache=False, output_hidden_states=True)
        below = self.model.norm(layers.hidden_states[-3])
        values = self.v_head(layers.last_hidden_state)
        return values, functional.linear(below, self.model.embed_tokens.weight)


def round_weights(model: nn.Module) -> None:
    """Round the weights to bfloat16 in place: what is measured is then what is stored."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())
