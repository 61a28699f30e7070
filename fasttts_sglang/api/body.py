"""JSON bodies, and the fields that all our routes share."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ..errors import BadRequest, FastTTSError
from ..search.params import SearchParams

PROMPTS = ("prompt", "messages", "text", "input_ids")
MAX_RID = 128
MAX_STEPS = 4096


class RawText(str):
    """A prompt that is continued as it is, without a chat template."""


def json_object(raw: bytes) -> dict[str, Any]:
    """Parse a body.

    Raises:
        BadRequest: It is no JSON object; names the field that holds NaN or an infinity, which
            Python writes and JSON has not.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        for name, number in _numbers(raw):
            if not math.isfinite(number):
                raise BadRequest(name, f"must be a finite number, got {number}") from exc
        raise BadRequest("body", f"is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise BadRequest("body", "must be a JSON object")
    return value


def _numbers(raw: bytes) -> Iterator[tuple[str, float]]:
    """The float fields of a body that is not quite JSON."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return
    todo = list(value.items()) if isinstance(value, dict) else []
    while todo:
        name, entry = todo.pop()
        if isinstance(entry, float):
            yield name, entry
        elif isinstance(entry, dict):
            todo += [(f"{name}.{inner}", item) for inner, item in entry.items()]
        elif isinstance(entry, list):
            todo += [(name, item) for item in entry]


@dataclass(frozen=True, slots=True)
class SearchCall:
    """A body of /fasttts/search."""

    prompt: Any  # text, messages, RawText or token ids
    params: SearchParams
    rid: str | None
    stream: bool

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> "SearchCall":
        """Read one of PROMPTS, `rid`, `stream`, and parameters.

        Raises:
            BadRequest: A field is missing, unknown or wrong.
        """
        fields = dict(body)
        prompt = take_prompt(fields)
        rid, stream = take_rid(fields), take_flag(fields, "stream")
        return cls(prompt, SearchParams.from_dict(fields), rid, stream)


@dataclass(frozen=True, slots=True)
class ScoreCall:
    """A body of /fasttts/score."""

    prompt: Any
    steps: list[str]
    finished: bool
    rid: str | None

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> "ScoreCall":
        """Read one of PROMPTS, one of `steps` and `response`, `finished`, `rid`.

        Raises:
            BadRequest: A field is missing, unknown or wrong.
        """
        fields = dict(body)
        prompt = take_prompt(fields)
        rid, finished = take_rid(fields), take_flag(fields, "finished", True)
        given = [name for name in ("steps", "response") if name in fields]
        if len(given) != 1:
            raise BadRequest("steps", f"give exactly one of steps and response, got {given}")
        value = fields.pop(given[0])
        if fields:
            raise BadRequest(next(iter(fields)), "is no field of this route")
        if given == ["response"]:
            if not isinstance(value, str) or not value.strip():
                raise BadRequest("response", "must be text, and not empty")
            value = split_steps(value)
        if not isinstance(value, list) or not 0 < len(value) <= MAX_STEPS:
            raise BadRequest("steps", f"must be a list of 1 to {MAX_STEPS} texts")
        if not all(isinstance(step, str) and step for step in value):
            raise BadRequest("steps", "each must be text, and not empty")
        return cls(prompt, value, finished, rid)


def split_steps(response: str) -> list[str]:
    """Steps are separated by empty lines, which stay at their ends.

    >>> split_steps("a\\n\\nb\\n\\n")
    ['a\\n\\n', 'b\\n\\n']
    """
    pieces = response.split("\n\n")
    return [piece + "\n\n" for piece in pieces[:-1] if piece] + [p for p in pieces[-1:] if p]


def take_prompt(fields: dict[str, Any]) -> Any:
    """Remove the prompt from `fields`, in whichever form it is."""
    given = [name for name in PROMPTS if name in fields]
    if len(given) != 1:
        raise BadRequest("prompt", f"give exactly one of {', '.join(PROMPTS)}, got {given}")
    (name,) = given
    value = fields.pop(name)
    if name == "messages":
        return messages(value)
    ok = is_ids(value) if name == "input_ids" else isinstance(value, str) and value != ""
    if not ok:
        kind = "token ids" if name == "input_ids" else "text"
        raise BadRequest(name, f"must be {kind}, and not empty")
    return RawText(value) if name == "text" else value


def is_ids(value: Any) -> bool:
    """Whether `value` is a list of token ids, and not empty."""
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)


def messages(value: Any) -> list[dict[str, Any]]:
    """Chat messages with their text parts joined, as chat templates expect.

    Raises:
        BadRequest: They are no messages, or one has something else than text.
    """
    if not isinstance(value, list) or not value:
        raise BadRequest("messages", "must be a list of messages, and not empty")
    return [_message(entry) for entry in value]


def _message(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict) or not isinstance(entry.get("role"), str):
        raise BadRequest("messages", "each must be an object with a role")
    content = entry.get("content")
    if isinstance(content, str):
        return entry
    if content is None and entry["role"] == "assistant":
        return {**entry, "content": ""}
    parts = content if isinstance(content, list) else [None]
    texts = [part.get("text") if isinstance(part, dict) else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise BadRequest("messages", "content must be text or a list of text parts")
    return {**entry, "content": " ".join(map(str, texts))}


def take_rid(fields: dict[str, Any]) -> str | None:
    """Remove the client's id for the search."""
    rid = fields.pop("rid", None)
    if rid is not None and not (isinstance(rid, str) and 0 < len(rid) <= MAX_RID):
        raise BadRequest("rid", f"must be a string of 1 to {MAX_RID} characters")
    return rid


def take_flag(fields: dict[str, Any], name: str, default: bool = False) -> bool:
    """Remove a field that is true or false; null and absent mean `default`."""
    value = fields.pop(name, None)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BadRequest(name, f"must be true or false, got {value!r}")
    return value


def error_body(exc: FastTTSError) -> dict[str, Any]:
    """An error in OpenAI's shape; `param` names the field at fault."""
    field = exc.field if isinstance(exc, BadRequest) else None
    kind = "invalid_request_error" if isinstance(exc, BadRequest) else "search_failed"
    return {"error": {"message": str(exc), "type": kind, "param": field, "code": None}}
