"""The published way to score steps: the whole text tokenized at once, one forward from scratch.

Written from the model cards, independently of `fasttts_sglang.verifier.formats`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .checkpoints import Prm

SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."
Score = Callable[[Prm, str, Sequence[str]], list[float]]


def _ids(prm: Prm, text: str) -> list[int]:
    ids: list[int] = prm.tokenizer.encode(text, add_special_tokens=False)
    return ids


def _chat(prm: Prm, messages: list[dict[str, str]], **kwargs: Any) -> str:
    text: str = prm.tokenizer.apply_chat_template(messages, tokenize=False, **kwargs)
    return text


def skywork(prm: Prm, problem: str, steps: Sequence[str]) -> list[float]:
    ids = _ids(prm, f"{prm.tokenizer.bos_token}{problem}\n")
    newline = _ids(prm, "\n")[-1]
    ends = []
    for step in steps:
        for line in step.split("\n"):
            ids += [*_ids(prm, line), newline]
        ends.append(len(ids) - 1)
    return torch.sigmoid(prm.logits(ids)[ends, 0]).tolist()


def _marked(prm: Prm, messages: list[dict[str, str]], steps: Sequence[str]) -> list[float]:
    answer = "<extra_0>".join(steps) + "<extra_0>"
    ids = _ids(prm, _chat(prm, [*messages, {"role": "assistant", "content": answer}]))
    marker = _ids(prm, "<extra_0>")[0]
    ends = [index for index, token in enumerate(ids) if token == marker]
    return prm.logits(ids)[ends].softmax(-1)[:, 1].tolist()


def qwen_math_prm(prm: Prm, problem: str, steps: Sequence[str]) -> list[float]:
    system = {"role": "system", "content": SYSTEM}
    return _marked(prm, [system, {"role": "user", "content": problem}], steps)


def reasonflux(prm: Prm, problem: str, steps: Sequence[str]) -> list[float]:
    return _marked(prm, [{"role": "user", "content": problem}], steps)


def pure(prm: Prm, problem: str, steps: Sequence[str]) -> list[float]:
    question = {"role": "user", "content": problem}
    ids = _ids(prm, _chat(prm, [question], add_generation_prompt=True))
    ends = []
    for step in steps:
        ids += [*_ids(prm, step), *_ids(prm, "\n")]
        ends.append(len(ids) - 1)
    probabilities = prm.logits(ids)[ends].softmax(-1)
    rewards = probabilities[:, 1] - probabilities[:, 0]
    return ((rewards + 1) / 2).tolist()


def math_shepherd(prm: Prm, problem: str, steps: Sequence[str]) -> list[float]:
    text = f"{problem}\n " + " ки\n\n".join(steps) + " ки"
    ids = [prm.tokenizer.bos_token_id, *_ids(prm, text)]
    good, bad = _ids(prm, "+ -")
    marker = _ids(prm, "ки")[-1]
    ends = [index for index, token in enumerate(ids) if token == marker]
    return prm.logits(ids)[ends][:, [good, bad]].softmax(-1)[:, 0].tolist()


def rlhflow(prm: Prm, problem: str, steps: Sequence[str]) -> list[float]:
    plus, minus = _ids(prm, "+")[-1], _ids(prm, "-")[-1]
    conversation: list[dict[str, str]] = []
    scores = []
    for index, step in enumerate(steps):
        told = step if index else f"{problem} {step}"
        conversation += [
            {"role": "user", "content": told},
            {"role": "assistant", "content": "+"},
        ]
        logits = prm.logits(_ids(prm, _chat(prm, conversation)))[-3, [plus, minus]]
        scores.append(float(logits.softmax(-1)[0]))
    return scores


def outcome(prm: Prm, problem: str, steps: Sequence[str]) -> list[float]:
    """Only the whole answer's score is published."""
    messages = [
        {"role": "user", "content": problem},
        {"role": "assistant", "content": "\n\n".join(steps)},
    ]
    return [float(torch.sigmoid(prm.logits(_ids(prm, _chat(prm, messages)))[-1, 0]))]


PUBLISHED: dict[str, Score] = {
    "skywork": skywork,
    "qwen-math-prm": qwen_math_prm,
    "reasonflux": reasonflux,
    "pure": pure,
    "math-shepherd": math_shepherd,
    "rlhflow": rlhflow,
    "outcome": outcome,
}
