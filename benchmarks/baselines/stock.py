"""The search loop a user would write today around two stock SGLang engines.

One engine generates, one is a reward model; both share the GPU by a static memory split. Each round
is one batched `generate` call and one batched scoring call. The prompt is prefilled once in both,
radix cache on, siblings adjacent, token ids passed through, the same pure algorithm decides:
nothing is done to make it slow.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
    verifier_tokens: int = 0  # run through the reward model
    verifier_cached_tokens: int = 0  # not run, because their KV was there
    # KV that an earlier row of this search had computed and that was computed again. Lower bounds:
    # SGLang does not tell what a row that was retracted amid decoding computes when it comes back.
    recomputed_tokens: int = 0  # by the generator
    verifier_recomputed_tokens: int = 0
    retractions: int = 0
    complete_s: dict[Path, float] = field(default_factory=dict)  # when each candidate was complete
    ids: dict[Path, list[int]] = field(default_factory=dict)  # prompt and response of every path


@dataclass(slots=True)
class Prefilled:
    """Tokens of the reward model's inputs, as its replies count them."""

    tokens: int = 0
    cached: int = 0


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
        self.scored = _count_prefills(self._verifier.tokenizer_manager)

    def search(self, prompt: Sequence[int], params: SearchParams, steps: Steps) -> Outcome:
        """Run one search; `steps` says where steps end and what they score."""
        loop = _Loop(self, list(prompt), params, steps)
        began = time.perf_counter()
        loop.prefill()
        found = drive(make(params), loop.expand)
        loop.outcome.seconds = time.perf_counter() - began
        loop.outcome.candidates, loop.outcome.ids = found, loop.ids
        return loop.outcome

    def flush_cache(self) -> None:
        """Forget all cached KV of both engines."""
        self._generator.flush_cache()
        self._verifier.flush_cache()

    def generate(
        self, prompts: list[list[int]], params: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """One batched call; returns SGLang's outputs, which have `output_ids` and `meta_info`.

        Raises:
            RuntimeError: SGLang gave a row up, so the search cannot go on.
        """
        outputs: list[dict[str, Any]] = self._generator.generate(
            input_ids=prompts, sampling_params=params
        )
        for output in outputs:
            reason = output["meta_info"]["finish_reason"]
            if reason["type"] == "abort":
                raise RuntimeError(f"stock SGLang gave a row up: {reason.get('message')}")
        return outputs

    def score(self, sequences: list[list[int]]) -> list[float]:
        """One batched scoring call; returns the reward model's value of every sequence."""
        from sglang.srt.managers.io_struct import EmbeddingReqInput

        manager = self._verifier.tokenizer_manager
        replies = manager.generate_request(EmbeddingReqInput(input_ids=sequences), None)
        outputs = self._verifier.loop.run_until_complete(anext(replies))
        return [float(output["embedding"][0]) for output in outputs]


def _count_prefills(manager: Any) -> Prefilled:
    """Count what an engine's replies say of their inputs, also where SGLang drops it.

    `meta_info` of an embedding has no `cached_tokens` in SGLang 0.5.17; the message from the
    scheduler has.
    """
    counts, handle = Prefilled(), manager._handle_batch_output

    async def counted(output: Any) -> None:
        counts.tokens += sum(output.prompt_tokens)
        counts.cached += sum(output.cached_tokens)
        await handle(output)

    manager._handle_batch_output = counted
    return counts


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

    def prefill(self) -> None:
        """Bring the prompt into both caches; else every row of the first round would compute it."""
        prompt, before = self.ids[()], replace(self._pair.scored)
        tick = time.perf_counter()
        self._pair.generate([prompt], [{"max_new_tokens": 1}])
        generated = time.perf_counter()
        self._pair.score([prompt])
        self.outcome.generator_s += generated - tick
        self.outcome.verifier_s += time.perf_counter() - generated
        self._count_scored(before)

    def expand(self, expansions: Sequence[Expand]) -> list[Node]:
        """Generate and score all children of a round."""
        parents = sorted(expansions, key=lambda expand: expand.node.path)
        children = [
            (expand.node, (*expand.node.path, i))
            for expand in parents
            for i in range(expand.num_children)
        ]
        begin = [self.ids[parent.path] for parent, _ in children]
        tick = time.perf_counter()
        outputs = self._pair.generate(
            begin, [self._sampling(parent, path) for parent, path in children]
        )
        generated = time.perf_counter()
        new = [list(output["output_ids"]) for output in outputs]
        for (_, path), before, ids in zip(children, begin, new, strict=True):
            self.ids[path] = before + ids
        sequences = [self.ids[path] for _, path in children]
        scored = replace(self._pair.scored)
        values = self._pair.score(sequences)
        done = time.perf_counter()
        outcome = self.outcome
        outcome.generator_s += generated - tick
        outcome.verifier_s += done - generated
        outcome.completion_tokens += sum(map(len, new))
        outcome.slot_tokens += len(new) * max(map(len, new))
        self._count(list(map(len, begin)), [output["meta_info"] for output in outputs], scored)
        outcome.rounds += 1
        nodes = [
            self._node(parent, path, value)
            for (parent, path), value in zip(children, values, strict=True)
        ]
        ended = [node.path for node in nodes if node.finish is Finish.EOS]
        outcome.complete_s |= dict.fromkeys(ended, generated - self._began)
        return nodes

    def _count(
        self, begin: Sequence[int], replies: Sequence[dict[str, Any]], before: Prefilled
    ) -> None:
        """Add up what was cached and what was computed again.

        Args:
            begin: Tokens of each row's parent path.
            replies: What the generator says of each row.
            before: The reward model's counts before this round.
        """
        outcome = self.outcome
        cached = self._count_scored(before)
        # a round's rows begin with paths that both models have run, but for the path's last token,
        # which was sampled and scored and which the generator has not run yet
        outcome.verifier_recomputed_tokens += max(0, sum(begin) - cached)
        cached = sum(reply["cached_tokens"] for reply in replies)
        outcome.recomputed_tokens += max(0, sum(begin) - len(begin) - cached)
        outcome.retractions += sum(reply["num_retractions"] for reply in replies)

    def _count_scored(self, before: Prefilled) -> int:
        """Add up what the reward model has read since `before`; returns what of it was cached."""
        scored = self._pair.scored
        cached = scored.cached - before.cached
        self.outcome.verifier_cached_tokens += cached
        self.outcome.verifier_tokens += scored.tokens - before.tokens - cached
        return cached

    def _sampling(self, parent: Node, path: Path) -> dict[str, Any]:
        left = self._params.max_tokens - parent.num_tokens
        common = {"temperature": self._params.temperature, "top_p": self._params.top_p}
        return {**common, **self._steps.sampling(path, left)}

    def _node(self, parent: Node, path: Path, value: float) -> Node:
        tokens = len(self.ids[path]) - self._prompt_len
        full = tokens >= self._params.max_tokens
        finish = self._steps.finish(path, self.ids[path], full)
        return Node(path, (*parent.scores, self._steps.score(path, value)), tokens, finish)
