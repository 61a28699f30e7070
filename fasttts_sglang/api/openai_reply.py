"""Search results as OpenAI's completions and chunks."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..search.core import Finish
from ..search.result import Candidate, SearchResult
from .openai_request import OpenAICall


@dataclass(frozen=True, slots=True)
class OpenAIReply:
    """The answers to one call.

    Args:
        rid: The search's id.
        created: Unix time in seconds.
    """

    call: OpenAICall
    rid: str
    created: int

    def completion(self, result: SearchResult) -> dict[str, Any]:
        """The whole answer."""
        chosen = self._chosen(result)
        choices = [
            self._choice(index, one, self._message(one.text)) for index, one in enumerate(chosen)
        ]
        kind = "chat.completion" if self.call.chat else "text_completion"
        return {
            **self._head(kind),
            "choices": choices,
            "usage": _usage(result, chosen),
            "fasttts": _summary(result),
        }

    def progress(self, progress: Mapping[str, Any]) -> dict[str, Any]:
        """A chunk with no text in it that tells how far the search is."""
        nothing = {"index": 0, **self._delta(), "finish_reason": None}
        return {**self._chunk([nothing]), "fasttts_progress": dict(progress)}

    def chunks(self, result: SearchResult) -> Iterator[dict[str, Any]]:
        """The answer step by step, choice by choice."""
        chosen = self._chosen(result)
        for index, one in enumerate(chosen):
            for place, text in enumerate(_pieces(one)):
                delta = self._delta(text, first=place == 0)
                yield self._chunk([{"index": index, **delta, "finish_reason": None}])
            end = self._chunk([self._choice(index, one, self._delta())])
            last = index == len(chosen) - 1
            yield {**end, "fasttts": _summary(result)} if last else end
        if self.call.include_usage:
            yield {**self._chunk([]), "usage": _usage(result, chosen)}

    def _chosen(self, result: SearchResult) -> list[Candidate]:
        """The chosen candidate, then the others, best first."""
        if result.best is None:
            return []
        others = [one for one in result.candidates if one.path != result.best.path]
        return [result.best, *others][: self.call.num_choices]

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.rid,
            "object": kind,
            "created": self.created,
            "model": self.call.model,
        }

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        head = self._head("chat.completion.chunk" if self.call.chat else "text_completion")
        usage = {"usage": None} if self.call.include_usage else {}
        return {**head, "choices": choices, **usage}

    def _message(self, text: str) -> dict[str, Any]:
        if not self.call.chat:
            return {"text": text, "logprobs": None}
        return {"message": {"role": "assistant", "content": text}, "logprobs": None}

    def _delta(self, text: str = "", *, first: bool = False) -> dict[str, Any]:
        if not self.call.chat:
            return {"text": text, "logprobs": None}
        role = {"role": "assistant"} if first else {}
        return {"delta": {**role, "content": text} if text else role, "logprobs": None}

    def _choice(self, index: int, one: Candidate, content: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "index": index,
            **content,
            "finish_reason": "stop" if one.finish is Finish.EOS else "length",
            "fasttts": {"answer": one.answer, "score": one.score, "num_tokens": one.num_tokens},
        }


def _pieces(one: Candidate) -> list[str]:
    """The text by steps, unless a character is spread over two of them."""
    steps = [step.text for step in one.steps]
    return steps if "".join(steps) == one.text else [one.text]


def _usage(result: SearchResult, chosen: list[Candidate]) -> dict[str, Any]:
    """Tokens computed for the search, and in the details what became of them."""
    usage = result.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "completion_tokens_details": {
            "choice_tokens": sum(one.num_tokens for one in chosen),
            "speculated_kept_tokens": usage.speculated_kept,
            "speculated_wasted_tokens": usage.speculated_wasted,
            "recomputed_tokens": usage.recomputed_tokens,
            "verifier_tokens": usage.verifier_tokens,
            "verifier_cached_tokens": usage.verifier_cached_tokens,
        },
    }


def _summary(result: SearchResult) -> dict[str, Any]:
    return {
        "answer": result.answer,
        "score": result.best.score if result.best else None,
        "votes": dict(result.votes),
        "num_candidates": len(result.candidates),
        "usage": asdict(result.usage),
        "timing": dict(result.timing),
    }
