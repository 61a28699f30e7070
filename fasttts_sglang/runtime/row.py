"""A decode row of a search: an SGLang request that walks down the tree, child 0 by child 0."""

from array import array
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any

from .branch import Branch

if TYPE_CHECKING:
    from .active_search import ActiveSearch


def _no_tokens() -> "array[int]":
    return array("q")


@dataclass(slots=True, eq=False)
class Row:
    """Decodes one node after the other. `req.output_ids[begin:]` are the current node's tokens."""

    search: "ActiveSearch"
    branch: Branch
    turn: int = 0  # rows are numbered as they are made
    stop_len: int = 0  # of the request's output, when the current step has all it may have
    plain: Container[int] = ()  # tokens that certainly end nothing
    steps_left: int | None = 1  # of the current node; None: decode to the end of the answer
    req: Any = None  # SGLang's Req
    begin: int = 0  # where the node's tokens begin in the request's output
    step_begin: int = 0  # and those of its current step
    began_s: float = 0.0  # seconds into the search when it set out for the current node
    at_boundary: bool = False  # its node is complete; the runner decides whether it goes on
    only_prefill: bool = False  # the prompt's row: brings KV into the cache, decodes nothing
    surplus: array = field(default_factory=_no_tokens)  # type: ignore[type-arg]  # decoded behind
    # a boundary, before it was decided what comes next

    @property
    def num_own(self) -> int:
        return 0 if self.req is None else len(self.req.output_ids) - self.begin

    @property
    def waits(self) -> bool:
        """Whether it stands in SGLang's queue, new or retracted."""
        return self.req is not None and self.req.req_pool_idx is None

    @property
    def is_ahead(self) -> bool:
        """Whether it decodes a node that its search has not asked for."""
        return not (self.branch.step.requested or self.only_prefill)

    @property
    def waits_for_room(self) -> bool:
        """Whether it waits though its search has asked for its node."""
        asked = self.branch.step.requested and not self.only_prefill
        return asked and self.waits and not self.at_boundary

    @property
    def tokens_left(self) -> int:
        """Tokens that it will probably still decode for its node."""
        search, done = self.search, self.num_own
        budget = search.rules.budget - self.branch.parent_len - done
        return max(1, min(budget, search.lengths.left(done)))

    def own_ids(self) -> array:  # type: ignore[type-arg]
        """The current node's tokens so far."""
        ids: array = self.req.output_ids[self.begin :]  # type: ignore[type-arg]
        return ids

    def take(self, tokens: Sequence[int]) -> bool:
        """Its next tokens are there; returns whether it has ended with one of them."""
        req = self.req
        ids = req.output_ids
        for index, token in enumerate(tokens):
            if self.at_boundary and req.to_finish is None:
                self.surplus.extend(tokens[index:])
                return False
            ids.append(token)
            if token in self.plain and len(ids) < self.stop_len and req.to_finish is None:
                continue
            req.update_finish_state(1)
            if req.finished_reason is not None:
                return True
        return False

    def take_surplus(self) -> bool:
        """Go on with what was decoded behind the boundary; returns as `take`."""
        tokens, self.surplus = self.surplus, array("q")
        return self.take(tokens)

    def enter(self, branch: Branch) -> None:
        """Go on with `branch`, a child 0 of the node that has just been completed."""
        self.branch.row = None
        self.branch, branch.row = branch, self
        self.begin = self.step_begin = len(self.req.output_ids)
        self.at_boundary = False
        self.search.set_out(self)


def row_of(req: Any) -> Row | None:
    """The row that SGLang's `req` decodes for; None: a client's request."""
    row: Row | None = getattr(req, "fasttts", None)
    return row


def only_rows(reqs: Iterable[Any]) -> bool:
    """Whether none of SGLang's `reqs` is a client's. Asked in every step, of all that run."""
    return all(map(hasattr, reqs, repeat("fasttts")))
