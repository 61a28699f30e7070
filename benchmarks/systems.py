"""The two systems under test, booted: stock SGLang with a loop in the client, and ours."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fasttts_sglang import FastTTSConfig, FastTTSEngine, SearchParams, SearchResult
from fasttts_sglang.engine import TINY
from fasttts_sglang.search.replay import Replay, ReplaySpec

from . import shapes
from .baselines.reward_model import convert
from .baselines.stock import Outcome, ReplayedSteps, StockPair
from .setting import BRANCH, Setting


class Stock:
    """The baseline.

    Args:
        share: The verifier's part of the KV budget; without a budget it does not matter.
        folder: Where to write the models' configs.
        attention: Its attention backend; None: the setting's.
    """

    def __init__(
        self, setting: Setting, share: float | None, folder: Path, attention: str | None = None
    ) -> None:
        self._spec = ReplaySpec.from_json(setting.spec)
        args = setting.stock(share)
        if attention is not None:
            args["attention_backend"] = attention
        if setting.generator == "tiny":
            verifier = convert(TINY / "verifier", folder / "tiny-reward-model")
            self.pair = StockPair(str(TINY / "generator"), verifier, **args)
        else:
            generator = shapes.write(folder, setting.generator, shapes.GENERATOR)
            verifier = shapes.write(folder, setting.verifier, shapes.STOCK_VERIFIER)
            self.pair = StockPair(generator, verifier, load_format="dummy", **args)

    def search(self, prompt: list[int], params: SearchParams) -> tuple[Outcome, float]:
        """One search and the seconds its caller waited."""
        steps = ReplayedSteps(Replay(self._spec, params.seed))
        began = time.perf_counter()
        return self.pair.search(prompt, params, steps), time.perf_counter() - began

    def generate(self, prompts: list[list[int]], sampling: dict[str, Any]) -> Any:
        """Ordinary generation."""
        return self.pair.generate(prompts, [sampling] * len(prompts))


class Ours:
    """The candidate.

    Args:
        share: Likewise.
        changes: Further FastTTSConfig fields.
    """

    def __init__(
        self, setting: Setting, share: float | None, changes: Mapping[str, Any], folder: Path
    ) -> None:
        args, memory = setting.ours(share)
        config = FastTTSConfig(replay=setting.spec, **{**memory, **changes})
        if setting.generator == "tiny":
            self.engine = FastTTSEngine(config=config, **args)
        else:
            generator = shapes.write(folder, setting.generator, shapes.GENERATOR)
            verifier = shapes.write(folder, setting.verifier, shapes.VERIFIER)
            args = {"load_format": "dummy", "skip_tokenizer_init": True, **args}
            self.engine = FastTTSEngine(generator, verifier, config=config, **args)

    def search(self, prompt: list[int], params: SearchParams) -> tuple[SearchResult, float]:
        """One search and the seconds its caller waited."""
        began = time.perf_counter()
        result = self.engine.wait(self.engine.async_search(prompt, params))
        return result, time.perf_counter() - began

    def timelines(
        self, n: int, prompt_tokens: int, modes: Sequence[str]
    ) -> list[tuple[str, SearchResult]]:
        """One search with its timeline per kind of speculation."""
        params = SearchParams(n=n, branch=BRANCH, temperature=1.0, stop=(), timeline=True)
        found = []
        for number, mode in enumerate(modes):
            # the same tokens would find their scores in the score cache
            prompt = [5 + (number + i * i) % 90 for i in range(prompt_tokens)]
            self.engine.flush_cache()
            result, _ = self.search(prompt, params.replace(speculation=mode))
            found.append((f"n={n}, speculation {mode}", result))
        return found

    def generate(self, prompts: list[list[int]], sampling: dict[str, Any]) -> Any:
        """Ordinary generation."""
        return self.engine.generate(input_ids=prompts, sampling_params=sampling)
