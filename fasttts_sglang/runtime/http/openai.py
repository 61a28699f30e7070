"""Searches on OpenAI's routes. A request that asks for none reaches SGLang as it came."""

import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from ...api.body import error_body, json_object
from ...api.openai_reply import OpenAIReply
from ...api.openai_request import OpenAICall
from ...errors import BadRequest, IncompatibleSGLang, SearchFailed
from ...search.result import SearchResult
from . import answers
from .answers import client, result, sse

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def take_over(app: Any) -> None:
    """Put ourselves before SGLang's handlers of the two routes.

    Raises:
        IncompatibleSGLang: A route is not where it was.
    """
    from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest, CompletionRequest

    for path, model in ((CHAT, ChatCompletionRequest), (TEXT, CompletionRequest)):
        found = [route for route in app.router.routes if getattr(route, "path", None) == path]
        if len(found) != 1 or not callable(getattr(found[0], "app", None)):
            raise IncompatibleSGLang(f"SGLang's app has no single route {path}")
        known = {name: field.default for name, field in model.model_fields.items()}
        if not isinstance(found[0].app, _Route):
            found[0].app = _Route(found[0].app, chat=path == CHAT, known=known)


class _Route:
    """An ASGI app in front of SGLang's handler of one route.

    Args:
        stock: SGLang's handler.
        known: SGLang's fields of this route and their defaults.
    """

    def __init__(self, stock: Any, *, chat: bool, known: Mapping[str, Any]) -> None:
        self._stock = stock
        self._chat = chat
        self._known = known

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        try:
            raw = await request.body()
        except ClientDisconnect:
            return
        response = None
        if request.headers.get("content-type", "").lower().startswith("application/json"):
            response = await self._answer(raw, request)
        if response is None:
            await self._stock(scope, _again(raw, receive), send)
        else:
            await response(scope, receive, send)

    async def _answer(self, raw: bytes, request: Request) -> Any:
        """Our response, or None if the request asks for no search."""
        default = client().default_search
        if default is None and b'"fasttts"' not in raw:
            return None
        try:
            body = json_object(raw)
            own = body.get("fasttts")
            if own is False or (own is None and default is None):
                return None
            call = OpenAICall.parse(body, chat=self._chat, default=default, known=self._known)
            return await _search(call, request)
        except (BadRequest, SearchFailed) as exc:
            return answers.error(exc)


def _again(raw: bytes, receive: Any) -> Any:
    """A `receive` that gives the body that was read already, then what `receive` gives."""
    parts = [{"type": "http.request", "body": raw, "more_body": False}]

    async def replay() -> Any:
        return parts.pop() if parts else await receive()

    return replay


async def _search(call: OpenAICall, request: Request) -> Any:
    if ":" in call.model and call.model != client().served_model:
        raise BadRequest("model", f"{call.model!r} names a LoRA adapter; a search uses none")
    rid = call.rid or f"{'chatcmpl' if call.chat else 'cmpl'}-{uuid.uuid4().hex}"
    reply = OpenAIReply(call, rid, int(time.time()))
    events = client().stream(call.prompt, call.params, rid=rid, watch=call.stream)
    try:
        if not call.stream:
            return answers.reply(reply.completion(await result(events, request)))
        # the first event is awaited here, so that a bad request is a 400 and not a stream
        first = await anext(events)
    except BadRequest as exc:
        raise call.in_its_terms(exc) from exc
    return StreamingResponse(_stream(reply, first, events), media_type="text/event-stream")


async def _stream(reply: OpenAIReply, first: Any, events: AsyncIterator[Any]) -> Any:
    """Chunks without an event name: OpenAI's clients take every event for a chunk."""
    try:
        for chunk in _chunks(reply, first):
            yield sse(chunk)
        async for event in events:
            for chunk in _chunks(reply, event):
                yield sse(chunk)
        yield b"data: [DONE]\n\n"
    except (BadRequest, SearchFailed) as exc:
        yield sse(error_body(exc))


def _chunks(reply: OpenAIReply, event: Any) -> list[dict[str, Any]]:
    if isinstance(event, SearchResult):
        return list(reply.chunks(event))
    return [reply.progress(event)]
