"""From a running search to a response: whole, or as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response

from ...api.body import error_body
from ...errors import BadRequest, SearchFailed
from ...search.result import SearchResult

_POLL_S = 0.5  # how often a waiting request looks whether its client is still there


def client() -> Any:
    """The server's SearchClient."""
    from sglang.srt.entrypoints.http_server import get_global_state

    return get_global_state().tokenizer_manager.fasttts


async def result(events: AsyncIterator[Any], request: Request) -> SearchResult:
    """The last event; a client that hangs up cancels the search."""
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


async def _last(events: AsyncIterator[Any]) -> SearchResult:
    async for event in events:
        if isinstance(event, SearchResult):
            return event
    raise SearchFailed("the search ended without a reply")


def sse(body: Any, event: str | None = None) -> bytes:
    """One server-sent event; without a name it is a `message`."""
    name = b"" if event is None else f"event: {event}\n".encode()
    return name + b"data: " + orjson.dumps(body) + b"\n\n"


def reply(body: Any, status: int = 200) -> Response:
    """A JSON response."""
    return Response(orjson.dumps(body), status, media_type="application/json")


def error(exc: BadRequest | SearchFailed) -> Response:
    """400 for a wrong field, 500 for a search that failed."""
    return reply(error_body(exc), 400 if isinstance(exc, BadRequest) else 500)
