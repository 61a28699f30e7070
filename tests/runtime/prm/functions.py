"""Verifier functions that misbehave."""

from collections.abc import Sequence


def raises(problem: str, steps: Sequence[str]) -> float:
    raise ValueError(problem)


def not_finite(problem: str, steps: Sequence[str]) -> float:
    return float("nan")


def too_large(problem: str, steps: Sequence[str]) -> float:
    return 2.0
