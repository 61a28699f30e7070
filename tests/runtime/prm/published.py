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


VERDICT_TOKENS = 12  # a random model never comes to an end
TASK = (
    "Review and critique each step in the proposed solution to determine whether each step is"
    " correct. If the solution is incomplete, only verify the provided steps."
)


def _write(prm: Prm, ids: list[int], end: str, labels: tuple[str, str]) -> float:
    """A greedy verdict of VERDICT_TOKENS, its end, and how likely the first label is then."""
    for _ in range(VERDICT_TOKENS):
        token = int(prm.logits(ids)[-1].argmax())
        if token == prm.tokenizer.eos_token_id:
            break
        ids = [*ids, token]
    first, second = (_ids(prm, label)[-1] for label in labels)
    logits = prm.logits([*ids, *_ids(prm, end)])[-1, [first, second]]
    return float(logits.softmax(-1)[0])


def thinkprm(prm: Prm, problem: str, steps: Sequence[str]) -> list[float]:
    scores = []
    for count in range(1, len(steps) + 1):
        numbered = [
            step if step.startswith("Step ") else f"Step {number}: {step}"
            for number, step in enumerate(steps[:count], 1)
        ]
        solution = "\n".join(numbered)
        asked = (
            "You are given a math problem and a proposed step-by-step solution:\n\n[Math Problem]"
            f"\n\n{problem}\n\n[Solution]\n\n{solution}\n\n{TASK}"
        )
        text = _chat(prm, [{"role": "user", "content": asked}], add_generation_prompt=True)
        scores.append(_write(prm, _ids(prm, text), "\nIs the solution correct?", (" Yes", " No")))
    return scores


def genprm(prm: Prm, problem: str, steps: Sequence[str]) -> list[float]:
    """With every earlier paragraph judged Yes, and without code."""
    judgement = "<output>\n**Judgement**: $\\boxed{"
    system = (
        "You are a math teacher. Your task is to review and critique the paragraphs in solution"
        " step by step."
    )
    messages = [{"role": "system", "content": system}]
    scores = []
    for index, step in enumerate(steps):
        told = step if index else f"Question: {problem}\n\n{step}"
        messages.append({"role": "user", "content": told})
        text = _chat(prm, messages, add_generation_prompt=True) + "<analyze>\n"
        scores.append(_write(prm, _ids(prm, text), "\n" + judgement, ("Yes", "No")))
        messages.append({"role": "assistant", "content": judgement + "Yes}$\n</output>"})
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
    "thinkprm": thinkprm,
    "genprm": genprm,
    "outcome": outcome,
}
