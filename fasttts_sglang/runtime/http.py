"""HTTP routes under /fasttts, added to SGLang's own app (its API key middleware covers them)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import ORJSONResponse, StreamingResponse

from .. import __version__
from ..errors import BadRequest, SearchFailed
from ..search.algorithms import known
from ..search.params import SearchParams
from ..search.result import SearchResult

router = APIRouter(prefix="/fasttts", tags=["fasttts"])

_PROMPTS = ("prompt", "messages", "input_ids")
_POLL_S = 0.5  # how often a waiting request looks whether its client is still there


@router.post("/search")
async def search(request: Request) -> Any:
    """Run one search.

    The JSON body has one of `prompt`, `messages` and `input_ids`, any field of SearchParams,
    optionally `rid`, and `stream` to receive progress as server-sent events.
    """
    try:
        prompt, params, rid, stream = _parse(await request.body())
        events = _client().stream(prompt, params, rid=rid, watch=stream)
        if stream:
            # the first event is awaited here, so that a bad request is a 400 and not a stream
            first = await anext(events)
            return StreamingResponse(_sse(first, events), media_type="text/event-stream")
        return ORJSONResponse(await _result(events, request))
    except (BadRequest, SearchFailed) as exc:
        return _error(exc)


@router.get("/status")
async def status() -> dict[str, Any]:
    """Versions and configuration of this server."""
    return {"version": __version__, "algorithms": sorted(known()), **_client().status()}


async def _result(events: AsyncIterator[Any], request: Request) -> dict[str, Any]:
    """The final event as a dict; a client that hangs up cancels the search."""
    task = asyncio.ensure_future(_last(events))
    try:
        while not (await asyncio.wait({task}, timeout=_POLL_S))[0]:
            if await request.is_disconnected():
                raise SearchFailed("the client closed the connection")
        return await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def _last(events: AsyncIterator[Any]) -> dict[str, Any]:
    async for event in events:
        if isinstance(event, SearchResult):
            return event.to_dict()
    raise SearchFailed("the search ended without a reply")


async def _sse(first: Any, events: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    try:
        yield _event(first)
        async for event in events:
            yield _event(event)
    except (BadRequest, SearchFailed) as exc:
        yield b"event: error\ndata: " + orjson.dumps(_error_body(exc)) + b"\n\n"


def _event(event: Any) -> bytes:
    name, body = (
        ("result", event.to_dict()) if isinstance(event, SearchResult) else ("progress", event)
    )
    return f"event: {name}\ndata: ".encode() + orjson.dumps(body) + b"\n\n"


def _parse(body: bytes) -> tuple[Any, SearchParams, str | None, bool]:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise BadRequest("body", f"is not JSON: {exc}") from exc
    if not isinstance(fields, dict):
        raise BadRequest("body", "must be a JSON object")
    given = [name for name in _PROMPTS if name in fields]
    if len(given) != 1:
        raise BadRequest("prompt", f"give exactly one of {', '.join(_PROMPTS)}, got {given}")
    prompt = _check_prompt(given[0], fields.pop(given[0]))
    rid, stream = fields.pop("rid", None), fields.pop("stream", False)
    if rid is not None and not (isinstance(rid, str) and 0 < len(rid) <= 128):
        raise BadRequest("rid", "must be a string of 1 to 128 characters")
    if not isinstance(stream, bool):
        raise BadRequest("stream", f"must be true or false, got {stream!r}")
    return prompt, SearchParams.from_dict(fields), rid, stream


def _check_prompt(name: str, value: Any) -> Any:
    ok: Any
    if name == "prompt":
        ok = isinstance(value, str) and value != ""
    elif name == "messages":
        ok = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    else:
        ok = isinstance(value, list) and value and all(type(item) is int for item in value)
    if not ok:
        kinds = {"prompt": "text", "messages": "a list of messages", "input_ids": "token ids"}
        raise BadRequest(name, f"must be {kinds[name]}, and not empty")
    return value


def _client() -> Any:
    from sglang.srt.entrypoints.http_server import get_global_state

    return get_global_state().tokenizer_manager.fasttts


def _error(exc: BadRequest | SearchFailed) -> ORJSONResponse:
    return ORJSONResponse(_error_body(exc), status_code=400 if isinstance(exc, BadRequest) else 500)


def _error_body(exc: BadRequest | SearchFailed) -> dict[str, Any]:
    field = exc.field if isinstance(exc, BadRequest) else None
    kind = "invalid_request_error" if isinstance(exc, BadRequest) else "search_failed"
    return {"error": {"message": str(exc), "type": kind, "param": field, "code": None}}
