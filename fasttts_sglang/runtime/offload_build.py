"""Which of the two models offload KV to the host, and how much."""

import logging
from typing import Any

import torch
from sglang.srt.mem_cache.allocator import TokenToKVPoolAllocator
from sglang.srt.mem_cache.memory_pool import MHATokenToKVPool
from sglang.srt.mem_cache.radix_cache import RadixCache
from sglang.srt.utils import get_available_gpu_memory

from ..config import FastTTSConfig, flag_name
from ..memory.offload import HostOffload
from .host_memory import HostMemory
from .live_paths import LivePaths, VerifierPaths
from .offload import Offload
from .verifier import Verifier
from .verifier_runner import VerifierRunner

logger = logging.getLogger(__name__)

GENERATOR, VERIFIER = "generator", "verifier"
AUTO_PART = 0.25  # of the host's available memory


def build_offload(
    scheduler: Any, verifier: Verifier | None, live: LivePaths, config: FastTTSConfig
) -> dict[str, Offload]:
    """By model, what offloads its KV; empty if nothing shall or can."""
    limit = config.host_offload_bytes
    if limit == 0:
        return {}
    name = flag_name("host_offload")
    if scheduler.ps.tp_size > 1:
        logger.warning("%s has no effect with --tp-size %d", name, scheduler.ps.tp_size)
        return {}
    trees = {GENERATOR: scheduler.tree_cache}
    if type(verifier) is VerifierRunner:  # verdicts and functions read otherwise
        trees[VERIFIER] = verifier.tree
    if limit is None:
        worker = scheduler.fasttts_verifier
        predicted = None if worker is None else worker.split.offload
        trees = {model: tree for model, tree in trees.items() if _wins(model, predicted)}
        limit = int(get_available_gpu_memory("cpu", 0) * AUTO_PART * 2**30)
    for model, tree in list(trees.items()):
        if reason := _obstacle(tree):
            logger.warning("%s has no effect on the %s: %s", name, model, reason)
            del trees[model]
    buffers = {model: _buffers(tree) for model, tree in trees.items()}
    token_bytes = sum(HostMemory(some, 0).row_bytes for some in buffers.values())
    if not trees:
        return {}
    tokens = limit // token_bytes  # both models hold the same paths
    logger.info("FastTTS host offload of %s: up to %d tokens", " and ".join(trees), tokens)

    def settle() -> None:  # the pool is written by the forward in flight
        if scheduler.enable_overlap and buffers[GENERATOR][0].is_cuda:
            torch.cuda.current_stream().wait_stream(scheduler.forward_stream)

    found = {}
    if GENERATOR in trees:
        memory = HostMemory(buffers[GENERATOR], tokens)
        tree = trees[GENERATOR]
        found[GENERATOR] = Offload(GENERATOR, tree, memory, live, settle)
    if VERIFIER in trees:  # all of it is on the verifier's stream
        assert isinstance(verifier, VerifierRunner)
        memory = HostMemory(buffers[VERIFIER], tokens)
        of_verifier = VerifierPaths(live.searches, verifier)
        found[VERIFIER] = Offload(VERIFIER, trees[VERIFIER], memory, of_verifier)
    return found


def _wins(model: str, predicted: HostOffload | None) -> bool:
    name = flag_name("host_offload")
    if predicted is None:
        logger.warning("%s auto has no effect: the KV split was not planned", name)
        return False
    refill = predicted.generator if model == GENERATOR else predicted.verifier
    if not refill.wins:
        logger.info("FastTTS: the %s computes evicted KV again, copying takes longer", model)
    return refill.wins


def _obstacle(tree: Any) -> str | None:
    """What of a model's cache keeps its KV from being copied, or None."""
    allocator = tree.token_to_kv_pool_allocator
    for part, kind in (
        (tree, RadixCache),
        (allocator, TokenToKVPoolAllocator),
        (allocator.get_kvcache(), MHATokenToKVPool),
    ):
        if type(part) is not kind:
            return f"its KV is kept in a {type(part).__name__}"
    pool = allocator.get_kvcache()
    if tree.disable or tree.page_size != 1 or tree.is_eagle:
        return "its radix cache is off, or has pages of more than one token"
    if pool.use_hnd or pool.is_quantized_kv_cache:
        return "its KV is quantized, or in a layout that is not by token"
    return None


def _buffers(tree: Any) -> list[torch.Tensor]:
    pool = tree.token_to_kv_pool_allocator.get_kvcache()
    return [*pool.k_buffer, *pool.v_buffer]
