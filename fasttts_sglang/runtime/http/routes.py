"""HTTP routes under /fasttts, added to SGLang's own app (its API key middleware covers them)."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from ... import __version__
from ...api.body import ScoreCall, SearchCall, error_body, json_object
from ...errors import BadRequest, SearchFailed
from ...search.algorithms import known, parameters_of
from ...search.result import SearchResult
from . import schema
from .answers import client, error, reply, result, sse

router = APIRouter(prefix="/fasttts", tags=["fasttts"], responses=schema.NO_KEY)


@router.post("/search", responses=schema.SEARCH_REPLIES, openapi_extra=schema.SEARCH_BODY)
async def search(request: Request) -> Any:
    """Run one search.

    The JSON body has one of `prompt`, `messages`, `text` and `input_ids`, any search parameter,
    optionally `rid`, and `stream` to receive progress as server-sent events: `progress` after
    each round, then `result`, or `error`.
    """
    try:
        call = SearchCall.parse(json_object(await request.body()))
        events = client().stream(call.prompt, call.params, rid=call.rid, watch=call.stream)
        if call.stream:
            # the first event is awaited here, so that a bad request is a 400 and not a stream
            first = await anext(events)
            return StreamingResponse(_stream(first, events), media_type="text/event-stream")
        return reply((await result(events, request)).to_dict())
    except (BadRequest, SearchFailed) as exc:
        return error(exc)


@router.post("/score", responses=schema.SCORE_REPLIES, openapi_extra=schema.SCORE_BODY)
async def score(request: Request) -> Any:
    """Score the steps of a given response.

    The JSON body has one of `prompt`, `messages`, `text` and `input_ids`, and `steps` or
    `response`, whose steps are separated by empty lines.
    """
    try:
        call = ScoreCall.parse(json_object(await request.body()))
        scores = await client().score(call.prompt, call.steps, finished=call.finished, rid=call.rid)
        return reply({"steps": call.steps, "scores": scores})
    except (BadRequest, SearchFailed) as exc:
        return error(exc)


@router.get("/status")
async def status() -> dict[str, Any]:
    """Version and configuration of this server, searches in flight, KV memory of both models."""
    seen = client().status()
    memory = await client().memory()
    return {"version": __version__, "algorithms": known(), **seen, "memory": memory}


@router.get("/algorithms")
async def algorithms() -> dict[str, Any]:
    """The algorithms, the parameters that each reads, and a schema of all parameters."""
    return {
        "algorithms": {name: {"parameters": parameters_of(name)} for name in known()},
        "parameters": schema.PARAMETERS["properties"],
    }


async def _stream(first: Any, events: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    try:
        yield _event(first)
        async for event in events:
            yield _event(event)
    except (BadRequest, SearchFailed) as exc:
        yield sse(error_body(exc), "error")


def _event(event: Any) -> bytes:
    if isinstance(event, SearchResult):
        return sse(event.to_dict(), "result")
    return sse(event, "progress")
