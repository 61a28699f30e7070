"""Accuracy of one sample, majority vote, best of n and PRM beam search, with 95 % intervals."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import tokens
import torch
from data import Example
from network import Verifier
from sampling import sample, step_ends, step_scores
from transformers import Qwen2ForCausalLM

from fasttts_sglang.models import tiny_task

MAX_TOKENS = 700  # of a whole response; the longest gold trace has under 600
MAX_STEP_TOKENS = 192
MAX_STEPS = 12
AGGREGATIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda scores: scores[-1],
    "min": min,
    "prod": math.prod,
}


@dataclass(frozen=True, slots=True)
class Pair:
    """A generator and a verifier with the sampling settings they are measured at."""

    generator: Qwen2ForCausalLM
    verifier: Verifier
    temperature: float
    rng: torch.Generator


@dataclass(slots=True)
class Path:
    """A partial or finished response with one score per step."""

    example: Example
    ids: bytes
    scores: list[float] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return self.ids[-1] == tokens.EOS

    @property
    def response(self) -> str:
        return tokens.decode(self.ids[self.example.prompt_len :])

    @property
    def answer(self) -> int | None:
        return tiny_task.extract_answer(self.response) if self.finished else None

    @property
    def right(self) -> bool:
        return self.answer == tiny_task.true_answer(self.example.problem)


def sample_paths(pair: Pair, problems: list[Example], n: int) -> list[list[Path]]:
    """Return `n` independent scored samples per problem."""
    repeated = [e for e in problems for _ in range(n)]
    new = sample(
        pair.generator,
        [e.ids[: e.prompt_len] for e in repeated],
        temperature=pair.temperature,
        stop=(tokens.EOS,),
        max_new=MAX_TOKENS,
        rng=pair.rng,
    )
    rows = [e.ids[: e.prompt_len] + ids for e, ids in zip(repeated, new, strict=True)]
    scores = step_scores(pair.verifier, rows, [e.prompt_len for e in repeated])
    paths = [Path(e, row, s) for e, row, s in zip(repeated, rows, scores, strict=True)]
    return [paths[i : i + n] for i in range(0, len(paths), n)]


@dataclass(frozen=True, slots=True)
class Search:
    """One beam search: `n` beams, the best `n // branch` extended `branch` ways each round."""

    example: Example
    n: int
    branch: int
    aggregation: str

    def rank(self, path: Path) -> float:
        return AGGREGATIONS[self.aggregation](path.scores)


def beam_search(pair: Pair, searches: list[Search]) -> list[Path]:
    """Return the best candidate of each search; all searches advance in lock-step.

    Finished children are set aside; of the others the best `n // branch` are extended `branch`
    ways each. A search ends with `n` candidates, with nothing left to extend, or at `MAX_STEPS`.
    """
    candidates: list[list[Path]] = [[] for _ in searches]
    frontiers = [[Path(s.example, s.example.ids[: s.example.prompt_len])] * s.n for s in searches]
    for _ in range(MAX_STEPS):
        parents = [(i, path) for i, frontier in enumerate(frontiers) for path in frontier]
        if not parents:
            break
        children = _extend(pair, [path for _, path in parents])
        frontiers = [[] for _ in searches]
        for (i, _), child in zip(parents, children, strict=True):
            (candidates[i] if child.finished else frontiers[i]).append(child)
        for i, (search, frontier) in enumerate(zip(searches, frontiers, strict=True)):
            room = [p for p in frontier if len(p.ids) - p.example.prompt_len < MAX_TOKENS]
            kept = sorted(room, key=search.rank, reverse=True)[: search.n // search.branch]
            done = len(candidates[i]) >= search.n
            frontiers[i] = [] if done else [p for p in kept for _ in range(search.branch)]
    return [
        max(found, key=search.rank) if found else Path(search.example, search.example.ids[:1])
        for search, found in zip(searches, candidates, strict=True)
    ]


def _extend(pair: Pair, paths: list[Path]) -> list[Path]:
    """Sample one step for each path and score it."""
    new = sample(
        pair.generator,
        [p.ids for p in paths],
        temperature=pair.temperature,
        stop=(tokens.STEP, tokens.EOS),
        max_new=MAX_STEP_TOKENS,
        rng=pair.rng,
    )
    rows = [p.ids + ids for p, ids in zip(paths, new, strict=True)]
    scores = step_scores(pair.verifier, rows, [len(p.ids) for p in paths])
    return [
        Path(p.example, row, p.scores + s[-1:])
        for p, row, s in zip(paths, rows, scores, strict=True)
    ]


def majority(paths: list[Path]) -> float:
    """Return whether the most frequent answer is right; ties share the point."""
    votes = Counter(p.answer for p in paths if p.answer is not None)
    if not votes:
        return 0.0
    top = max(votes.values())
    winners = [answer for answer, number in votes.items() if number == top]
    return (tiny_task.true_answer(paths[0].example.problem) in winners) / len(winners)


def best_of(paths: list[Path], aggregation: str) -> float:
    """Return whether the best-scored finished sample is right."""
    score = AGGREGATIONS[aggregation]
    finished = [p for p in paths if p.finished]
    return float(max(finished, key=lambda p: score(p.scores)).right) if finished else 0.0


def interval(values: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Return the mean in per cent with its bootstrap 95 % interval over problems."""
    array = np.asarray(values, dtype=float) * 100
    draws = np.random.default_rng(seed).integers(0, len(array), (4000, len(array)))
    low, high = np.percentile(array[draws].mean(1), [2.5, 97.5])
    bounds = {"mean": array.mean(), "low": low, "high": high}
    return {name: round(float(value), 1) for name, value in bounds.items()}


def lengths(groups: list[list[Path]]) -> dict[str, float]:
    """Return step and path lengths in tokens."""
    paths = [p for group in groups for p in group]
    steps = [
        int(length)
        for p in paths
        for length in np.diff(
            step_ends(p.ids, p.example.prompt_len), prepend=p.example.prompt_len - 1
        )
    ]
    totals = [len(p.ids) - p.example.prompt_len for p in paths]
    mean = float(np.mean(steps))
    p95 = float(np.percentile(steps, 95))
    return {
        "step_mean": round(mean, 1),
        "step_median": float(np.median(steps)),
        "step_p95": p95,
        "step_max": max(steps),
        "step_p95_over_mean": round(p95 / mean, 2),
        "path_mean": round(float(np.mean(totals)), 1),
        "path_p95": float(np.percentile(totals, 95)),
        "path_max": max(totals),
        "steps_per_path": round(len(steps) / len(paths), 2),
    }


def verifier_quality(groups: list[list[Path]]) -> dict[str, float | None]:
    """Return how well step scores tell right prefixes from wrong ones (threshold 0.5)."""
    pairs = []
    for path in (p for group in groups for p in group):
        gold = path.example.ids
        for end, score in zip(
            step_ends(path.ids, path.example.prompt_len), path.scores, strict=True
        ):
            pairs.append((path.ids[: end + 1] == gold[: end + 1], score))
    labels = np.array([label for label, _ in pairs])
    scores = np.array([score for _, score in pairs])
    accepted, rejected = scores[labels] > 0.5, scores[~labels] <= 0.5
    return {
        "right_steps": round(float(labels.mean()), 3),
        "accepts_right": round(float(accepted.mean()), 4) if len(accepted) else None,
        "rejects_wrong": round(float(rejected.mean()), 4) if len(rejected) else None,
    }
