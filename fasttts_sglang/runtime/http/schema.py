"""The OpenAPI schema of our routes, generated from the dataclasses that do the checking."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal, get_origin

from pydantic import BaseModel, ConfigDict, Field, create_model

from ...api.body import MAX_RID, MAX_STEPS, PROMPTS
from ...fields import types
from ...search.params import SearchParams
from ...search.result import SearchResult


def options_model(owner: type, **others: Any) -> type[BaseModel]:
    """A pydantic model of a dataclass whose fields are made by `fields.option`.

    Args:
        others: Further fields, as `pydantic.create_model` takes them.
    """
    hints = types(owner)
    found: dict[str, Any] = {}
    for entry in fields(owner):
        meta, kind = entry.metadata, hints[entry.name]
        low, high = "ge", "le"
        if get_origin(kind) is tuple:
            low, high = "min_length", "max_length"
        elif meta["choices"]:
            none = Literal[None] if entry.default is None else Literal[meta["choices"]]
            kind = Literal[meta["choices"]] | none
        limits = {low: meta["ge"], high: meta["le"], "gt": meta["gt"]}
        given = {name: limit for name, limit in limits.items() if limit is not None}
        found[entry.name] = (kind, Field(entry.default, description=meta["help"], **given))
    return create_model(
        owner.__name__, __config__=ConfigDict(extra="forbid", strict=True), **found, **others
    )


class _Fault(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class Problem(BaseModel):
    """An error in OpenAI's shape; `param` names the field at fault."""

    error: _Fault


_REPLY: dict[str, Any] = {name: (kind, ...) for name, kind in types(SearchResult).items()}
SearchReply = create_model("SearchReply", **{**_REPLY, "best": (int | None, ...)})

PARAMETERS = options_model(SearchParams).model_json_schema()

_MESSAGE: dict[str, Any] = {
    "type": "object",
    "properties": {"role": {"type": "string"}, "content": {"type": "string"}},
    "required": ["role", "content"],
}

_PROMPT: dict[str, Any] = {
    "prompt": (str, Field(None, min_length=1, description="The user's text.")),
    "messages": (
        list[dict[str, Any]],
        Field(None, min_length=1, description="A chat.", json_schema_extra={"items": _MESSAGE}),
    ),
    "text": (str, Field(None, min_length=1, description="Text to continue, without a template.")),
    "input_ids": (
        list[int],
        Field(None, min_length=1, description="Token ids, taken as they are."),
    ),
    "rid": (
        str | None,
        Field(None, min_length=1, max_length=MAX_RID, description="The request's id."),
    ),
}
_SEARCH = options_model(
    SearchParams,
    **_PROMPT,
    stream=(bool | None, Field(False, description="Progress as server-sent events.")),
).model_json_schema()
_STEPS = Field(None, min_length=1, max_length=MAX_STEPS, description="Texts, with separators.")
_SCORE = create_model(
    "ScoreBody",
    __config__=ConfigDict(extra="forbid", strict=True),
    **_PROMPT,
    steps=(list[Annotated[str, Field(min_length=1)]], _STEPS),
    response=(str, Field(None, min_length=1, description="Steps separated by empty lines.")),
    finished=(bool | None, Field(True, description="Whether the last step ends the answer.")),
).model_json_schema()


def _body(schema: dict[str, Any], *alternatives: Sequence[str]) -> dict[str, Any]:
    """A required JSON body with exactly one field of each of `alternatives`."""
    one = [{"oneOf": [{"required": [name]} for name in names]} for names in alternatives]
    content = {"application/json": {"schema": {**schema, "allOf": one}}}
    return {"requestBody": {"required": True, "content": content}}


SEARCH_BODY = _body(_SEARCH, PROMPTS)
SCORE_BODY = _body(_SCORE, PROMPTS, ("steps", "response"))

NO_KEY: dict[int | str, dict[str, Any]] = {401: {"description": "The API key is not the server's."}}

SEARCH_REPLIES: dict[int | str, dict[str, Any]] = {
    200: {"model": SearchReply, "content": {"text/event-stream": {}}},
    400: {"model": Problem, "description": "A field is wrong; `param` names it."},
    500: {"model": Problem, "description": "The search failed."},
}


class ScoreReply(BaseModel):
    """Per step, how probable it is that all is right up to there."""

    steps: list[str]
    scores: list[float]


SCORE_REPLIES = {**SEARCH_REPLIES, 200: {"model": ScoreReply}}
