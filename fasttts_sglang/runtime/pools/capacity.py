"""Everyone in SGLang who keeps a pool's capacity, told of a new one.

The allocator's own `size` is not here: it is the capacity, and set by `ElasticPool`.
"""

from typing import Any

_COMPONENTS = ("pool_stats_observer", "invariant_checker", "kv_events_publisher", "load_inquirer")
_GIB = 1 << 30


def tell_runner(runner: Any, tokens: int, mapped_bytes: int) -> None:
    """A ModelRunner, its pool and its pool's configuration."""
    runner.max_total_num_tokens = tokens
    runner.memory_pool_config.max_total_num_tokens = tokens
    runner.token_to_kv_pool.size = tokens
    runner.token_to_kv_pool.mem_usage = mapped_bytes / _GIB


def tell_scheduler(scheduler: Any, tokens: int) -> None:
    """The scheduler of a generator whose runner has been told."""
    info = scheduler.tp_worker.get_worker_info()
    scheduler.max_total_num_tokens = tokens
    scheduler.max_req_len, scheduler.max_req_input_len = info[4], info[5]
    for name in _COMPONENTS:
        # some of these dataclasses are frozen
        object.__setattr__(getattr(scheduler, name), "max_total_num_tokens", tokens)
    scheduler.running_batch.batch_is_full = False
    scheduler.emit_metrics_constants()
