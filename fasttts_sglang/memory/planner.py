"""Splits one KV budget between generator and verifier so that a round takes least time."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

import numpy as np

from ..errors import InsufficientMemory
from .machines import Machine
from .roofline import (
    generator_recomputed,
    generator_seconds,
    round_seconds,
    verifier_recomputed,
    verifier_seconds,
)
from .shapes import ModelShape
from .working_set import Floats, WorkingSet
from .workload import Workload

MIB = 1 << 20
_POINTS = 96  # at which a model's time is predicted; linear in between
_TIE = 1e-9  # predicted times this close are equal


@dataclass(frozen=True, slots=True)
class Share:
    """One model's part of a plan.

    Args:
        kv_bytes: Of the budget.
        kv_tokens: That fit into them.
        needed_tokens: That would hold everything, so that more gains nothing.
        round_s: Predicted seconds that this model works in a round, averaged over the rounds.
        recomputed_tokens: Predicted tokens per round computed again because they were evicted.
    """

    kv_bytes: int
    kv_tokens: int
    needed_tokens: int
    round_s: float
    recomputed_tokens: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A split of `budget_bytes`, and what it is predicted to bring.

    Args:
        rows_at_once: Rows that decode together in the round that fits worst.
    """

    budget_bytes: int
    generator: Share
    verifier: Share
    rows_at_once: int
    workload: Workload
    machine: Machine

    @property
    def verifier_fraction(self) -> float:
        return self.verifier.kv_bytes / self.budget_bytes

    @property
    def round_s(self) -> float:
        """Predicted seconds of a round of both models."""
        return round_seconds(self.machine, self.generator.round_s, self.verifier.round_s)

    def to_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            **asdict(self),
            "verifier_fraction": self.verifier_fraction,
            "round_s": self.round_s,
            "search_s": self.round_s * self.workload.rounds,
        }


class Planner:
    """The predictions for one pair of models, machine and workload, ready for any budget.

    Each model's time is tabulated over the sizes of its pool from one whole path to its whole
    working set; between two points it is linear. So the best split of a budget is one at which one
    of the pools has a tabulated size, and is found exactly among these.
    """

    def __init__(
        self, generator: ModelShape, verifier: ModelShape, machine: Machine, workload: Workload
    ) -> None:
        self.machine, self.workload = machine, workload
        self._sets = WorkingSet.of(workload)
        self._generator = _Table(generator, machine, workload, self._sets, generator_seconds)
        self._verifier = _Table(verifier, machine, workload, self._sets, verifier_seconds)

    def best(self, budget_bytes: int) -> Plan:
        """The split with the least predicted time.

        Of equal splits the one nearest to the proportions of what the models need is taken: memory
        to spare is shared out alike.

        Raises:
            InsufficientMemory: Not even one path of each model fits.
        """
        self.check(budget_bytes)
        generator, verifier = self._generator, self._verifier
        in_proportion = budget_bytes * verifier.most / (verifier.most + generator.most)
        splits = np.concatenate((verifier.sizes, budget_bytes - generator.sizes, [in_proportion]))
        splits = np.clip(splits, verifier.least, budget_bytes - generator.least)
        *_, seconds = self._seconds(budget_bytes, splits)
        equal = splits[seconds <= seconds.min() * (1 + _TIE)]
        chosen = equal[np.abs(equal - in_proportion).argmin()]
        return self.at(budget_bytes, int(chosen))

    def at(self, budget_bytes: int, verifier_bytes: int) -> Plan:
        """The prediction for a given split.

        Raises:
            InsufficientMemory: One of the parts does not hold one path.
        """
        generator_bytes = budget_bytes - verifier_bytes
        for part, table in ((generator_bytes, self._generator), (verifier_bytes, self._verifier)):
            if part < table.least:
                refuse(self.workload.longest_tokens, table.least - part, "in this split ")
        sets = self._sets
        tokens = np.array([generator_bytes / self._generator.model.kv_bytes])
        return Plan(
            budget_bytes,
            self._generator.share(generator_bytes, generator_recomputed),
            self._verifier.share(verifier_bytes, verifier_recomputed),
            int(sets.rows_at_once(tokens).min()),
            self.workload,
            self.machine,
        )

    def check(self, budget_bytes: int) -> None:
        """Raise InsufficientMemory unless one path of each model fits."""
        least = self._generator.least + self._verifier.least
        if budget_bytes < least:
            refuse(self.workload.longest_tokens, least - budget_bytes)

    def curve(self, budget_bytes: int, points: int = 101) -> list[tuple[float, ...]]:
        """Verifier's fraction; seconds of generator, verifier and a round; of even splits."""
        self.check(budget_bytes)
        low, high = self._verifier.least, budget_bytes - self._generator.least
        splits = np.linspace(low, high, points)
        columns = splits / budget_bytes, *self._seconds(budget_bytes, splits)
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def _seconds(self, budget_bytes: int, splits: Floats) -> tuple[Floats, Floats, Floats]:
        """Of generator, verifier and a round, by the verifier's bytes."""
        generator_s = self._generator.seconds_at(budget_bytes - splits)
        verifier_s = self._verifier.seconds_at(splits)
        return generator_s, verifier_s, round_seconds(self.machine, generator_s, verifier_s)


