"""Replayed searches in one engine at many splits of its KV memory, which it moves by itself.

A boot takes as long as a dozen searches, a move of memory some milliseconds. What a split was made
by cannot be told from the pools, nor from a search in them: kernels and addresses are the same.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fasttts_sglang import BadRequest, SearchParams
from fasttts_sglang.memory.machines import Machine
from fasttts_sglang.search.replay import ReplaySpec

from .points import Run
from .predicted import planned_share
from .setting import BRANCH, Setting
from .systems import Ours
from .workload import work

_BEGIN = 0.5  # the verifier's part at the boot


class Splits:
    """An engine whose memory is moved by hand only.

    Args:
        folder: Where to write the models' configs.

    Raises:
        RuntimeError: Its pools cannot be resized; its log says why.
    """

    def __init__(self, setting: Setting, folder: Path) -> None:
        self._setting = setting
        self._ours = Ours(setting, _BEGIN, {"kv_resize": "auto"}, folder)
        told = self._memory()
        if told["budget"] is None:
            raise RuntimeError("the KV pools cannot be resized: see the engine's log")
        self.budget_bytes: int = told["budget"]["budget_bytes"]
        self.machine = Machine.from_dict(told["plan"]["machine"])
        self._prompts = 0

    def planned(self, n: int) -> float:
        """The verifier's part that the planner chooses for n beams."""
        return planned_share(self._setting, n, self.machine, self.budget_bytes)

    def go_to(self, share: float) -> tuple[int, int]:
        """Give the verifier this share, in whole units; returns both models' tokens."""
        engine: Any = self._ours.engine._engine
        engine.collective_rpc("fasttts_resize", generator_share=1 - share, hold=True)
        pools = self._memory()["pools"]
        generator, verifier = (sum(pools[name].values()) for name in ("generator", "verifier"))
        return generator, verifier

    def search(self, n: int, seed: int) -> Any:
        """One search with cold caches."""
        setting = self._setting
        spec = ReplaySpec.from_json(setting.spec)
        params = SearchParams(
            n=n, branch=BRANCH, seed=seed, temperature=1.0, stop=(), speculation="off"
        )
        longest = work(spec, params, setting.prompt_tokens).chain_tokens
        # else a small pool is refused for paths that never come
        params = params.replace(max_tokens=longest + 1)
        # another prompt each time: the same tokens would find their scores in the score cache
        self._prompts += 1
        digits = [self._prompts // 90**place % 90 for place in range(3)]
        prompt = [5 + digit for digit in digits]
        prompt += [5 + i * i % 90 for i in range(setting.prompt_tokens - len(prompt))]
        self._ours.engine.flush_cache()
        result, _ = self._ours.search(prompt, params)
        return result

    def close(self) -> None:
        """Stop the engine."""
        self._ours.engine.shutdown()

    def _memory(self) -> Any:
        return self._ours.engine.wait(self._ours.engine._client.memory())


def visit(
    splits: Splits,
    pair: str,
    widths: Sequence[int],
    shares: Sequence[float],
    seeds: int,
    *,
    deadline: float,
    turn: Any,
) -> Iterator[Run]:
    """Search at all of `shares` and at the planned ones; all splits before the next seed.

    Args:
        shares: The verifier's parts. Those that come to the same whole units are visited once.
        deadline: `time.monotonic()` after which no further search starts.
        turn: A context manager that is held while this process searches.
    """
    planned = {n: splits.planned(n) for n in widths}
    with turn():
        for n in widths:  # compiles and allocates what a first search does
            splits.search(n, 0)
        at = {share: splits.go_to(share) for share in sorted({*shares, *planned.values()})}
    swept, chosen = {at[share] for share in shares}, {n: at[planned[n]] for n in widths}
    once = {split: share for share, split in at.items()}
    order = sorted(once, key=lambda split: split not in chosen.values())  # the planned ones first
    machine = splits.machine.to_dict()
    for seed in range(1, seeds + 1):
        for split in order:
            share = once[split]
            with turn():
                splits.go_to(share)
                for n in widths:
                    if split not in swept and split != chosen[n]:
                        continue
                    if time.monotonic() > deadline:
                        return
                    try:
                        result = splits.search(n, seed)
                    except BadRequest as refused:
                        print(f"{pair}, verifier's part {share:g}: {refused}", flush=True)
                        continue
                    usage, timing = result.usage, result.timing
                    yield Run(
                        pair=pair,
                        n=n,
                        seed=seed,
                        generator_tokens=split[0],
                        verifier_tokens=split[1],
                        planned=split == chosen[n],
                        rounds=usage.rounds,
                        total_s=timing["total_s"],
                        verifier_s=timing["verifier_s"],
                        decode_steps=int(timing["decode_steps"]),
                        recomputed_tokens=usage.recomputed_tokens,
                        verifier_recomputed_tokens=usage.verifier_recomputed_tokens,
                        machine=machine,
                    )
