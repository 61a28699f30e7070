"""A decode row of a search: an SGLang request that walks down the tree, child 0 by child 0."""

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .branch import Branch

if TYPE_CHECKING:
    from .active_search import ActiveSearch


@dataclass(slots=True, eq=False)
class Row:
    """Decodes one node after the other. `req.output_ids[begin:]` are the current node's tokens."""

    search: "ActiveSearch"
    branch: Branch
    turn: int = 0  # rows are numbered as they are made
    limit: int = 0  # tokens that the current step may have
    steps_left: int | None = 1  # of the current node; None: decode to the end of the answer
    req: Any = None  # SGLang's Req
    begin: int = 0  # where the node's tokens begin in the request's output
    step_begin: int = 0  # and those of its current step
    began_s: float = 0.0  # seconds into the search when it set out for the current node
    at_boundary: bool = False  # its node is complete; the runner decides whether it goes on
    only_prefill: bool = False  # the prompt's row: brings KV into the cache, decodes nothing

    @property
    def num_own(self) -> int:
        return 0 if self.req is None else len(self.req.output_ids) - self.begin

    @property
    def waits(self) -> bool:
        """Whether it stands in SGLang's queue, new or retracted."""
        return self.req is not None and self.req.req_pool_idx is None

    def own_ids(self) -> array:  # type: ignore[type-arg]
        """The current node's tokens so far."""
        ids: array = self.req.output_ids[self.begin :]  # type: ignore[type-arg]
        return ids

    def enter(self, branch: Branch) -> None:
        """Go on with `branch`, a child 0 of the node that has just been completed."""
        self.branch.row = None
        self.branch, branch.row = branch, self
        self.begin = self.step_begin = len(self.req.output_ids)
        self.at_boundary = False
        self.search.set_out(self)
