"""What the scheduler found, as the client gets it: texts, answers, the choice among them."""

import asyncio
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from ..mathematics import equality
from ..search.aggregate import AGGREGATIONS
from ..search.answers import select
from ..search.core import Finish
from ..search.extraction import extract
from ..search.params import SearchParams
from ..search.result import Candidate, Fate, SearchResult, Step, TreeNode, Usage
from ..telemetry.timeline import Span
from .messages import SearchDone, SearchMessage


class Results:
    """Makes them, with the generator's tokenizer if there is one."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    async def make(
        self, message: SearchMessage, params: SearchParams, reply: SearchDone
    ) -> SearchResult:
        """The result of the search that `message` asked for; `reply` is no failure."""
        candidates = [self._candidate(raw, params) for raw in reply.candidates]
        if params.grouping == "math":  # may take seconds: other searches go on meanwhile
            choice = await asyncio.to_thread(
                select, candidates, params.chosen_by, equality.Equality()
            )
        else:
            choice = select(candidates, params.chosen_by)
        return SearchResult(
            id=message.rid,
            answer=choice.answer,
            best=choice.best,
            candidates=tuple(candidates),
            votes=choice.votes,
            usage=Usage.from_dict(reply.usage),
            timing=reply.timing,
            stopped=reply.stopped,
            params=params.to_dict(),
            timeline=tuple(map(Span.from_dict, reply.timeline)),
            nodes=tuple(map(self._node, reply.nodes)),
            problem=message.problem if params.timeline else None,
        )

    def _candidate(self, raw: dict[str, Any], params: SearchParams) -> Candidate:
        ids, scores = raw["ids"], raw["scores"]
        text = self._decode(ids)
        return Candidate(
            path=tuple(raw["path"]),
            text=text,
            steps=self._steps(ids, raw["ends"], scores),
            score=AGGREGATIONS[params.aggregation](tuple(scores)) if scores else None,
            finish=Finish(raw["finish"]),
            answer=extract(text, params.answer),
            num_tokens=len(ids),
            complete_s=raw["complete_s"],
        )

    def _node(self, raw: dict[str, Any]) -> TreeNode:
        return TreeNode(
            path=tuple(raw["path"]),
            steps=self._steps(raw["ids"], raw["ends"], raw["scores"]),
            fate=Fate(raw["fate"]),
            finish=None if raw["finish"] is None else Finish(raw["finish"]),
            round=raw["round"],
        )

    def _steps(
        self, ids: Sequence[int], ends: Sequence[int], scores: Sequence[float]
    ) -> tuple[Step, ...]:
        pieces = [ids[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
        return tuple(
            Step(self._decode(piece), tuple(piece), score)
            for piece, score in zip_longest(pieces, scores)
        )

    def _decode(self, ids: Sequence[int]) -> str:
        tokenizer = self._tokenizer
        return str(tokenizer.decode(ids, skip_special_tokens=True)) if tokenizer else ""
