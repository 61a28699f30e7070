"""Sampling seeds that belong to a path, so that tokens do not depend on when they are decoded."""

from .core import Path

_U64 = 2**64 - 1


def child_seed(seed: int, depth: int, child: int) -> int:
    """Seed of child number `child` of a node with `seed` at `depth` (the root's is 0).

    Child 0 inherits: it is its parent's row going on, whose next token may already be drawn. The
    depth keeps cousins apart: without it, path (0, 1) would have the seed of path (1,).

    >>> child_seed(7, 3, 0)
    7
    >>> len({child_seed(7, depth, child) for depth in range(10) for child in range(1, 100)})
    990
    """
    if child == 0:
        return seed
    return _mix(_mix(seed) ^ _mix(depth << 32 | child)) >> 1


def path_seed(seed: int, path: Path) -> int:
    """Seed of the node at `path` below a root with `seed`."""
    for depth, child in enumerate(path):
        seed = child_seed(seed, depth, child)
    return seed


def _mix(x: int) -> int:
    """The finalizer of splitmix64 (Steele et al., 2014)."""
    x = (x + 0x9E3779B97F4A7C15) & _U64
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & _U64
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & _U64
    return x ^ x >> 31
