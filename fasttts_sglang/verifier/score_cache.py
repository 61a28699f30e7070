"""Step scores by token prefix, so that no step is ever scored twice."""

from array import array
from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b


class ScoreCache:
    """A bounded map from a token prefix to the score of the step that ends there.

    A key names the tokens, never a node, so equal prefixes share it across searches. Keys chain:
    the key of a longer prefix costs only its new tokens.

    Example:
        >>> cache = ScoreCache(capacity=2)
        >>> prompt = cache.extend(b"", [1, 2])
        >>> step = cache.extend(prompt, [3])
        >>> cache.put(step, 0.5)
        >>> cache.get(step), cache.get(prompt)
        (0.5, None)
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._scores: OrderedDict[bytes, float] = OrderedDict()

    @staticmethod
    def extend(key: bytes, token_ids: Iterable[int]) -> bytes:
        """Key of the prefix named by `key` (b"" is the empty one) followed by `token_ids`."""
        return blake2b(array("q", token_ids).tobytes(), key=key, digest_size=16).digest()

    def get(self, key: bytes) -> float | None:
        """The score, or None; a hit becomes the most recent entry."""
        score = self._scores.get(key)
        if score is not None:
            self._scores.move_to_end(key)
        return score

    def put(self, key: bytes, score: float) -> None:
        """Remember a score; the least recently used one makes room."""
        self._scores[key] = score
        self._scores.move_to_end(key)
        if len(self._scores) > self._capacity:
            self._scores.popitem(last=False)

    def __contains__(self, key: bytes) -> bool:
        return key in self._scores

    def __len__(self) -> int:
        return len(self._scores)
