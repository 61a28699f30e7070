"""Touch points with SGLang of host offload; installed only with --fasttts-host-offload."""

from typing import Any

from .hook import Hook, HookType
from .row import row_of

_TREE = "sglang.srt.mem_cache.radix_cache.RadixCache"


def leaves(tree: Any, node: Any) -> None:
    """BEFORE RadixCache._delete_leaf, which only `evict` calls."""
    if (offload := getattr(tree, "fasttts_offload", None)) is not None:
        offload.leaves(node)


def save(_result: Any, tree: Any, *args: Any, **kwargs: Any) -> None:
    """AFTER RadixCache.evict: its slots are free, but nothing has been written to them yet."""
    if (offload := getattr(tree, "fasttts_offload", None)) is not None:
        offload.save()


def restore(req: Any, tree_cache: Any = None, *args: Any, **kwargs: Any) -> None:
    """BEFORE Req.init_next_round_input: a row that is about to be admitted."""
    row = row_of(req)
    if row is None or row.only_prefill or tree_cache is None:
        return
    if (offload := row.search.runner.offload) is not None:
        ids = req.origin_input_ids + req.output_ids
        row.search.counts.restored_tokens += offload.restore(ids, len(ids) - 1, reserve=1)


OFFLOAD_HOOKS = (
    Hook(
        f"{_TREE}._delete_leaf",
        ("self", "node"),
        HookType.BEFORE,
        leaves,
        "KV that is evicted may be wanted again",
    ),
    Hook(
        f"{_TREE}.evict",
        ("self", "params"),
        HookType.AFTER,
        save,
        "copy it to the host before its slots are used again",
    ),
    Hook(
        "sglang.srt.managers.schedule_batch.Req.init_next_round_input",
        ("self", "tree_cache"),
        HookType.BEFORE,
        restore,
        "copy a waiting row's prefix back just before it is looked up",
    ),
)
