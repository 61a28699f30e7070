"""Our metrics on SGLang's /metrics, with --enable-metrics.

SGLang runs prometheus_client in its multiprocess mode: a metric made in any of its processes is
exported, if the library is first imported after SGLang has set the directory it shares.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import BadRequest, SearchFailed
from ..search.params import SearchParams
from ..search.result import SearchResult
from .kv_memory import KVMemory

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000)
EVERY_S = 1.0  # how often the scheduler's state is published


class SearchMetrics:
    """What clients see of searches. One per tokenizer process.

    Args:
        model: The label `model_name`, as SGLang's own metrics have it.
    """

    def __init__(self, model: str) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        def counter(name: str, text: str, *labels: str) -> Any:
            return Counter(f"fasttts_{name}", text, ["model_name", *labels])

        self._model = model
        self._searches = counter(
            "searches",
            "Searches by outcome: ok, refused, failed, cancelled.",
            "algorithm",
            "outcome",
        )
        self._seconds = Histogram(
            "fasttts_search_seconds",
            "Latency of searches that returned a result.",
            ["model_name", "algorithm"],
            buckets=SECONDS,
        )
        self._waiting = Gauge(
            "fasttts_searches_in_flight",
            "Searches that a client waits for.",
            ["model_name"],
            multiprocess_mode="livesum",
        )
        self._rounds = counter("rounds", "Rounds of finished searches.")
        self._tokens = counter("completion_tokens", "Tokens decoded that a search asked for.")
        self._ahead = counter(
            "speculated_tokens", "Tokens decoded ahead, by what became of them.", "outcome"
        )
        self._recomputed = counter(
            "recomputed_tokens", "Tokens prefilled again because their KV was evicted.", "by"
        )
        self._restored = counter(
            "restored_tokens", "Tokens whose KV came back from the host instead.", "by"
        )
        self._verified = counter(
            "verifier_tokens", "Tokens the verifier computed, or had in its cache.", "source"
        )

    @contextmanager
    def watch(self, params: SearchParams) -> Iterator[Callable[[SearchResult], None]]:
        """Count a search from here to the end of the block; pass its result to what is yielded."""
        began, outcome = time.perf_counter(), "cancelled"
        waiting = self._waiting.labels(self._model)
        waiting.inc()

        def seen(result: SearchResult) -> None:
            nonlocal outcome
            outcome = "ok"
            self._add(result)
            seconds = time.perf_counter() - began
            self._seconds.labels(self._model, params.algorithm).observe(seconds)

        try:
            yield seen
        except BadRequest:
            outcome = "refused"
            raise
        except SearchFailed:
            outcome = "failed"
            raise
        finally:
            waiting.dec()
            self._searches.labels(self._model, params.algorithm, outcome).inc()

    def _add(self, result: SearchResult) -> None:
        usage, model = result.usage, self._model
        self._rounds.labels(model).inc(usage.rounds)
        self._tokens.labels(model).inc(usage.completion_tokens)
        self._ahead.labels(model, "kept").inc(usage.speculated_kept)
        self._ahead.labels(model, "wasted").inc(usage.speculated_wasted)
        self._recomputed.labels(model, "generator").inc(usage.recomputed_tokens)
        self._recomputed.labels(model, "verifier").inc(usage.verifier_recomputed_tokens or 0)
        self._restored.labels(model, "generator").inc(usage.restored_tokens)
        self._restored.labels(model, "verifier").inc(usage.verifier_restored_tokens)
        self._verified.labels(model, "computed").inc(usage.verifier_tokens)
        self._verified.labels(model, "cached").inc(usage.verifier_cached_tokens)


class SchedulerMetrics:
    """The state of a scheduler: its searches, both models' KV pools, and the verifier's time."""

    def __init__(self, model: str) -> None:
        from prometheus_client import Counter, Gauge

        def gauge(name: str, text: str, label: str) -> Any:
            labels = ["model_name", label]
            return Gauge(f"fasttts_{name}", text, labels, multiprocess_mode="mostrecent")

        self._model = model
        self._next = 0.0
        self._spent = 0.0
        self._searches = gauge("scheduler_searches", "Searches running or queued.", "state")
        self._pools = {
            name: gauge(f"{name}_kv_tokens", f"The {name}'s KV pool: used, cached, free.", "state")
            for name in ("generator", "verifier")
        }
        self._bytes = gauge(
            "kv_mapped_bytes", "Memory of the KV pools that share a budget, by model.", "pool"
        )
        self._host = gauge("host_kv_bytes", "Host memory that holds KV, by model.", "pool")
        self._planned = gauge("planned_kv_tokens", "KV tokens that the plan gives.", "part")
        self._round = gauge("planned_round_seconds", "Predicted seconds of a round.", "part")
        self._seconds = Counter(
            "fasttts_verifier_seconds", "Time spent in the verifier.", ["model_name"]
        )

    def observe(self, runner: Any, memory: KVMemory) -> None:
        """Publish the state of a SearchRunner and its memory, at most every EVERY_S seconds."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY_S
        self._searches.labels(self._model, "running").set(runner.num_live)
        self._searches.labels(self._model, "queued").set(runner.num_queued)
        self._seconds.labels(self._model).inc(runner.verifier_s - self._spent)
        self._spent = runner.verifier_s
        for name, pool in memory.pools().items():
            for state, tokens in pool.items():
                self._pools[name].labels(self._model, state).set(tokens)
        if memory.budget is not None:
            for name, size in memory.budget.mapped().items():
                self._bytes.labels(self._model, name).set(size)
        for name, offload in memory.offloads.items():
            self._host.labels(self._model, name).set(offload.status()["held_bytes"])
        if (plan := memory.plan) is not None:
            for name, share in (("generator", plan.generator), ("verifier", plan.verifier)):
                self._planned.labels(self._model, name).set(share.kv_tokens)
                self._round.labels(self._model, name).set(share.round_s)
