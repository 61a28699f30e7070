"""Independent references: plain transformers, no SGLang."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import Qwen2Config, Qwen2Model


@cache
def _prm(path: str) -> tuple[Any, torch.Tensor, torch.Tensor]:
    weights = {k: v.float() for k, v in load_file(f"{path}/model.safetensors").items()}
    head = weights.pop("v_head.summary.weight"), weights.pop("v_head.summary.bias")
    model = Qwen2Model(Qwen2Config.from_pretrained(path)).eval()
    model.load_state_dict({k.removeprefix("model."): v for k, v in weights.items()})
    return model, *head


@torch.no_grad()
def step_scores(path: str, ids: Sequence[int], ends: Sequence[int]) -> list[float]:
    """Value-head PRM scores at the last token of each step, one forward from scratch."""
    model, weight, bias = _prm(path)
    hidden = model(torch.tensor([list(ids)])).last_hidden_state[0]
    scores = torch.sigmoid(hidden @ weight[0] + bias)
    return [float(scores[end - 1]) for end in ends]
