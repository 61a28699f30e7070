"""OpenAI's chat and text completion requests, read as searches. Nothing is silently ignored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import BadRequest
from ..search.params import SearchParams
from .body import RawText, is_ids, messages, take_flag, take_rid

SAMPLING = ("temperature", "top_p", "top_k", "seed")
"""Fields that mean the same there and in a search."""

LABELS = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key")
"""Fields that change no answer."""

HARMLESS: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "parallel_tool_calls": (False,),
    "response_format": ({"type": "text"},),
    "stop": ([],),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
}
"""Values that ask for nothing, beside SGLang's defaults."""

WHY_NOT = {
    "stop": "would end a whole answer, which a search cannot do; fasttts.stop ends steps",
    "best_of": "is the search's width here: give fasttts.n",
}


@dataclass(frozen=True, slots=True)
class OpenAICall:
    """A completion request that asks for a search."""

    chat: bool  # /v1/chat/completions, else /v1/completions
    prompt: Any  # messages; or RawText or token ids of a text completion
    params: SearchParams
    model: str
    num_choices: int
    stream: bool
    include_usage: bool  # a last chunk with the usage
    rid: str | None

    @classmethod
    def parse(
        cls,
        body: Mapping[str, Any],
        *,
        chat: bool,
        default: Mapping[str, Any] | None,
        known: Mapping[str, Any],
    ) -> "OpenAICall":
        """Read `body`.

        Args:
            default: Search parameters of a server that searches unless told otherwise.
            known: SGLang's fields of this route and their defaults.

        Raises:
            BadRequest: A field is wrong, or asks for what a search cannot do.
        """
        fields = dict(body)
        own = _own(fields.pop("fasttts", None))
        prompt = _prompt(fields, chat)
        params = _params(default or {}, own, _shared(fields))
        stream = take_flag(fields, "stream")
        call = cls(
            chat=chat,
            prompt=prompt,
            params=params,
            model=_model(fields.pop("model", None)),
            num_choices=_num_choices(fields.pop("n", None), params),
            stream=stream,
            include_usage=_include_usage(fields.pop("stream_options", None), stream),
            rid=take_rid(fields),
        )
        _refuse_the_rest(fields, known)
        return call

    def in_its_terms(self, exc: BadRequest) -> BadRequest:
        """A refusal by the scheduler, with the field named as this request names it."""
        if exc.field == "prompt" and self.chat:
            return BadRequest("messages", exc.reason)
        own = exc.field in self.params.to_dict() and exc.field not in (*SAMPLING, "max_tokens")
        return BadRequest(f"fasttts.{exc.field}", exc.reason) if own else exc


def _own(value: Any) -> dict[str, Any]:
    if value is None or value is True:
        return {}
    if not isinstance(value, dict):
        raise BadRequest("fasttts", f"must be an object, true or false, got {value!r}")
    return value


def _prompt(fields: dict[str, Any], chat: bool) -> Any:
    name = "messages" if chat else "prompt"
    if name not in fields:
        raise BadRequest(name, "is missing")
    value = fields.pop(name)
    if chat:
        return messages(value)
    if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], int):
        (value,) = value
    if not (isinstance(value, str) and value) and not is_ids(value):
        raise BadRequest(name, "must be one text, or its token ids, and not empty")
    return RawText(value) if isinstance(value, str) else value


def _shared(fields: dict[str, Any]) -> dict[str, Any]:
    """Remove the fields that are search parameters too; null is absent."""
    found = {name: fields.pop(name, None) for name in SAMPLING}
    limits = {name: fields.pop(name, None) for name in ("max_completion_tokens", "max_tokens")}
    given = {name: value for name, value in limits.items() if value is not None}
    if len(given) == 2 and len({repr(value) for value in given.values()}) == 2:
        raise BadRequest("max_tokens", f"contradicts max_completion_tokens: {given}")
    found["max_tokens"] = next(iter(given.values()), None)
    return {name: value for name, value in found.items() if value is not None}


def _params(
    default: Mapping[str, Any], own: Mapping[str, Any], shared: Mapping[str, Any]
) -> SearchParams:
    for name in own.keys() & shared.keys():
        if own[name] != shared[name]:
            raise BadRequest(
                f"fasttts.{name}", f"{own[name]!r} contradicts {name}={shared[name]!r}"
            )
    try:
        return SearchParams.from_dict({**default, **own, **shared})
    except BadRequest as exc:
        if exc.field in shared:
            raise
        raise BadRequest(f"fasttts.{exc.field}", exc.reason) from None


def _model(value: Any) -> str:
    if value is None:
        return "default"
    if not isinstance(value, str):
        raise BadRequest("model", f"must be text, got {value!r}")
    return value


def _num_choices(value: Any, params: SearchParams) -> int:
    if value is None:
        return 1
    if type(value) is not int or not 1 <= value <= params.n:
        raise BadRequest(
            "n", f"choices to return: must be in [1, {params.n}], the search's width, got {value!r}"
        )
    return value


def _include_usage(options: Any, stream: bool) -> bool:
    if options is None:
        return False
    if not stream:
        raise BadRequest("stream_options", "needs stream")
    if not isinstance(options, dict):
        raise BadRequest("stream_options", f"must be an object, got {options!r}")
    rest = dict(options)
    found = take_flag(rest, "include_usage")
    if wrong := [name for name, value in rest.items() if value not in (None, False)]:
        raise BadRequest("stream_options", f"a search knows include_usage only, got {wrong[0]}")
    return found


def _refuse_the_rest(fields: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if value is None or name in LABELS:
            continue
        nothing = [entry for entry in HARMLESS.get(name, ()) if type(entry) is type(value)]
        if value in nothing or (name in known and value == known[name]):
            continue
        if name in known or name in HARMLESS:
            reason = WHY_NOT.get(name, "a search cannot honour it")
            raise BadRequest(name, f'{reason} ("fasttts": false asks for no search)')
        raise BadRequest(name, "is no field of this route")
