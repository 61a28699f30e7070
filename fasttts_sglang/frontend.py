"""Searches inside `@sgl.function` programs.

    from fasttts_sglang import frontend as fasttts

    @sgl.function
    def solve(s, problem):
        s += sgl.user(problem)
        s += sgl.assistant(fasttts.search("answer", algorithm="beam", n=16))

    state = solve.run("12*(34+5)-6", backend=fasttts.Endpoint("http://localhost:30000"))
    state["answer"]                          # the best path's whole text
    state.get_meta_info("answer")["answer"]  # what was read off it

A `FastTTSEngine` is a backend too. sglang.lang has no registry of expressions; a search is a
`select` whose method of choosing is a search, and our backends know that method.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sglang.lang.backend.base_backend import BaseBackend
from sglang.lang.backend.runtime_endpoint import RuntimeEndpoint
from sglang.lang.chat_template import get_chat_template, get_chat_template_by_model_path
from sglang.lang.choices import ChoicesDecision
from sglang.lang.interpreter import ProgramState
from sglang.lang.ir import SglSelect
from sglang.utils import http_request

from .api.body import RawText, split_steps
from .search.params import SearchParams
from .search.result import SearchResult

if TYPE_CHECKING:
    from .engine import FastTTSEngine


@dataclass(frozen=True, slots=True)
class SearchMethod:
    """What tells our backends that a select is a search."""

    params: SearchParams


@dataclass(frozen=True, slots=True)
class ScoreMethod:
    """What tells our backends that a select is a question to the verifier."""

    of: str | None


def search(name: str, params: SearchParams | None = None, **fields: Any) -> SglSelect:
    """An expression that searches how the text goes on, and appends the best path.

    Right after the start of the assistant's turn the search gets the messages so far, and the
    server applies the model's own chat template; anywhere else it continues the text as it is.

    Args:
        name: The variable. `state[name]` is the text; `state.get_meta_info(name)` has `answer`,
            `score`, `step_scores`, `votes`, `usage`, `timing`, and the whole `result`.
        params: Search parameters.
        fields: Fields of SearchParams that differ from `params`.

    Raises:
        BadRequest: A field is wrong.
    """
    base = params.to_dict() if params else {}
    return SglSelect(name, [], 0.0, SearchMethod(SearchParams.from_dict({**base, **fields})))


def score(name: str, of: str | None = None) -> SglSelect:
    """An expression that has the verifier score the reasoning so far; it appends no text.

    Args:
        name: The variable. `state.get_meta_info(name)` has `scores`, one per step (steps are
            separated by empty lines), and the last one as `score`.
        of: The variable that holds the reasoning, where the text ends with it; by default the
            assistant's turn. What stands before it is the problem.
    """
    return SglSelect(name, [], 0.0, ScoreMethod(of))


def select(states: Iterable[ProgramState], name: str, key: str = "score") -> ProgramState:
    """The state, of several forks, whose variable `name` has the highest `key` in its meta info.

    The first of equals wins; a state without a number there is worth least.

    Raises:
        ValueError: There are no states.
    """

    def worth(state: ProgramState) -> float:
        value = (state.get_meta_info(name) or {}).get(key)
        return float("-inf") if value is None else float(value)

    return max(list(states), key=worth)


class Endpoint(RuntimeEndpoint):
    """`sgl.RuntimeEndpoint` for a server with our plugin: it also runs searches.

    Args:
        base_url, api_key, verify, chat_template_name: As for RuntimeEndpoint.
    """

    def select(
        self, s: Any, choices: list[str], temperature: float, choices_method: Any
    ) -> ChoicesDecision:
        """A search or a score if the method is one, else the stock select."""
        if isinstance(choices_method, ScoreMethod):
            scores = self.score(*_reasoning(s, choices_method.of))
            return ChoicesDecision("", {"score": scores[-1], "scores": scores})
        if not isinstance(choices_method, SearchMethod):
            return super().select(s, choices, temperature, choices_method)
        return _decision(self.search(s, choices_method.params))

    def search(self, s: Any, params: SearchParams) -> SearchResult:
        """Search how the text of executor `s` goes on."""
        prompt = _prompt(s)
        name = "text" if isinstance(prompt, RawText) else "messages"
        reply = self._post("search", {name: prompt, **params.to_dict()})
        return SearchResult.from_dict(reply)

    def score(self, prompt: Any, response: str) -> list[float]:
        """Scores of the steps of `response`."""
        name = "text" if isinstance(prompt, RawText) else "messages"
        scores: list[float] = self._post("score", {name: prompt, "response": response})["scores"]
        return scores

    def _post(self, route: str, body: dict[str, Any]) -> Any:
        reply = http_request(
            f"{self.base_url}/fasttts/{route}",
            json=body,
            api_key=self.api_key,
            verify=self.verify,
        )
        self._assert_success(reply)
        return reply.json()


class EngineEndpoint(Endpoint):
    """A FastTTSEngine as the backend of programs; `engine.endpoint` is one."""

    def __init__(self, engine: "FastTTSEngine", chat_template_name: str | None = None) -> None:
        BaseBackend.__init__(self)
        self._engine = engine
        self.model_info = {"model_path": engine.model_path}
        self.chat_template = (
            get_chat_template(chat_template_name)
            if chat_template_name
            else get_chat_template_by_model_path(engine.model_path)
        )

    def search(self, s: Any, params: SearchParams) -> SearchResult:
        """Search how the text of executor `s` goes on."""
        return self._engine.wait(self._engine.async_search(_prompt(s), params))

    def score(self, prompt: Any, response: str) -> list[float]:
        """Scores of the steps of `response`."""
        return self._engine.wait(self._engine.async_score(prompt, split_steps(response)))

    def generate(self, s: Any, sampling_params: Any) -> tuple[str, dict[str, Any]]:
        """The text that follows, and SGLang's meta info."""
        reply = self._generate_http_request(s, self._request(s, sampling_params))
        return reply["text"], reply["meta_info"]

    def generate_stream(self, s: Any, sampling_params: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """The text that follows, piece by piece."""
        seen = 0
        request = {**self._request(s, sampling_params), "stream": True}
        for chunk in self._generate_http_request(s, request):
            yield chunk["text"][seen:], chunk["meta_info"]
            seen = len(chunk["text"])

    def cache_prefix(self, prefix_str: str) -> None:
        """Bring a text's KV into the cache."""
        self._engine.generate_by({"text": prefix_str, "sampling_params": {"max_new_tokens": 0}})

    def commit_lazy_operations(self, s: Any) -> None:
        """Bring the KV of the text so far into the cache."""
        self._generate_http_request(s, {"text": s.text_, "sampling_params": {"max_new_tokens": 0}})

    fill_image = commit_lazy_operations

    def flush_cache(self) -> None:
        """Forget all cached KV."""
        self._engine.flush_cache()

    def _request(self, s: Any, sampling_params: Any) -> dict[str, Any]:
        self._handle_dtype_to_regex(sampling_params)
        names = (
            "return_logprob",
            "logprob_start_len",
            "top_logprobs_num",
            "return_text_in_logprobs",
        )
        values = {name: getattr(sampling_params, name) for name in names}
        given = {name: value for name, value in values.items() if value is not None}
        return {"text": s.text_, "sampling_params": sampling_params.to_srt_kwargs(), **given}

    def _generate_http_request(self, s: Any, data: dict[str, Any]) -> Any:
        """Where the stock select sends its requests."""
        self._add_images(s, data)
        return self._engine.generate_by(data)


def _prompt(s: Any) -> RawText | list[dict[str, Any]]:
    begun = s.text_[s.cur_role_begin_pos :] if s.cur_role == "assistant" else s.text_
    return RawText(s.text_) if begun or not s.messages_ else list(s.messages_)


def _reasoning(s: Any, of: str | None) -> tuple[RawText | list[dict[str, Any]], str]:
    """The problem and the reasoning of executor `s`."""
    turn = s.text_[s.cur_role_begin_pos :] if s.cur_role == "assistant" else None
    if of is None and turn is None and s.messages_ and s.messages_[-1]["role"] == "assistant":
        return list(s.messages_[:-1]), s.messages_[-1]["content"]
    text = turn if of is None else s.variables.get(of)
    if not text or not s.text_.endswith(text):
        raise ValueError(f"nothing to score: {of or 'the assistant turn'} must end the text")
    if text == turn and s.messages_:
        return list(s.messages_), text
    return RawText(s.text_[: -len(text)]), text


def _decision(result: SearchResult) -> ChoicesDecision:
    best = result.best
    meta = {
        "id": result.id,
        "answer": result.answer,
        "score": best and best.score,
        "step_scores": [step.score for step in best.steps] if best else [],
        "finish_reason": best and best.finish.value,
        "votes": dict(result.votes),
        "usage": asdict(result.usage),
        "timing": dict(result.timing),
        "result": result,
    }
    return ChoicesDecision(best.text if best else "", meta)
