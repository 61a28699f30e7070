"""Where SGLang asks for an order: hooks that pass the question on to `PrefixOrder`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .row import row_of

if TYPE_CHECKING:
    from .prefix_order import PrefixOrder
    from .search_runner import SearchRunner


def admit_in_order(
    _none: None, policy: Any, waiting_queue: list[Any], *args: Any, **kwargs: Any
) -> None:
    """AFTER SchedulePolicy.calc_priority: rows among the places that rows hold."""
    if (order := _order_of(waiting_queue)) is not None:
        order.sort(waiting_queue)


def admit_what_fits(stock: Callable[..., Any], scheduler: Any, running_batch: Any) -> Any:
    """AROUND Scheduler.get_new_batch_prefill: rows that fit, of siblings one that leads."""
    queue = scheduler.waiting_queue
    order = _order_of(queue)
    if order is None:
        return stock(scheduler, running_batch)
    withheld = order.admission.withheld(running_batch)
    if not withheld:
        return stock(scheduler, running_batch)
    scheduler.waiting_queue = [req for req in queue if req.rid not in withheld]
    plan = stock(scheduler, running_batch)
    known = {req.rid for req in queue}
    left = withheld | {req.rid for req in scheduler.waiting_queue}
    new = [req for req in scheduler.waiting_queue if req.rid not in known]
    scheduler.waiting_queue = [req for req in queue if req.rid in left] + new
    order.admission.close(plan.running_batch)
    return plan


def retract_in_order(
    order: list[int], reqs: Sequence[Any], *args: Any, **kwargs: Any
) -> list[int] | None:
    """AFTER ScheduleBatch._get_decode_retraction_order: rows before any ordinary request."""
    ours = _order_of(reqs)
    return None if ours is None else ours.retraction(order, reqs)


def keep_retracted(batch: Any, idx: int, *args: Any, **kwargs: Any) -> None:
    """BEFORE ScheduleBatch.release_req: a row's KV stays cached, to be evicted as others are."""
    req = batch.reqs[idx]
    if (row := row_of(req)) is None:
        return
    runner: SearchRunner = row.search.runner
    if runner.offload is not None:
        runner.offload.changed()
    if runner.offload is not None or (runner.order is not None and runner.order.priority):
        runner.publish(row)


def count_recomputed(_none: None, batch: Any) -> None:
    """AFTER ScheduleBatch.prepare_for_extend: all of a row but its last token was computed once."""
    for req in batch.reqs:
        row = row_of(req)
        if row is not None and not row.only_prefill:
            whole = req.extend_range.end == len(req.full_untruncated_fill_ids)
            row.search.counts.recomputed_tokens += req.extend_range.length - whole
            row.search.counts.prefilled_rows += whole


def evict_what_is_dead(
    tree: Any, params: Any, *args: Any, **kwargs: Any
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """BEFORE RadixCache.evict: go by what searches need now."""
    to_evict = getattr(tree.eviction_strategy, "to_evict", None)
    if to_evict is None or tree.disable:
        return None
    return (tree, replace(params, num_tokens=to_evict(params.num_tokens)), *args), kwargs


def _order_of(reqs: Sequence[Any]) -> "PrefixOrder | None":
    """The order in use, if one of `reqs` is a row and there is one."""
    for req in reqs:
        row = row_of(req)
        if row is not None:
            order: PrefixOrder | None = row.search.runner.order
            return order
    return None
