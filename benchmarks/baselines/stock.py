"""The search loop a user would write today around two stock SGLang engines.

One engine generates, one is a reward model; both share the GPU by a static memory split. Each round
is one batched `generate` call and one batched scoring call. Radix cache on, siblings adjacent,
token ids passed through, the same pure algorithm decides: nothing is done to make it slow.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fasttts_sglang.runtime import cpu
from fasttts_sglang.search.algorithms import make
from fasttts_sglang.search.core import Expand, Finish, Node, Path, drive
from fasttts_sglang.search.params import SearchParams
from fasttts_sglang.search.replay import Replay


class Steps(Protocol):
    """Where steps end and what they score."""

    def sampling(self, path: Path, left: int) -> dict[str, Any]:
        """SGLang's sampling parameters for the step at `path`; `left` tokens at most."""

    def finish(self, path: Path, ids: Sequence[int], full: bool) -> Finish:
        """Why the step ended; `full` if the path has no tokens left."""

    def score(self, path: Path, value: float) -> float:
        """The step's score, given the reward model's value."""


@dataclass(frozen=True, slots=True)
class ReplayedSteps:
    """Steps drawn from the path; the values of random weights mean nothing, the work is done."""

    replay: Replay

    def sampling(self, path: Path, left: int) -> dict[str, Any]:
        return {"max_new_tokens": min(left, self.replay.step_tokens(path)), "ignore_eos": True}

    def finish(self, path: Path, ids: Sequence[int], full: bool) -> Finish:
        return Finish.LENGTH if full else self.replay.finish(path)

    def score(self, path: Path, value: float) -> float:
        return self.replay.score(path)


@dataclass(frozen=True, slots=True)
class RealSteps:
    """Steps that end at a token; the reward model's value is a logit."""

    stop_token_id: int
    eos_token_id: int
    max_step_tokens: int

    def sampling(self, path: Path, left: int) -> dict[str, Any]:
        most = min(left, self.max_step_tokens)
        return {"max_new_tokens": most, "stop_token_ids": [self.stop_token_id]}

    def finish(self, path: Path, ids: Sequence[int], full: bool) -> Finish:
        if ids[-1] == self.eos_token_id:
            return Finish.EOS
        return Finish.STOP if ids[-1] == self.stop_token_id and not full else Finish.LENGTH

    def score(self, path: Path, value: float) -> float:
        return 1 / (1 + math.exp(-value))


@dataclass(slots=True)
class Outcome:
    """One search as its caller saw it."""

    candidates: list[Node]
    seconds: float
    generator_s: float
    verifier_s: float
    completion_tokens: int
    rounds: int
    slot_tokens: int  # what the decode slots could have decoded until each round's slowest row
    complete_s: dict[Path, float] = field(default_factory=dict)  # when each candidate was complete
    ids: dict[Path, list[int]] = field(default_factory=dict)  # prompt and response of every path


class StockPair:
    """Two stock engines. `generator` and `verifier` are folders; the rest are engine arguments."""

    def __init__(self, generator: str, verifier: str, **engine_args: Any) -> None:
        if cpu.prepare():
            engine_args = {**cpu.server_args(), **engine_args}
        import sglang

        both = {"skip_tokenizer_init": True, "page_size": 1, **engine_args}
        generator_args, verifier_args = (
            both.pop("generator_args", {}),
            both.pop("verifier_args", {}),
        )
        self._generator = sglang.Engine(model_path=generator, **{**both, **generator_args})
        self._verifier = sglang.Engine(
            model_path=verifier, is_embedding=True, **{**both, **verifier_args}
        )

    def search(self, prompt: Sequence[int], params: SearchParams, steps: Steps) -> Outcome:
        """Run one search; `steps` says where steps end and what they score."""
        loop = _Loop(self, list(prompt), params, steps)
        began = time.perf_counter()
        found = drive(make(params), loop.expand)
        loop.outcome.seconds = time.perf_counter() - began
        loop.outcome.candidates, loop.outcome.ids = found, loop.ids
        return loop.outcome

    def flush_cache(self) -> None:
        """Forget all cached KV of both engines."""
        self._generator.flush_cache()
        self._verifier.flush_cache()

    def generate(self, prompts: list[list[int]], params: list[dict[str, Any]]) -> list[list[int]]:
        """One batched call; returns the new token ids of every prompt."""
        outputs = self._generator.generate(input_ids=prompts, sampling_params=params)
        return [list(output["output_ids"]) for output in outputs]

    def score(self, sequences: list[list[int]]) -> list[float]:
        """One batched scoring call; returns the reward model's value of every sequence."""
        from sglang.srt.managers.io_struct import EmbeddingReqInput

        manager = self._verifier.tokenizer_manager
        replies = manager.generate_request(EmbeddingReqInput(input_ids=sequences), None)
        outputs = self._verifier.loop.run_until_complete(anext(replies))
        return [float(output["embedding"][0]) for output in outputs]


class _Loop:
    """The state of one search in the client."""

    def __init__(
        self, pair: StockPair, prompt: list[int], params: SearchParams, steps: Steps
    ) -> None:
        self._pair, self._params, self._steps = pair, params, steps
        self.ids: dict[Path, list[int]] = {(): prompt}
        self._prompt_len = len(prompt)
        self._began = time.perf_counter()
        self.outcome = Outcome([], 0.0, 0.0, 0.0, 0, 0, 0)

    def expand(self, expansions: Sequence[Expand]) -> list[Node]:
        """Generate and score all children of a round."""
        parents = sorted(expansions, key=lambda expand: expand.node.path)
        children = [
            (expand.node, (*expand.node.path, i))
            for expand in parents
            for i in range(expand.num_children)
        ]
        tick = time.perf_counter()
        new = self._pair.generate(
            [self.ids[parent.path] for parent, _ in children],
            [self._sampling(parent, path) for parent, path in children],
        )
        generated = time.perf_counter()
        for (parent, path), ids in zip(children, new, strict=True):
            self.ids[path] = self.ids[parent.path] + ids
        values = self._pair.score([self.ids[path] for _, path in children])
        done = time.perf_counter()
        outcome = self.outcome
        outcome.generator_s += generated - tick
        outcome.verifier_s += done - generated
        outcome.completion_tokens += sum(map(len, new))
        outcome.slot_tokens += len(new) * max(map(len, new))
        outcome.rounds += 1
        nodes = [
            self._node(parent, path, value)
            for (parent, path), value in zip(children, values, strict=True)
        ]
        ended = [node.path for node in nodes if node.finish is Finish.EOS]
        outcome.complete_s |= dict.fromkeys(ended, generated - self._began)
        return nodes

    def _sampling(self, parent: Node, path: Path) -> dict[str, Any]:
        left = self._params.max_tokens - parent.num_tokens
        common = {"temperature": self._params.temperature, "top_p": self._params.top_p}
        return {**common, **self._steps.sampling(path, left)}

    def _node(self, parent: Node, path: Path, value: float) -> Node:
        tokens = len(self.ids[path]) - self._prompt_len
        full = tokens >= self._params.max_tokens
        finish = self._steps.finish(path, self.ids[path], full)
        return Node(path, (*parent.scores, self._steps.score(path, value)), tokens, finish)
