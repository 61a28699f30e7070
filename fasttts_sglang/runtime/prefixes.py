"""Looks sequences up in a radix cache without touching it: no split, no new access time."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..memory.host_store import agreement

Ids = array  # of int64 token ids


@dataclass(frozen=True, slots=True)
class Cached:
    """How much of a sequence is in the cache."""

    node: Any  # the last node that is whole within the sequence
    num_tokens: int  # up to there
    rest: Any = None  # the child of `node` in which the sequence ends or leaves the cache
    num_rest: int = 0  # tokens that they share

    @property
    def total(self) -> int:
        return self.num_tokens + self.num_rest

    @property
    def last(self) -> Any:
        """The last node that holds a part of the sequence; the root if none does."""
        return self.node if self.rest is None else self.rest

    def __iter__(self) -> Any:
        """All nodes that hold a part of the sequence, the last first; the root is none of them."""
        node = self.last
        while node.parent is not None:
            yield node
            node = node.parent


def is_cached(node: Any) -> bool:
    """Whether a node that once was in a RadixCache of page size 1 still is; not of the root.

    Only leaves are evicted, so all above one that is there are there.
    """
    parent = node.parent
    return parent is not None and parent.children.get(node.key.token_ids[0]) is node


def look_up(tree: Any, ids: "Ids[int]", begin: Cached | None = None) -> Cached:
    """Find `ids` in a RadixCache of page size 1.

    Args:
        begin: What was found of a prefix of `ids`.
    """
    node, at = (tree.root_node, 0) if begin is None else (begin.node, begin.num_tokens)
    while at < len(ids):
        child = node.children.get(ids[at])
        if child is None:
            break
        key = child.key.token_ids
        if ids[at : at + len(key)] != key:
            return Cached(node, at, child, agreement(key, ids, at, len(ids)))
        node, at = child, at + len(key)
    return Cached(node, at)


def look_up_again(
    tree: Any,
    node: Any,
    length: int,
    ids: "Callable[[], Ids[int]]",
    gone: dict[Any, Cached] | None = None,
) -> Cached:
    """Find a sequence whose first `length` tokens once ended at `node`, which may be evicted.

    Goes up to what is still cached instead of down from the root, and needs the tokens only if
    something has been put there since.

    Args:
        gone: What earlier calls found of evicted nodes; the cache must not have changed since.
    """
    gone = {} if gone is None else gone
    lost: list[Any] = []
    while node.parent is not None and not is_cached(node):
        if node in gone:
            return gone[node]
        lost.append(node)
        length, node = length - len(node.key.token_ids), node.parent
    found = Cached(node, length)
    if not lost or lost[-1].key.token_ids[0] in node.children:
        return look_up(tree, ids(), found)
    gone |= dict.fromkeys(lost, found)
    return found
