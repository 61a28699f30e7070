"""Sampling seeds that belong to a path, so that tokens do not depend on when they are decoded."""

from .core import Path

_U64 = 2**64 - 1


def child_seed(seed: int, child: int) -> int:
    """Seed of child number `child` of a node with `seed`.

    Child 0 inherits: it is its parent's row going on, whose next token may already be drawn.

    >>> child_seed(7, 0)
    7
    >>> len({child_seed(7, child) for child in range(1000)})
    1000
    """
    if child == 0:
        return seed
    return _mix(_mix(seed) ^ _mix(child * 0x9E3779B97F4A7C15)) >> 1


def path_seed(seed: int, path: Path) -> int:
    """Seed of the node at `path` below a root with `seed`."""
    for child in path:
        seed = child_seed(seed, child)
    return seed


def _mix(x: int) -> int:
    """The finalizer of splitmix64 (Steele et al., 2014)."""
    x = (x + 0x9E3779B97F4A7C15) & _U64
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & _U64
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & _U64
    return x ^ x >> 31
