"""Generative verifiers: a model that writes a verdict on each step, a token per scheduler step."""

import math
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from sglang.srt.managers.schedule_batch import Req, ScheduleBatch

from ..errors import SearchFailed
from ..verifier.score_cache import ScoreCache
from .reading import ScoreJob
from .rendering import TextRenderer, VerdictText
from .verifier_runner import VerifierRunner
from .verifier_worker import MAX_ROWS, VerifierWorker


@dataclass(slots=True, eq=False)
class _Verdict:
    """What is written on one step."""

    key: bytes  # of the step in the score cache
    wanted: list[tuple[ScoreJob, int]]  # by whom, and as which of its steps
    ids: array  # type: ignore[type-arg]  # the problem, the steps up to this one, the question
    written: list[int] = field(default_factory=list)
    forced: list[int] = field(default_factory=list)  # still to be written, whatever the model says
    ready: bool = False  # the next logits hold the score
    req: Req | None = None


class GenerativeVerifier(VerifierRunner):
    """Greedy decoding on the verifier's own KV pool, in groups of up to MAX_ROWS verdicts.

    `score` only takes note of jobs; every `step` writes one more token of each verdict of the
    group, so that the generator's decode steps go on in between. A job is done when all its steps
    have their score: the probability of the first of the family's two labels where a verdict ends.

    Args:
        verdict_tokens: Longest verdict; then its end is written for the model.
    """

    def __init__(
        self,
        worker: VerifierWorker,
        future_map: Any,
        batch_tokens: int,
        cache: ScoreCache,
        verdict_tokens: int,
    ) -> None:
        super().__init__(worker, future_map, batch_tokens, cache)
        self._limit = verdict_tokens
        assert isinstance(worker.renderer, TextRenderer) and worker.family.verdict is not None
        self._text = VerdictText(worker.renderer, worker.family.verdict)
        self._reserve = self._text.num_question + verdict_tokens + len(self._text.end)
        self._eos = {self._text.eos_id, *(worker.model_config.hf_eos_token_id or ())}
        self._labels = torch.tensor(self._text.labels, device=self._runner.device)
        self._verdicts: dict[bytes, _Verdict] = {}  # equal steps get one verdict
        self._waiting: deque[_Verdict] = deque()
        self._group: list[_Verdict] = []
        self._batch: ScheduleBatch | None = None

    @property
    def max_tokens(self) -> int:
        """Longest path that leaves room for a verdict."""
        return super().max_tokens - self._reserve

    @property
    def busy(self) -> bool:
        """Whether verdicts are being written."""
        return bool(self._waiting or self._group)

    def score(self, jobs: Sequence[ScoreJob]) -> None:
        """Take note of the jobs; `step` does them."""
        for job in jobs:
            job.scores = [float("nan")] * len(job.ends)
            job.missing = 0
            for number, key in enumerate(job.keys):
                known = self.cache.get(key)
                if known is not None:
                    job.scores[number] = known
                    continue
                job.missing += 1
                if (verdict := self._verdicts.get(key)) is None:
                    verdict = self._verdicts[key] = _Verdict(key, [], job.question(number))
                    self._waiting.append(verdict)
                verdict.wanted.append((job, number))

    def drop(self, jobs: Sequence[ScoreJob]) -> None:
        """Nobody wants these jobs any more."""
        dropped = set(map(id, jobs))
        for verdict in list(self._verdicts.values()):
            verdict.wanted = [(job, n) for job, n in verdict.wanted if id(job) not in dropped]
            if not verdict.wanted:
                del self._verdicts[verdict.key]
        self._waiting = deque(verdict for verdict in self._waiting if verdict.wanted)
        self._end([verdict for verdict in self._group if not verdict.wanted])

    def step(self) -> None:
        """One more token of every verdict of the group; a new group if there is none.

        What fails, or does not fit into the verifier's KV cache, leaves an `error` in its jobs.
        """
        try:
            with self.worker.own_config():
                self._write(self._begin() if self._batch is None else self._decode())
        except Exception as exc:
            lost = self._group or list(self._waiting)[:1]
            for verdict in lost:
                self._verdicts.pop(verdict.key, None)  # it may have been taken already
                for job, _ in verdict.wanted:
                    job.error = f"the verifier failed: {exc}"
            self._waiting = deque(verdict for verdict in self._waiting if verdict not in lost)
            self._rows.release([v.req for v in self._group if v.req is not None], keep=False)
            self._group, self._batch = [], None

    def leak(self) -> str | None:
        """As the base class; while verdicts are written nothing can be said."""
        return None if self.busy else super().leak()

    # -- one token ---------------------------------------------------------------------

    def _begin(self) -> torch.Tensor:
        """Prefill a new group: as many as there is room for to their ends."""
        reqs: list[Req] = []
        room = self._rows.room
        tokens = 0
        while self._waiting and len(self._group) < MAX_ROWS:
            verdict = self._waiting[0]
            need = len(verdict.ids) + self._limit + len(self._text.end)
            if need > room or (reqs and tokens + len(verdict.ids) > self._batch_tokens):
                break
            room -= need
            tokens += len(verdict.ids)
            verdict.req = self._admitted(verdict)
            self._group.append(self._waiting.popleft())
            reqs.append(verdict.req)
        if not reqs:
            raise SearchFailed(
                f"{len(self._waiting[0].ids)} tokens and a verdict of up to {self._limit} do not"
                f" fit into its KV cache of {self._runner.max_total_num_tokens} tokens"
            )
        self._batch = self._rows.prefill(reqs)
        return self._forward(self._batch)

    def _admitted(self, verdict: _Verdict) -> Req:
        req = self._rows.request(verdict.ids, len(verdict.ids) - 1)
        req.set_extend_range(len(req.prefix_indices), len(verdict.ids))
        first, _ = verdict.wanted[0]
        first.computed += len(verdict.ids) - len(req.prefix_indices)
        first.cached += len(req.prefix_indices)
        return req

    def _decode(self) -> torch.Tensor:
        assert self._batch is not None
        self._batch.prepare_for_decode()
        for verdict in self._group:
            verdict.wanted[0][0].computed += 1
        return self._forward(self._batch)

    def _write(self, logits: torch.Tensor) -> None:
        """Read what is ready, choose the next token of the others.

        Args:
            logits: [group, vocab_size].
        """
        likely = logits.argmax(-1).tolist()
        first = logits[:, self._labels].float().softmax(-1)[:, 0].tolist()
        done, tokens = [], []
        for index, verdict in enumerate(self._group):
            if verdict.ready:
                self._take(verdict, first[index])
                done.append(verdict)
                continue
            token = self._next(verdict, likely[index])
            verdict.written.append(token)
            verdict.req.output_ids.append(token)  # type: ignore[union-attr]
            tokens.append(token)
        self._end(done)
        if self._batch is not None:
            self._batch.input_ids = torch.tensor(tokens, device=logits.device)

    def _next(self, verdict: _Verdict, token: int) -> int:
        """The token that is written: the model's, unless the end is due."""
        enough = token in self._eos or len(verdict.written) >= self._limit
        if not verdict.forced and not enough:
            written = [*verdict.written, token]
            verdict.ready = self._text.has_ended(written)
            if self._text.must_end(written):
                verdict.forced = list(self._text.end)
            return token
        verdict.forced = verdict.forced or list(self._text.end)
        token = verdict.forced.pop(0)
        verdict.ready = not verdict.forced
        return token

    def _take(self, verdict: _Verdict, score: float) -> None:
        del self._verdicts[verdict.key]
        for job, number in verdict.wanted:
            job.scores[number] = score
            job.missing -= 1
        if math.isfinite(score):
            self.cache.put(verdict.key, score)

    def _end(self, verdicts: Iterable[_Verdict]) -> None:
        """Let these rows go; their KV stays cached for what begins the same."""
        ended = set(map(id, verdicts))
        if not ended or self._batch is None:
            return
        self._rows.release([v.req for v in self._group if id(v) in ended and v.req], keep=True)
        keep = [i for i, v in enumerate(self._group) if id(v) not in ended]
        self._group = [self._group[i] for i in keep]
        if keep:
            self._batch.filter_batch(keep_indices=keep)
        else:
            self._batch = None
