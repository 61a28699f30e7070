"""What both KV pools hold, for /fasttts/status and metrics."""

from typing import Any


def kv_status(scheduler: Any) -> dict[str, Any]:
    """Tokens of each pool by state; with a shared budget also its bytes and resizes.

    Runs in the scheduler process.
    """
    allocator, tree = scheduler.token_to_kv_pool_allocator, scheduler.tree_cache
    free, cached = int(allocator.available_size()), int(tree.evictable_size())
    used = scheduler.max_total_num_tokens - free - cached
    pools: dict[str, Any] = {"generator": {"used": used, "cached": cached, "free": free}}
    verifier = scheduler.fasttts.verifier
    if verifier is not None and (tokens := verifier.pool()):
        pools["verifier"] = tokens
    budget = scheduler.fasttts_budget
    if budget is None:
        return {"pools": pools, "budget": None}
    for name, size in budget.mapped().items():
        pools[name]["mapped_bytes"] = size
    return {"pools": pools, "budget": budget.status()}


def add_kv_status(output: Any, scheduler: Any, recv_req: Any) -> None:
    """AFTER Scheduler.get_internal_state: our pools' state goes along."""
    output.internal_state["fasttts_kv"] = kv_status(scheduler)
