"""Touch points with SGLang of resizable KV pools; installed only with --fasttts-kv-resize."""

import logging
from collections.abc import Callable
from typing import Any

from ..hook import Hook, HookType
from .build import at_largest, create_buffers, elastic, to_whole_units

logger = logging.getLogger(__name__)

_SCHEDULER = "sglang.srt.managers.scheduler.Scheduler"


def build_generator_pool(stock: Callable[[Any], None], scheduler: Any) -> None:
    """AROUND Scheduler.init_memory_pools: the generator's pool can grow by the verifier's."""
    verifier, beside = scheduler.fasttts_verifier, None
    if verifier is None:
        logger.warning("--fasttts-kv-resize has no effect: there is no verifier model")
    elif verifier.backing is not None:
        beside = verifier.backing.mapped_bytes + verifier.spare_bytes
    with elastic(beside) as build:
        stock(scheduler)
    if build.backing is not None:
        to_whole_units(scheduler.tp_worker.model_runner, build.backing, verifier.spare_bytes)
    scheduler.fasttts_backing = build.backing


def for_largest_pool(stock: Callable[[Any], None], scheduler: Any) -> None:
    """AROUND what sizes buffers by the capacity: they must do for the largest."""
    with at_largest(scheduler.tp_worker.model_runner, scheduler.fasttts_backing):
        stock(scheduler)


POOL_HOOKS = (
    Hook(
        "sglang.srt.mem_cache.memory_pool.MHATokenToKVPool._create_buffers_normal",
        ("self",),
        HookType.AROUND,
        create_buffers,
        "address space for the largest size, memory for the present one",
    ),
    Hook(
        f"{_SCHEDULER}.init_memory_pools",
        ("self",),
        HookType.AROUND,
        build_generator_pool,
        "the generator's pool is built over a backing of ours",
    ),
    Hook(
        f"{_SCHEDULER}.init_all_attention_backends",
        ("self",),
        HookType.AROUND,
        for_largest_pool,
        "input buffers fit the largest pool",
    ),
    Hook(
        f"{_SCHEDULER}.init_all_cuda_graphs",
        ("self",),
        HookType.AROUND,
        for_largest_pool,
        "input buffers fit the largest pool",
    ),
)
