"""Training loops: the generator on gold traces, the verifier on the generator's own rollouts."""

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import tokens
import torch
from data import Example, batches, pad_right
from network import Verifier
from torch import nn
from torch.nn import functional
from transformers import Qwen2ForCausalLM

State = dict[str, torch.Tensor]
_IGNORE = -100


@dataclass(frozen=True, slots=True)
class Rollout:
    """A sampled trace with its first wrong token, found by comparing it with the gold trace."""

    ids: bytes
    prompt_len: int
    num_right: int  # length of the longest prefix of `ids` that the gold trace starts with

    @property
    def right(self) -> bool:
        """Whether the trace is complete and right in every step."""
        return self.ids[-1] == tokens.EOS and self.num_right == len(self.ids)


def rollout(gold: Example, response: bytes) -> Rollout:
    ids = gold.ids[: gold.prompt_len] + response
    shared = min(len(ids), len(gold.ids))
    wrong = np.frombuffer(ids, np.uint8, shared) != np.frombuffer(gold.ids, np.uint8, shared)
    return Rollout(ids, gold.prompt_len, int(wrong.argmax()) if wrong.any() else shared)


class Trainer:
    """AdamW with warm-up and cosine decay; a wall-clock limit ends the schedule early.

    The decay follows the larger of the two progresses (steps, seconds), so a slow machine still
    ends with a fully decayed learning rate.
    """

    def __init__(self, model: nn.Module, *, lr: float, steps: int, seconds: float) -> None:
        self.model, self.lr, self.steps, self.seconds = model, lr, steps, seconds
        decayed = [p for p in model.parameters() if p.ndim > 1]
        other = [p for p in model.parameters() if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": 0.05},
            {"params": other, "weight_decay": 0.0},
        ]
        device = next(model.parameters()).device
        fused = device.type == "cuda"
        self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=fused)
        self.autocast = torch.autocast("cuda", torch.bfloat16) if fused else nullcontext()
        self.step_count = 0
        self.started = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    @property
    def progress(self) -> float:
        return min(1.0, max(self.step_count / self.steps, self.elapsed_s / self.seconds))

    def step(self, loss: torch.Tensor) -> None:
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        warm = min(1.0, (self.step_count + 1) / 150)
        scale = warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * self.progress)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * scale
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step_count += 1


def fit_generator(
    model: Qwen2ForCausalLM,
    chunks: Iterator[list[Example]],
    *,
    steps: int,
    seconds: float,
    snapshot_every: int,
    seed: int,
    batch_tokens: int,
) -> list[tuple[int, State]]:
    """Train on gold traces; return (step, bfloat16 weights) of evenly spaced snapshots."""
    model.train()
    rng = np.random.default_rng(seed)
    trainer = Trainer(model, lr=1.5e-3, steps=steps, seconds=seconds)
    snapshots: list[tuple[int, State]] = []
    seen = 0
    for chunk in chunks:
        for group in batches([e.ids for e in chunk], batch_tokens, rng):
            part = [chunk[i] for i in group]
            ids = pad_right([e.ids for e in part])
            prompt_lens = torch.tensor([e.prompt_len for e in part])[:, None]
            response = (torch.arange(ids.shape[1]) >= prompt_lens) & (ids != tokens.PAD)
            labels = ids.masked_fill(~response, _IGNORE)[:, 1:].to(model.device)
            with trainer.autocast:
                logits = model(input_ids=ids.to(model.device), use_cache=False).logits
            loss = functional.cross_entropy(
                logits[:, :-1].float().flatten(0, 1), labels.flatten(), ignore_index=_IGNORE
            )
            trainer.step(loss)
            seen += ids.numel()
            if trainer.step_count % snapshot_every == 0:
                weights = model.state_dict()
                snapshots.append(
                    (trainer.step_count, {k: v.bfloat16() for k, v in weights.items()})
                )
                print(
                    f"generator step {trainer.step_count} loss {loss.item():.5f} "
                    f"tokens {seen / 1e6:.1f}M {trainer.elapsed_s:.0f} s",
                    flush=True,
                )
            if trainer.progress >= 1:
                return snapshots
    raise AssertionError("the stream of examples is endless")


def fit_verifier(
    verifier: Verifier,
    golds: Iterator[list[Example]],
    rounds: Iterator[list[Rollout]],
    *,
    language_steps: int,
    passes: int,
    steps: int,
    seconds: float,
    seed: int,
    batch_tokens: int,
) -> None:
    """Train on step correctness by binary cross-entropy at the last token of each step.

    Two helper losses are never read later, but without them a small model learns nothing in this
    time: next-token prediction along the right part teaches the arithmetic, and the same
    cross-entropy at every other token of the response ("all tokens up to here are right") says
    where in a step the slip is. The first `language_steps` predict tokens of gold traces only:
    whoever cannot calculate yet learns nothing from being told that a calculation is wrong.

    Args:
        golds: Chunks of gold traces, for the first steps.
        rounds: Rollouts, for all others; each round is gone through `passes` times.
    """
    verifier.train()
    rng = np.random.default_rng(seed)
    trainer = Trainer(verifier, lr=1.5e-3, steps=steps, seconds=seconds)
    device = next(verifier.parameters()).device
    perfect = ([Rollout(e.ids, e.prompt_len, len(e.ids)) for e in chunk] for chunk in golds)
    while True:
        calculating = trainer.step_count < language_steps
        rollouts = next(perfect if calculating else rounds)
        rows = [r.ids for r in rollouts]
        repeats = 1 if calculating else passes
        for group in (g for _ in range(repeats) for g in batches(rows, batch_tokens, rng)):
            batch = _Labels([rollouts[i] for i in group], device)
            with trainer.autocast:
                values, logits = verifier.values_and_next_tokens(batch.ids)
            language = functional.cross_entropy(
                logits[:, :-1].float().flatten(0, 1),
                batch.next_right.flatten(),
                ignore_index=_IGNORE,
            )
            losses = functional.binary_cross_entropy_with_logits(
                values.float(), batch.right.float(), reduction="none"
            )
            at_ends, elsewhere = losses[batch.ends].mean(), losses[batch.inside].mean()
            trainer.step(language if calculating else at_ends + elsewhere + language)
            if trainer.step_count % 100 == 0:
                print(
                    f"verifier step {trainer.step_count} at step ends {at_ends.item():.4f} "
                    f"inside {elsewhere.item():.4f} next token {language.item():.4f} "
                    f"{trainer.elapsed_s:.0f} s",
                    flush=True,
                )
            if trainer.progress >= 1:
                return


class _Labels:
    """A padded batch of rollouts and what the losses need of it; all [rows, tokens]."""

    def __init__(self, rollouts: list[Rollout], device: torch.device) -> None:
        def column(numbers: list[int]) -> torch.Tensor:
            return torch.tensor(numbers, device=device)[:, None]

        self.ids = pad_right([r.ids for r in rollouts]).to(device)
        at = torch.arange(self.ids.shape[1], device=device)
        self.right = at < column([r.num_right for r in rollouts])
        response = (at >= column([r.prompt_len for r in rollouts])) & (self.ids != tokens.PAD)
        ends = (self.ids == tokens.STEP) | (self.ids == tokens.EOS)
        ends |= at == column([len(r.ids) - 1 for r in rollouts])
        self.ends = response & ends
        self.inside = response & ~ends
        self.next_right = self.ids.masked_fill(~(response & self.right), _IGNORE)[:, 1:]
