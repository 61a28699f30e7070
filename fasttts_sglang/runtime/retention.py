"""Eviction with knowledge: what no search needs any more goes first, then what is needed last.

SGLang's radix cache asks its strategy object for a priority per node and evicts the lowest. Ours
answers in two classes. First goes what only rows of searches have brought in and no live path
holds: wasted speculation, pruned branches, finished searches. All else has the priority that
SGLang's own strategy gives it, but live nodes of searches exchange theirs among themselves, so
that the one needed last has the lowest. So an ordinary request's prefix stands against as many
better ones as on stock SGLang, or fewer.

Whose a node is, its `priority` tells: rows insert with a negative one, and the cache keeps the
highest of all who inserted.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from sglang.srt.mem_cache.evict_policy import EvictionStrategy
from sglang.srt.mem_cache.radix_cache import RadixCache

OURS = -(1 << 40)  # priority of what rows of searches insert
_PART = 16  # up to 1 / _PART of the cache is evicted at a time, if nobody needs it; and so much
# between two looks at the searches: with 1 / 8 a quarter more of the verifier's was computed again


class Retention(EvictionStrategy):
    """The strategy of one model's cache.

    Args:
        stock: SGLang's.
        rounds: Changes when much does: `ends` should be asked again.
        ends: Of all live paths in a cache: the nodes, and what each is worth.
        on_short: Called when the live paths fill half of the cache.
    """

    def __init__(
        self,
        tree: RadixCache,
        stock: EvictionStrategy,
        rounds: Callable[[], Any],
        ends: Callable[[Any], Iterable[tuple[Any, float]]],
        on_short: Callable[[], None] = lambda: None,
    ) -> None:
        self._tree = tree
        self._stock = stock
        self._rounds = rounds
        self._ends = ends
        self._on_short = on_short
        self.evicts = False  # whether anything ever was
        self._seen: Any = None  # `rounds` at the last look
        self._evicted = 0  # tokens since the last look
        self._live: dict[int, Any] = {}  # priority by node id; None: what the stock strategy says
        self._looked_s = 0.0  # time of the last look

    def get_priority(self, node: Any) -> tuple[int, Any]:
        """(class, priority within it); the lowest goes first."""
        stock = self._stock.get_priority(node)
        if node.priority != OURS:
            return 1, stock
        known = self._live.get(node.id)
        return int(not self._is_dead(node)), stock if known is None else known

    def _is_dead(self, node: Any) -> bool:
        """Whether nobody needs `node`, as far as the last look knows."""
        if node.priority != OURS or node.id in self._live:
            return False
        return bool(node.last_access_time <= self._looked_s)  # else a row brought it in since

    def to_evict(self, num_tokens: int) -> int:
        """How many tokens the cache shall evict when it lacks `num_tokens`.

        The searches are looked at again if what is known to be dead does not suffice, and they
        have changed much since the last look. More of that goes than is lacking: where memory is
        full, every decode step lacks some, and each eviction goes over the whole cache.
        """
        self.evicts = True
        dead = self._dead_tokens()
        if dead < num_tokens and self._look():
            dead = self._dead_tokens()
        num_evicted = max(num_tokens, min(dead, self._all_tokens // _PART))
        self._evicted += num_evicted
        return num_evicted

    @property
    def _all_tokens(self) -> int:
        return int(self._tree.evictable_size() + self._tree.protected_size())

    def _dead_tokens(self) -> int:
        """Tokens of dead nodes that can be evicted right away."""
        return sum(len(node.key) for node in self._tree.evictable_leaves if self._is_dead(node))

    def _look(self) -> bool:
        """Look at the searches again if they have changed much; returns whether they have."""
        rounds = self._rounds()
        if rounds == self._seen and self._evicted < self._all_tokens // _PART:
            return False
        self._seen, self._evicted, self._looked_s = rounds, 0, time.monotonic()
        nodes = self._valued()
        self._live = dict.fromkeys((node.id for node, _ in nodes))
        if 2 * sum(len(node.key) for node, _ in nodes) > self._all_tokens:
            self._on_short()
        free = [(worth, node) for node, worth in nodes if node.lock_ref == 0]
        free = [(worth, node) for worth, node in free if node.priority == OURS]
        free.sort(key=lambda entry: entry[0])
        priorities = sorted(self._stock.get_priority(node) for _, node in free)
        for (_, node), priority in zip(free, priorities, strict=True):
            self._live[node.id] = priority
        return True

    def _valued(self) -> list[tuple[Any, float]]:
        """The nodes on live paths, with the worth of the most valuable path through each."""
        worths: dict[int, tuple[Any, float]] = {}
        for node, worth in sorted(self._ends(self._tree), key=lambda end: -end[1]):
            while node.parent is not None and node.id not in worths:
                worths[node.id] = node, worth  # so all above it have theirs, too
                node = node.parent
        return list(worths.values())
