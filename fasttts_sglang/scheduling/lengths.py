"""How long the nodes of a search are, from those that it has decoded: what a row will need."""

_WEIGHT = 4  # nodes that the first guess counts for
_LONG = 0.5  # of the mean: what a node that is longer than the mean is expected to go on for


class Lengths:
    """Tokens per node; learns as nodes are completed.

    >>> lengths = Lengths(first=20)
    >>> lengths.left(0), lengths.left(15)
    (20, 10)
    >>> for _ in range(12):
    ...     lengths.observe(60)
    >>> lengths.left(0)
    50
    """

    def __init__(self, first: float) -> None:
        self._sum = first * _WEIGHT
        self._count = _WEIGHT

    def observe(self, tokens: int) -> None:
        """A node of so many tokens is complete."""
        self._sum += tokens
        self._count += 1

    def left(self, done: int) -> int:
        """Tokens that a node which has `done` tokens will probably still get, at least 1."""
        mean = self._sum / self._count
        return max(1, round(max(mean - done, _LONG * mean)))
