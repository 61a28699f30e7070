"""Asking the scheduler for its KV memory: answered, too late, and without a verifier's pool."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fasttts_sglang import FastTTSConfig
from fasttts_sglang.runtime import client as module
from fasttts_sglang.runtime.client import SearchClient
from fasttts_sglang.runtime.kv_memory import KVMemory
from fasttts_sglang.runtime.messages import MemoryDone, MemoryMessage


def scheduler(verifier_worker: Any = None) -> Any:
    sent: list[Any] = []
    return SimpleNamespace(
        token_to_kv_pool_allocator=SimpleNamespace(available_size=lambda: 50),
        tree_cache=SimpleNamespace(evictable_size=lambda: 30),
        max_total_num_tokens=100,
        fasttts_verifier=verifier_worker,
        fasttts_budget=None,  # pools of a fixed size
        fasttts=SimpleNamespace(offloads={}),
        ipc_channels=SimpleNamespace(
            send_to_tokenizer=SimpleNamespace(send_output=lambda reply, _: sent.append(reply))
        ),
        sent=sent,
    )


GENERATOR = {"used": 20, "cached": 30, "free": 50}
POOL = {"used": 1, "cached": 2, "free": 3}


@pytest.mark.parametrize(
    ("verifier", "pools"),
    [
        (None, {"generator": GENERATOR}),
        (SimpleNamespace(pool=dict), {"generator": GENERATOR}),  # a function
        (SimpleNamespace(pool=lambda: POOL), {"generator": GENERATOR, "verifier": POOL}),
    ],
)
def test_what_has_a_pool_is_told(verifier: Any, pools: dict[str, Any]) -> None:
    made = scheduler()
    KVMemory(made, FastTTSConfig(), verifier).admit(MemoryMessage(rid="r"))
    (reply,) = made.sent
    assert reply.rid == "r"
    told = {"split": None, "plan": None, "pools": pools, "budget": None, "host": {}}
    assert reply.memory == told


def test_the_split_is_told_where_it_decides() -> None:
    def told(**config: Any) -> Any:
        return KVMemory(scheduler(), FastTTSConfig(**config), None).to_dict()["split"]

    assert told(verifier_path="prm", kv_split="0.4") == "0.4"
    assert told(verifier_path="prm") == "auto"
    assert told(verifier_path="prm", verifier_tokens=99) is None
    assert told() is None


def ask(answer: Callable[[SearchClient, MemoryMessage], None]) -> dict[str, Any] | None:
    """What the client says of memory if the scheduler does `answer`."""

    async def asked() -> dict[str, Any] | None:
        client: SearchClient
        manager = SimpleNamespace(
            auto_create_handle_loop=lambda: None,
            _dispatch_to_scheduler=lambda message: answer(client, message),
        )
        client = SearchClient(manager, FastTTSConfig())
        told = await client.memory()
        assert not client._memory
        assert client.status()["searches"] == 0
        client.on_memory(MemoryDone(rid="late", memory={}))  # nobody waits any more
        return told

    return asyncio.run(asked())


def test_an_answer_reaches_who_asked() -> None:
    def answer(client: SearchClient, message: MemoryMessage) -> None:
        assert client.status()["searches"] == 0
        for rid in ("other", message.rid, message.rid):
            client.on_memory(MemoryDone(rid=rid, memory={"rid": rid}))

    told = ask(answer)
    assert told is not None
    assert told["rid"].startswith("memory-")


def test_a_scheduler_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MEMORY_S", 0.01)
    assert ask(lambda *_: None) is None
