"""The search loop a user would write today around two stock SGLang engines.

One engine generates, one is a reward model; both share the GPU by a static memory split. Each round
is one batched `generate` call and one batched scoring call. Radix cache on, siblings adjacent,
token ids passed through, the same pure algorithm decides: nothing is done to make it slow.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fasttts_sglang.runtime import cpu
from fasttts_sglang.search.algorithms import make
from fasttts_sglang.search.core import Expand, Finish, Node, Path, drive
from fasttts_sglang.search.params import SearchParams
from fasttts_sglang.search.replay import Replay, ReplaySpec


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


class StockPair:
    """Two stock engines. `generator` and `verifier` are folders; the rest are engine arguments."""

    def __init__(
        self, generator: str, verifier: str, *, spec: ReplaySpec, **engine_args: Any
    ) -> None:
        if cpu.prepare():
            engine_args = {**cpu.server_args(), **engine_args}
        import sglang

        self._spec = spec
        both = {"skip_tokenizer_init": True, "page_size": 1, **engine_args}
        generator_args, verifier_args = (
            both.pop("generator_args", {}),
            both.pop("verifier_args", {}),
        )
        self._generator = sglang.Engine(model_path=generator, **{**both, **generator_args})
        self._verifier = sglang.Engine(
            model_path=verifier, is_embedding=True, **{**both, **verifier_args}
        )

    def search(self, prompt: Sequence[int], params: SearchParams) -> Outcome:
        """Run one replayed beam search."""
        loop = _Loop(self, list(prompt), params)
        began = time.perf_counter()
        found = drive(make(params), loop.expand)
        loop.outcome.seconds = time.perf_counter() - began
        loop.outcome.candidates = found
        return loop.outcome

    def flush_cache(self) -> None:
        """Forget all cached KV of both engines."""
        self._generator.flush_cache()
        self._verifier.flush_cache()

    def shutdown(self) -> None:
        """Stop both engines."""
        self._generator.shutdown()
        self._verifier.shutdown()

    def generate(self, prompts: list[list[int]], params: list[dict[str, Any]]) -> list[list[int]]:
        """One batched call; returns the new token ids of every prompt."""
        outputs = self._generator.generate(input_ids=prompts, sampling_params=params)
        return [list(output["output_ids"]) for output in outputs]

    def score(self, sequences: list[list[int]]) -> None:
        """One batched scoring call. The values of random weights mean nothing; the work is done."""
        from sglang.srt.managers.io_struct import EmbeddingReqInput

        manager = self._verifier.tokenizer_manager
        replies = manager.generate_request(EmbeddingReqInput(input_ids=sequences), None)
        self._verifier.loop.run_until_complete(anext(replies))

    def replay(self, seed: int) -> Replay:
        """The workload of the search with this seed."""
        return Replay(self._spec, seed)


class _Loop:
    """The state of one search in the client."""

    def __init__(self, pair: StockPair, prompt: list[int], params: SearchParams) -> None:
        self._pair, self._params = pair, params
        self._replay = pair.replay(params.seed)
        self._ids: dict[Path, list[int]] = {(): prompt}
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
            [self._ids[parent.path] for parent, _ in children],
            [self._sampling(parent, path) for parent, path in children],
        )
        generated = time.perf_counter()
        for (parent, path), ids in zip(children, new, strict=True):
            self._ids[path] = self._ids[parent.path] + ids
        self._pair.score([self._ids[path] for _, path in children])
        done = time.perf_counter()
        outcome = self.outcome
        outcome.generator_s += generated - tick
        outcome.verifier_s += done - generated
        outcome.completion_tokens += sum(map(len, new))
        outcome.slot_tokens += len(new) * max(map(len, new))
        outcome.rounds += 1
        nodes = [self._node(parent, path) for parent, path in children]
        ended = [node.path for node in nodes if node.finish is Finish.EOS]
        outcome.complete_s |= dict.fromkeys(ended, generated - self._began)
        return nodes

    def _sampling(self, parent: Node, path: Path) -> dict[str, Any]:
        left = self._params.max_tokens - parent.num_tokens
        return {
            "max_new_tokens": min(left, self._replay.step_tokens(path)),
            "ignore_eos": True,
            "temperature": self._params.temperature,
        }

    def _node(self, parent: Node, path: Path) -> Node:
        tokens = len(self._ids[path]) - self._prompt_len
        full = tokens >= self._params.max_tokens
        finish = Finish.LENGTH if full else self._replay.finish(path)
        return Node(path, (*parent.scores, self._replay.score(path)), tokens, finish)