def refuse(path_tokens: int, missing: int, where: str = "") -> NoReturn:
    """Raise InsufficientMemory: one path of each model needs `missing` bytes more."""
    raise InsufficientMemory(
        f"{where}not even one path of {path_tokens} tokens fits into the KV memory of each model:"
        f" {-(-missing // MIB)} MiB are missing",
        missing=missing,
    )


def choose_split(
    generator: ModelShape,
    verifier: ModelShape,
    machine: Machine,
    workload: Workload,
    budget_bytes: int,
) -> Plan:
    """Split one KV budget so that the predicted time of a round is least.

    Args:
        generator, verifier: What the models cost.
        machine: What the GPU attains.
        workload: The search to plan for.
        budget_bytes: KV memory of both models on one GPU, after weights and activations.

    Returns:
        The plan; takes a few milliseconds.

    Raises:
        InsufficientMemory: Not even one path of each model fits; `missing` is the shortfall.

    Example:
        >>> models = ModelShape.named("qwen2.5-7b"), ModelShape.named("qwen2.5-1.5b", verifier=True)
        >>> plan = choose_split(*models, Machine.named("rtx-4090"), Workload(n=64), 1 << 30)
        >>> 0 < plan.verifier_fraction < 0.5
        True

    Source: the idea is FastTTS's (arXiv:2509.00195, Asymmetric Multi-Model Memory Allocation);
    shared prefixes and recomputation are ours.
    """
    return Planner(generator, verifier, machine, workload).best(budget_bytes)


class _Table:
    """Predicted seconds of one model by the bytes of its pool."""

    def __init__(
        self,
        model: ModelShape,
        machine: Machine,
        workload: Workload,
        sets: WorkingSet,
        predict: Callable[[ModelShape, Machine, Workload, Floats], Floats],
    ) -> None:
        self.model, self._sets = model, sets
        least = float(workload.longest_tokens)
        tokens = np.geomspace(least, max(sets.tokens, least), _POINTS)
        self.sizes = tokens * model.kv_bytes
        self.least = workload.longest_tokens * model.kv_bytes
        self.most = float(self.sizes[-1])
        self.seconds = predict(model, machine, workload, tokens)

    def seconds_at(self, size: Floats) -> Floats:
        return np.interp(size, self.sizes, self.seconds)

    def share(self, size: int, recomputed: Callable[[WorkingSet, Floats], Floats]) -> Share:
        tokens = size // self.model.kv_bytes
        return Share(
            kv_bytes=size,
            kv_tokens=tokens,
            needed_tokens=int(np.ceil(self._sets.tokens)),
            round_s=float(self.seconds_at(np.array([size]))[0]),
            recomputed_tokens=float(recomputed(self._sets, np.array([float(tokens)])).mean()),
        )
