"""Makes decode rows of branches: forked into the running batch, or queued like a request."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from sglang.srt.managers.schedule_batch import FINISH_LENGTH, Req, ReqKvInfo, ScheduleBatch
from sglang.srt.mem_cache.common import release_kv_cache
from sglang.srt.mem_cache.radix_cache import RadixCache

from ..errors import BadRequest
from ..scheduling.step import Step
from .active_search import ActiveSearch
from .branch import Branch
from .forked_batch import forked_batch
from .kv_paths import KvEnd, KvPaths
from .offload import Offload
from .prefixes import look_up_again
from .row import Row
from .row_requests import RowRequests

RESERVE = 16  # KV slots per running row under which speculation ends


class RowFactory:
    """Starts and ends rows.

    A fork joins the decode batch at once: it shares the KV of everything but its prefix's last
    token, which is run again to draw its own next token. That needs the prefix in the radix cache;
    a row whose prefix was evicted, or that has no room, queues as a request and is prefilled.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._allocator = scheduler.token_to_kv_pool_allocator
        self._pool = scheduler.req_to_token_pool
        self._tree = scheduler.tree_cache
        self.requests = RowRequests(scheduler)
        self.offload: Offload | None = None  # where evicted KV may have gone
        tree = self._tree
        plain = type(tree) is RadixCache and scheduler.page_size == 1 and not tree.disable
        self._paths = KvPaths(tree) if plain else None  # None: rows are prefilled

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        return tuple(self._scheduler.model_config.hf_eos_token_id or ())

    def path_budget(self, prompt_tokens: int, max_tokens: int) -> int:
        """Response tokens a path may have.

        The context length cuts it silently, as it does for any request; a KV pool in which not
        even one path fits is refused, because no schedule could ever finish the search.

        Raises:
            BadRequest: The prompt or one path does not fit.
        """
        scheduler = self._scheduler
        context = scheduler.model_config.context_len
        if prompt_tokens < 1:
            raise BadRequest("prompt", "is empty")
        if prompt_tokens + 2 > context:
            raise BadRequest(
                "prompt", f"{prompt_tokens} tokens exceed the model's context of {context}"
            )
        budget = min(max_tokens, context - prompt_tokens - 1)
        capacity = scheduler.max_total_num_tokens - 2  # SGLang's own admission keeps a margin
        if prompt_tokens + budget > capacity:
            raise BadRequest(
                "max_tokens",
                f"one path of {prompt_tokens} prompt and {budget} response tokens exceeds the"
                f" generator's KV cache of {scheduler.max_total_num_tokens} tokens",
            )
        return budget

    @property
    def free_tokens(self) -> int:
        """KV slots that are free or can be made free."""
        return int(self._allocator.available_size() + self._tree.evictable_size())

    @property
    def free_rows(self) -> int:
        """Rows of the KV index that are free."""
        return int(self._pool.available_size())

    def places(self, running: Any) -> int:
        """How many rows may join the `running` batch."""
        return min(self.free_rows, self._scheduler.max_running_requests - int(running.batch_size()))

    @property
    def used_tokens(self) -> int:
        """KV slots that running requests hold."""
        return int(self._scheduler.max_total_num_tokens) - self.free_tokens

    def freeing_together(self) -> AbstractContextManager[None]:
        """See `KvPaths`."""
        return nullcontext() if self._paths is None else self._paths.freeing_together()

    # -- starting ----------------------------------------------------------------------

    def enqueue(self, row: Row) -> None:
        """Queue `row` like any request."""
        scheduler = self._scheduler
        req = self.requests.make(row)
        scheduler._set_or_validate_priority(req)
        # Not _add_request_to_queue: its limit is for clients' requests, ours are admitted already.
        scheduler.waiting_queue.append(req)
        req.time_stats.set_wait_queue_entry_time()

    def fork(
        self, rows: Sequence[Row], reserved: int | None = None
    ) -> tuple[ScheduleBatch | None, list[Row]]:
        """Make decode rows that need no prefill.

        Args:
            reserved: KV slots that running rows will still need; a row whose node would probably
                not fit beside them is not made. None: all are.

        Returns:
            A batch to merge into the running one, and the rows that were not made.
        """
        if self._paths is None:
            return None, list(rows)
        reqs, last, failed = [], [], []
        num_rows = len(rows) + self._scheduler.running_batch.batch_size()
        cached: dict[int, tuple[KvEnd, torch.Tensor] | None] = {}  # siblings share one look-up
        for index, row in enumerate(rows):
            branch = row.branch
            source = _source(row.search, branch.step)
            if id(source) not in cached:
                beside = RESERVE * num_rows if reserved is None else reserved + row.tokens_left
                cached[id(source)] = self._cached(source, row, beside)
            found = cached[id(source)]
            if found is None:
                failed.append(row)
                continue
            end, slots = found
            if reserved is not None:
                reserved += row.tokens_left
                if not self._fits(end, reserved):
                    failed += rows[index:]
                    break
            req = self.requests.make(row)
            self._paths.hold(req, end, slots)
            req.kv_committed_len = len(slots)
            req.kv = ReqKvInfo(kv_allocated_len=len(slots), swa_evicted_seqlen=0)
            reqs.append(req)
            last.append((branch.partial or branch.ids or row.search.prompt)[-1])
        return (forked_batch(self._scheduler, reqs, last) if reqs else None), failed

    def reaches(self, search: ActiveSearch, step: Step) -> bool:
        """Whether the KV that a row for `step` goes on from is where `fork` can take it."""
        if self._paths is None:
            return False
        return self.offload is not None or not self.missing(search, step)

    def missing(self, search: ActiveSearch, step: Step) -> int:
        """Tokens before a row for `step` that were evicted, as far as is known."""
        return self._not_cached(search, _source(search, step))

    def _not_cached(self, search: ActiveSearch, source: Branch) -> int:
        """How many tokens of `source`, the last one left out, are not cached."""
        kv = source.kv
        if kv is None:
            return 0  # nobody has looked yet
        size = len(search.prompt) + len(source.ids) + len(source.partial or ())
        ids = partial(source.tokens, search.prompt)
        return max(0, size - 1 - look_up_again(self._tree, kv.node, kv.length, ids).total)

    def _fits(self, end: KvEnd, num_tokens: int) -> bool:
        """Whether there is room for so many tokens while the path down to `end` is held."""
        self._tree.inc_lock_ref(end.node)
        fits = num_tokens <= self.free_tokens
        self._tree.dec_lock_ref(end.node)
        return fits

    def _cached(self, source: Branch, row: Row, beside: int) -> tuple[KvEnd, torch.Tensor] | None:
        """Where the KV of `source` ends and its slots but for the last token's, or None.

        Args:
            beside: Tokens for which there must be room if some of it is to come from the host.
        """
        assert self._paths is not None
        search = row.search
        size = len(search.prompt) + len(source.ids) + len(source.partial or ())
        slots = self._paths.slots(source.kv)
        if slots is None or len(slots) < size - 1:
            ids = source.tokens(search.prompt)
            if self.offload is not None:
                search.counts.restored_tokens += self.offload.restore(ids, size - 1, beside)
            if self._not_cached(search, source):
                return None
            source.kv = self._paths.find(ids)
            slots = self._paths.slots(source.kv)
        if source.kv is None or slots is None or len(slots) < size - 1:
            return None
        return source.kv, slots[: size - 1]

    # -- ending ------------------------------------------------------------------------

    def publish(self, row: Row) -> None:
        """Put the KV of everything that `row` has decoded into the radix cache; it goes on."""
        self.settle([(row, row.branch)], ())

    def settle(self, going_on: Sequence[tuple[Row, Branch]], ending: Sequence[Row]) -> None:
        """Publish what some rows have decoded for a node, and end others; only between batches."""
        if self._paths is None:
            for row, _ in going_on:
                self._publish_from_root(row)
            self.end(ending)
            return
        live = self._out_of_queue(ending)
        self._update(going_on, live)
        for row in live:
            self.finish(row.req)

    def let_go(self, rows: Sequence[Row]) -> bool:
        """Keep the KV of rows that have ended; returns whether it could be done here."""
        if self._paths is None:
            return False
        self._update((), rows)
        return True

    def _update(
        self, going_on: Sequence[tuple[Row, Branch]], ended: Sequence[Row], *, keep: bool = True
    ) -> None:
        assert self._paths is not None
        known = [self._known(row) for row in ended]
        for row, length in zip(ended, known, strict=True):
            row.search.counts.overrun += max(0, row.req.kv_committed_len - length)
        branches = [branch for _, branch in going_on] + [row.branch for row in ended]
        extended, released = self._paths.update(
            [(row.req, min(row.req.kv_committed_len, self._known(row))) for row, _ in going_on],
            [(r.req, length if keep else None) for r, length in zip(ended, known, strict=True)],
        )
        for branch, end in zip(branches, extended + released, strict=True):
            branch.kv = end

    def end(self, rows: Sequence[Row], *, keep: bool = True) -> None:
        """Take rows out of the batch or the queue, only between two batches.

        Args:
            keep: Their KV stays in the radix cache; else what only these rows have is freed.
        """
        if self._paths is not None and keep:
            self.settle((), rows)
            return
        for row in self._out_of_queue(rows):
            self._release(row, keep=keep)
            self.finish(row.req)

    def go_on(self, row: Row) -> None:
        """Let `row` have what was decoded behind its boundary; that may end it."""
        if row.take_surplus():
            self._release(row, keep=True)

    def _out_of_queue(self, rows: Sequence[Row]) -> list[Row]:
        """End those that wait; returns those that run."""
        running = []
        for row in rows:
            row.search.rows.pop(row, None)
            if row.req.finished():
                continue
            if row.waits:
                self._scheduler.waiting_queue.remove(row.req)
                self.finish(row.req)
            else:
                running.append(row)
        return running

    def _release(self, row: Row, *, keep: bool) -> None:
        if self._paths is not None:
            self._update((), [row], keep=keep)
            return
        if keep and getattr(self._tree, "disable_finished_insert", False):  # deterministic mode
            self._publish_from_root(row)
        release_kv_cache(row.req, self._tree, is_insert=keep)

    def _publish_from_root(self, row: Row) -> None:
        req = row.req
        req._refresh_fill_ids()
        req.set_extend_range(len(req.prefix_indices), min(req.kv_committed_len, self._known(row)))
        self._tree.cache_unfinished_req(req)

    @staticmethod
    def _known(row: Row) -> int:
        """Tokens of a row; it may hold KV slots of more that it will not have."""
        return len(row.req.origin_input_ids) + len(row.req.output_ids)

    @staticmethod
    def finish(req: Req) -> None:
        """Mark `req` as done, so that SGLang drops it from its batch."""
        req.finished_reason = FINISH_LENGTH(length=len(req.output_ids))
        req.finished_len = len(req.output_ids)


def _source(search: ActiveSearch, step: Step) -> Branch:
    """Whose tokens a row for `step` goes on from: its own, or its parent's."""
    branch = search.branches.get(step.path)
    if branch is not None and branch.partial:
        return branch
    return search.branches[step.path[:-1]]
