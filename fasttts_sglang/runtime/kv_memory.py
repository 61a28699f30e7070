"""The KV memory of both models: what was planned, and how full it is."""

from typing import Any

from ..config import FastTTSConfig
from ..memory.planner import Plan
from .messages import MemoryDone, MemoryMessage
from .offload import Offload
from .verifier import Verifier


class KVMemory:
    """Looks at both pools. One per scheduler.

    Args:
        verifier: Whose pool is looked at; None or a function has none.
    """

    def __init__(self, scheduler: Any, config: FastTTSConfig, verifier: Verifier | None) -> None:
        self._scheduler = scheduler
        self._config = config
        self._verifier = verifier

    @property
    def plan(self) -> Plan | None:
        """What the pools were sized by; None if by something else than a plan."""
        worker = self._scheduler.fasttts_verifier
        return None if worker is None else worker.split.plan

    @property
    def budget(self) -> Any:
        """The SharedBudget of both pools; None if they have fixed sizes."""
        return self._scheduler.fasttts_budget

    @property
    def offloads(self) -> dict[str, Offload]:
        """What copies KV to the host, by model."""
        found: dict[str, Offload] = self._scheduler.fasttts.offloads
        return found

    def pools(self) -> dict[str, dict[str, int]]:
        """Tokens by state, of the generator, and of a verifier that has KV memory."""
        scheduler = self._scheduler
        free = int(scheduler.token_to_kv_pool_allocator.available_size())
        cached = int(scheduler.tree_cache.evictable_size())
        used = int(scheduler.max_total_num_tokens) - free - cached
        found = {"generator": {"used": used, "cached": cached, "free": free}}
        if self._verifier is not None and (pool := self._verifier.pool()):
            found["verifier"] = pool
        return found

    def to_dict(self) -> dict[str, Any]:
        """A JSON object; `split` is the flag's, null where it decides nothing.

        `budget` tells of moves between the pools, null if they have fixed sizes; `host` of KV that
        is kept on the host, by model.
        """
        plan, config = self.plan, self._config
        splits = config.verifier_path and config.verifier_tokens is None
        return {
            "split": config.kv_split if splits else None,
            "plan": None if plan is None else plan.to_dict(),
            "pools": self.pools(),
            "budget": None if self.budget is None else self.budget.status(),
            "host": {name: part.status() for name, part in self.offloads.items()},
        }

    def admit(self, message: MemoryMessage) -> None:
        """Somebody asks."""
        reply = MemoryDone(rid=message.rid, memory=self.to_dict())
        self._scheduler.ipc_channels.send_to_tokenizer.send_output(reply, message)
