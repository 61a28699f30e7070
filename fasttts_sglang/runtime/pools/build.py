"""Builds SGLang's KV pools over a `Backing`, at their largest possible size."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from .backing import Backing
from .capacity import tell_runner
from .plain_backing import PlainBacking

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Build:
    """A pool that is being built.

    Attributes:
        beside_bytes: Memory of the other pool, which this one may get one day.
        backing: The pool's memory, once it is there.
    """

    beside_bytes: int
    backing: Backing | None = None


_current: Build | None = None


def beside(scheduler: Any, wanted: str, num_bytes: int) -> int | None:
    """`num_bytes`, the memory of the other pool, if pools are to be elastic; else None.

    Args:
        wanted: --fasttts-kv-resize.
    """
    if wanted == "off":
        return None
    if reason := _obstacle(scheduler):
        logger.warning("--fasttts-kv-resize has no effect: %s", reason)
        return None
    return num_bytes


def _obstacle(scheduler: Any) -> str | None:
    """What of a server's arguments keeps its pools from sharing a budget, or None."""
    args, model = scheduler.server_args, scheduler.model_config
    reasons = {
        f"--page-size {args.page_size} is not 1": args.page_size != 1,
        "--disable-radix-cache": args.disable_radix_cache,
        "--enable-hierarchical-cache": args.enable_hierarchical_cache,
        "--enable-memory-saver": args.enable_memory_saver,
        "--speculative-algorithm": args.speculative_algorithm is not None,
        f"--tp-size {args.tp_size} is not 1": args.tp_size != 1,
        "--disaggregation-mode": args.disaggregation_mode != "null",
        "the generator has sliding windows": model.is_hybrid_swa,
    }
    return next((reason for reason, true in reasons.items() if true), None)


@contextmanager
def elastic(beside_bytes: int | None) -> Iterator[Build]:
    """The pool that SGLang builds inside this block gets a `Backing`; None: it stays as it is."""
    global _current
    build = Build(beside_bytes or 0)
    _current = build if beside_bytes is not None else None
    try:
        yield build
    finally:
        _current = None
    if beside_bytes is not None and build.backing is None:
        logger.warning("--fasttts-kv-resize has no effect: SGLang built another kind of KV pool")


@contextmanager
def at_largest(runner: Any, backing: Backing | None) -> Iterator[None]:
    """Inside, `runner` and its pool have their largest capacity.

    By the runner's SGLang sizes its input buffers. The pool's is the bound that the kernel which
    writes KV asserts, and a CUDA graph keeps the bound that it was captured with.
    """
    if backing is None:
        yield
        return
    pool, largest = runner.token_to_kv_pool, backing.largest - 1
    now = runner.max_total_num_tokens, pool.size
    runner.max_total_num_tokens = pool.size = largest
    try:
        yield
    finally:
        runner.max_total_num_tokens, pool.size = now


def to_whole_units(runner: Any, backing: Backing, spare_bytes: int = 0) -> int:
    """Give a new pool the tokens that fill whole units, of no more memory than SGLang gave it.

    Memory is mapped by units: without this both pools would have up to two of them more than was
    asked for.

    Args:
        spare_bytes: What it may have besides.

    Returns:
        Bytes that are left over: less than a unit.
    """
    allocator, unit_bytes = runner.token_to_kv_pool_allocator, backing.bytes_for(1)
    given = (allocator.size + 1) * backing.row_bytes + spare_bytes
    rows = min(max(1, given // unit_bytes) * backing.unit, backing.largest)
    if backing.tensors[0].is_cuda:
        torch.cuda.synchronize(backing.tensors[0].device)  # it is still being cleared
    backing.map(rows)
    backing.unmap(rows)
    backing.settle()
    allocator.size = rows - 1  # slot 0 is for padding
    allocator.clear()
    tell_runner(runner, rows - 1, backing.mapped_bytes)
    return max(0, given - backing.mapped_bytes)


def create_buffers(stock: Any, pool: Any) -> None:
    """AROUND MHATokenToKVPool._create_buffers_normal: its tensors are those of a `Backing`."""
    build = _current
    if build is None or build.backing is not None or pool.kv_cache_layout != "nhd":
        stock(pool)
        return
    tokens, layers = pool.size, pool.layer_num
    heads, dtype = pool.head_num, pool.store_dtype
    sizes = [pool.head_dim] * layers + [pool.v_head_dim] * layers
    row_bytes = heads * sum(sizes) * dtype.itemsize
    rows = tokens + pool.page_size + build.beside_bytes // row_bytes
    backing = _make([(rows, heads, size) for size in sizes], dtype, pool.device, tokens)
    backing.map(tokens + pool.page_size)
    pool.k_buffer, pool.v_buffer = backing.tensors[:layers], backing.tensors[layers:]
    build.backing = backing
    logger.info(
        "FastTTS KV pool: %d tokens in %.1f MiB, address space for %d",
        tokens,
        backing.mapped_bytes / (1 << 20),
        backing.largest - 1,
    )


def _make(
    shapes: list[tuple[int, int, int]], dtype: torch.dtype, device: str, tokens: int
) -> Backing:
    if torch.device(device).type != "cuda":
        return PlainBacking(shapes, dtype, device)
    from .cuda_backing import CudaBacking, granules

    return CudaBacking(shapes, dtype, granules(torch.device(device)), tokens + 1)
