"""Moving KV memory from one pool to another: the order of steps, and the way back.

    steady -> draining -> moving -> growing -> steady
                 |           |         |
                 +-----------+---------+---> rolling back -> steady

The pools do the work behind `ResizablePool`; here is only when they do it. What shrinks goes first,
so the bytes mapped by all pools together never exceed the budget, not even in between.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ..errors import InsufficientMemory

_MIB = 1 << 20


class State(Enum):
    """Where a resize is."""

    STEADY = "steady"
    DRAINING = "draining"
    MOVING = "moving"
    GROWING = "growing"
    ROLLING_BACK = "rolling back"


class ResizablePool(Protocol):
    """One model's KV pool. Capacities are in tokens.

    A method that raises must leave the pool as it was; only cached KV may be gone.
    """

    @property
    def capacity(self) -> int:
        """Tokens it can hold now."""

    @property
    def largest(self) -> int:
        """Tokens it can ever hold."""

    @property
    def mapped_bytes(self) -> int:
        """Physical memory it has now."""

    def bytes_at(self, capacity: int) -> int:
        """Physical memory it needs for `capacity` tokens."""

    def tokens_in(self, size: int) -> int:
        """Most tokens that `size` bytes hold; 0 if none."""

    def drain(self, capacity: int) -> None:
        """Forget cached KV until what is left fits into `capacity`. Raises if more is in use."""

    def shrink(self, capacity: int) -> None:
        """Move what is left below `capacity` and give up the memory above."""

    def grow(self, capacity: int) -> None:
        """Take memory for `capacity` tokens. Raises if there is none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a resize came to.

    Attributes:
        error: Why it was rolled back; None if it was done.
        failed_in: The state in which it failed.
        restored: Whether all pools have their former capacities again after a failure.
    """

    error: str | None = None
    failed_in: State | None = None
    restored: bool = True


class Resizer:
    """Resizes pools under one budget.

    Args:
        pools: By name. Together they map at most `budget_bytes`.
        budget_bytes: The most that they may ever map together.
        settle: Called when all is over, done or rolled back; gives back memory that nobody has.

    Raises:
        InsufficientMemory: The pools have more than the budget already.
    """

    def __init__(
        self,
        pools: Mapping[str, ResizablePool],
        budget_bytes: int,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        self.pools = dict(pools)
        self.budget_bytes = budget_bytes
        self.state = State.STEADY
        self.num_done = 0
        self.num_rolled_back = 0
        self.peak_bytes = 0  # most that was ever mapped
        self._settle = settle
        self._check_budget()

    @property
    def mapped_bytes(self) -> int:
        """Physical memory of all pools together."""
        return sum(pool.mapped_bytes for pool in self.pools.values())

    def check(self, targets: Mapping[str, int]) -> None:
        """Refuse `targets` that can never be.

        Raises:
            InsufficientMemory: They exceed the budget.
            ValueError: A pool is unknown or cannot have such a capacity.
        """
        for name, tokens in targets.items():
            if name not in self.pools:
                raise ValueError(f"{name!r} is no pool; known are {', '.join(self.pools)}")
            largest = self.pools[name].largest
            if not 1 <= tokens <= largest:
                raise ValueError(f"{name}: its KV pool must have 1 to {largest} tokens: {tokens}")
        need = {
            name: pool.bytes_at(targets.get(name, pool.capacity))
            for name, pool in self.pools.items()
        }
        missing = sum(need.values()) - self.budget_bytes
        if missing > 0:
            parts = ", ".join(f"{name} {_mib(size)}" for name, size in need.items())
            raise InsufficientMemory(
                f"KV pools of {parts} exceed the budget of {_mib(self.budget_bytes)}"
                f" by {_mib(missing)}",
                missing=missing,
            )

    def split(
        self, first: str, second: str, share: float, least: tuple[int, int]
    ) -> dict[str, int]:
        """Capacities that give pool `first` about `share` of the budget and `second` the rest.

        Args:
            least: Tokens that must be left to each; they win over the share.

        Raises:
            InsufficientMemory: Both cannot be had.
        """
        one, other, budget = self.pools[first], self.pools[second], self.budget_bytes
        need = one.bytes_at(least[0]), other.bytes_at(least[1])
        if (missing := sum(need) - budget) > 0:
            raise InsufficientMemory(
                f"running work needs {least[0]} tokens of KV in the {first} ({_mib(need[0])}) and"
                f" {least[1]} in the {second} ({_mib(need[1])}), {_mib(missing)} more than the"
                f" budget of {_mib(budget)}",
                missing=missing,
            )
        wanted = min(int(budget * share), budget - need[1])
        tokens = one.tokens_in(max(wanted, need[0]))
        rest = other.tokens_in(budget - one.bytes_at(tokens))
        return {first: tokens, second: rest}

    def resize(self, targets: Mapping[str, int]) -> Outcome:
        """Bring the pools to `targets` tokens, or back to where they were.

        Raises:
            InsufficientMemory, ValueError: See `check`; nothing was touched.
            RuntimeError: Another resize is under way.
        """
        if self.state is not State.STEADY:
            raise RuntimeError(f"a resize is already {self.state.value}")
        self.check(targets)
        former = {name: pool.capacity for name, pool in self.pools.items()}
        try:
            self._go(targets)
        except Exception as exc:
            failed_in, self.state = self.state, State.ROLLING_BACK
            problems = self._roll_back(former)
            self.num_rolled_back += 1
            text = "; ".join([_text(exc), *problems])
            return Outcome(text, failed_in, restored=not problems)
        else:
            self.num_done += 1
            return Outcome()
        finally:
            self.state = State.STEADY
            self._settle()

    def _go(self, targets: Mapping[str, int]) -> None:
        pools = self.pools
        smaller = [name for name in targets if targets[name] < pools[name].capacity]
        larger = [name for name in targets if targets[name] > pools[name].capacity]
        self.state = State.DRAINING
        for name in smaller:
            pools[name].drain(targets[name])
        self.state = State.MOVING
        for name in smaller:
            pools[name].shrink(targets[name])
        self.state = State.GROWING
        for name in larger:
            pools[name].grow(targets[name])
            self._check_budget()

    def _roll_back(self, former: Mapping[str, int]) -> list[str]:
        """Undo in the same order: what grew shrinks first. Returns what could not be undone."""
        problems = []
        for name, capacity in former.items():
            pool = self.pools[name]
            if pool.capacity > capacity:  # nothing ran since, so its new slots are empty
                try:
                    pool.shrink(capacity)
                except Exception as exc:
                    problems.append(f"{name} keeps {pool.capacity} tokens: {_text(exc)}")
        for name, capacity in former.items():
            pool = self.pools[name]
            if pool.capacity < capacity:
                try:
                    self._check_room(pool.bytes_at(capacity) - pool.mapped_bytes)
                    pool.grow(capacity)
                except Exception as exc:
                    problems.append(f"{name} is left with {pool.capacity} tokens: {_text(exc)}")
        self.peak_bytes = max(self.peak_bytes, self.mapped_bytes)
        return problems

    def _check_room(self, extra: int) -> None:
        missing = self.mapped_bytes + extra - self.budget_bytes
        if missing > 0:
            raise InsufficientMemory(
                f"the KV budget of {_mib(self.budget_bytes)} lacks {_mib(missing)}", missing=missing
            )

    def _check_budget(self) -> None:
        self.peak_bytes = max(self.peak_bytes, self.mapped_bytes)
        self._check_room(0)


def _mib(size: int) -> str:
    return f"{size / _MIB:.1f} MiB"


def _text(exc: Exception) -> str:
    return str(exc) or repr(exc)
