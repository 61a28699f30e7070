"""Where on the host the KV of live paths lies that had to leave the device. No memory in here.

A radix tree of exactly the live paths; a node has host slots if its KV has left the device. So
what a search has declared dead cannot be held, and branches share what their prefixes share.
"""

import heapq
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ..scheduling.retention import LivePath

Ids = array  # of int64 token ids


class Piece(NamedTuple):
    """A stretch of a sequence that has got host slots."""

    begin: int  # in the sequence
    slots: "array[int]"  # one per token


class HostStore:
    """An index of host slots by token sequence.

    It has no slots at first. Where they do not suffice and no more can be had, what is worth more
    drives out what is worth less, the far end of a path first: KV behind a gap is of no use.

    Args:
        grow: Asked for more slots; returns how many there are now beside those there were.
    """

    def __init__(self, grow: Callable[[], int] = lambda: 0) -> None:
        self.capacity = 0  # slots, used or not; they are numbered from 0
        self._grow = grow
        self._root = _Node(array("q"), None)
        self._free: list[int] = []  # a heap: what is put together lies together
        self._look = 0

    @property
    def held(self) -> int:
        """Slots in use."""
        return self.capacity - len(self._free)

    @property
    def knows(self) -> bool:
        """Whether there are live paths."""
        return bool(self._root.children)

    def clear(self) -> None:
        """Forget everything, the slots too."""
        self.capacity = 0
        self._free.clear()
        self._root.children.clear()

    def keep(self, paths: Iterable[LivePath]) -> None:
        """From now on these paths are live, parents before their children; forget all else."""
        self._look += 1
        found: dict[tuple[str, tuple[int, ...]], tuple[_Node, int]] = {}
        ends = []
        for live in paths:
            begin = found.get((live.search, live.path[:-1])) if live.path else None
            end = self._enter(live.ids, *(begin or (self._root, 0)))
            found[live.search, live.path] = end, len(live.ids)
            ends.append((live.worth, end))
        ends.sort(key=lambda pair: -pair[0])
        for worth, end in ends:
            node: _Node | None = end
            while node is not None and node.look != self._look:  # else all above have their worth
                node.look, node.worth = self._look, worth
                node = node.parent
        self._root.look = self._look
        for node in list(self._nodes()):
            if node.look != self._look:
                self._release(node)
                if node.parent is not None and node.parent.look == self._look:
                    del node.parent.children[node.key[0]]

    def put(self, ids: "Ids[int]", begin: int) -> list[Piece]:
        """Take slots for the KV of ids[begin:]: of what is live, and not here yet.

        Returns:
            What is to be copied to which slots; less than all if there is no room.
        """
        pieces: list[Piece] = []
        node, at = self._root, 0
        while (child := node.children.get(ids[at]) if at < len(ids) else None) is not None:
            shared = agreement(child.key, ids, at, len(ids))
            node, at = child, at + shared
            if at <= begin or child.slots is not None:
                if shared < len(child.key):
                    break
                continue
            if shared < len(child.key):
                node = child.split(shared)
            if (gap := begin - (at - shared)) > 0:
                node.split(gap)
            taken = self._take(len(node.key), node.worth)
            if not taken:
                break
            if len(taken) < len(node.key):
                node = node.split(len(taken))
            node.slots = taken
            end = max(begin, at - shared) + len(taken)
            pieces.append(Piece(end - len(taken), taken))
            if end < at:
                break
        return pieces

    def find(self, ids: "Ids[int]", begin: int, end: int) -> "array[int]":
        """Slots of ids[begin:end], as many as there are without a gap."""
        slots = array("q")
        node, at = self._root, 0
        while at < end:
            child = node.children.get(ids[at])
            if child is None:
                break
            shared = agreement(child.key, ids, at, end)
            if at + shared > begin:
                if child.slots is None:
                    break
                slots += child.slots[max(0, begin - at) : shared]
            at += shared
            if shared < len(child.key):
                break
            node = child
        return slots

    # -- the tree ----------------------------------------------------------------------

    def _enter(self, ids: "Ids[int]", node: "_Node", at: int) -> "_Node":
        """The node that ends where `ids` do, made if need be; `node` ends at ids[:at]."""
        while at < len(ids):
            child = node.children.get(ids[at])
            if child is None:
                node.children[ids[at]] = child = _Node(ids[at:], node)
                return child
            shared = agreement(child.key, ids, at, len(ids))
            node = child if shared == len(child.key) else child.split(shared)
            at += shared
        return node

    def _nodes(self) -> "Iterator[_Node]":
        """All but the root, parents first."""
        waiting = list(self._root.children.values())
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(node.children.values())

    # -- slots -------------------------------------------------------------------------

    def _take(self, count: int, worth: float) -> "array[int]":
        """Up to `count` slots for something of that worth."""
        while count > len(self._free) and (more := self._grow()):
            self._free.extend(range(self.capacity, self.capacity + more))  # it is still a heap
            self.capacity += more
        if count > len(self._free):
            for node in self._victims(worth):
                self._release(node)
                if count <= len(self._free):
                    break
        count = min(count, len(self._free))
        return array("q", [heapq.heappop(self._free) for _ in range(count)])

    def _victims(self, worth: float) -> "list[_Node]":
        """Nodes with slots that are worth less than `worth`, those to go first at the front.

        None of them is above a node of that worth: a node is worth at least what is below it.
        """
        found = [node for node in self._nodes() if node.slots is not None and node.worth < worth]
        found.reverse()  # children before their parents
        return sorted(found, key=lambda node: node.worth)

    def _release(self, node: "_Node") -> None:
        for slot in node.slots or ():
            heapq.heappush(self._free, slot)
        node.slots = None


class _Node:
    """A stretch of tokens without a fork, all of them on the host or none."""

    __slots__ = ("children", "key", "look", "parent", "slots", "worth")

    def __init__(self, key: "Ids[int]", parent: "_Node | None") -> None:
        self.key = key
        self.parent = parent
        self.children: dict[int, _Node] = {}
        self.slots: array[int] | None = None
        self.worth = 0.0
        self.look = 0

    def split(self, at: int) -> "_Node":
        """Leave to this node what follows its first `at` tokens; returns the new one of these."""
        head = _Node(self.key[:at], self.parent)
        head.worth, head.look = self.worth, self.look
        if self.slots is not None:
            head.slots, self.slots = self.slots[:at], self.slots[at:]
        assert self.parent is not None
        self.parent.children[self.key[0]] = head
        self.key, self.parent = self.key[at:], head
        head.children[self.key[0]] = self
        return head


def agreement(key: "Ids[int]", ids: "Ids[int]", at: int, end: int) -> int:
    """How many tokens `key` and ids[at:end] have in common at their beginnings.

    >>> agreement(array("q", [1, 2, 3]), array("q", [0, 1, 2, 4]), 1, 4)
    2
    """
    high = min(len(key), end - at)
    if key[:high] == ids[at : at + high]:
        return high
    low = 0
    while low < high - 1:  # the first `low` agree, the first `high` do not
        middle = (low + high) // 2
        if key[:middle] == ids[at : at + middle]:
            low = middle
        else:
            high = middle
    return low
