"""SGLang's OpenAI routes behind ours: where they are, and that they get requests as they came."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from fasttts_sglang.errors import IncompatibleSGLang
from fasttts_sglang.runtime.http import openai

Messages = list[dict[str, Any]]


def test_both_routes_are_found_once_and_taken_once() -> None:
    from sglang.srt.entrypoints.http_server import app

    routes = [r for r in app.router.routes if getattr(r, "path", "") in (openai.CHAT, openai.TEXT)]
    before = [route.app for route in routes]
    try:
        openai.take_over(app)
        taken = [route.app for route in routes]
        openai.take_over(app)
        assert [route.app for route in routes] == taken
        assert len(taken) == 2
        assert all(isinstance(ours, openai._Route) for ours in taken)
        assert not {"messages", "fasttts"} <= set(taken[0]._known)
    finally:
        for route, stock in zip(routes, before, strict=True):
            route.app = stock


def test_an_app_without_the_routes_is_refused() -> None:
    from fastapi import FastAPI

    with pytest.raises(IncompatibleSGLang, match="no single route /v1/chat/completions"):
        openai.take_over(FastAPI())


def post(
    body: list[bytes], default: dict[str, Any] | None, content_type: str = "application/json"
) -> tuple[Messages, Messages]:
    """What the stock handler receives, and what the client gets."""
    received: Messages = []
    sent: Messages = []
    incoming: Messages = [
        {"type": "http.request", "body": part, "more_body": True} for part in body
    ]
    incoming += [
        {"type": "http.request", "body": b"", "more_body": False},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    async def stock(_scope: Any, receive: Any, _send: Any) -> None:
        received.extend([await receive(), await receive()])

    headers = [(b"content-type", content_type.encode())]
    scope = {"type": "http", "method": "POST", "path": openai.CHAT, "headers": headers}
    route = openai._Route(stock, chat=True, known={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai, "client", lambda: SimpleNamespace(default_search=default))
        asyncio.run(route(scope, receive, send))
    return received, sent


ORDINARY = [
    (b'{"messages": [ ],  "temperature":0}', None),
    (b'{"messages": "says \\"fasttts\\""}', None),
    (b'{"messages": [], "fasttts": false}', None),
    (b'{"messages": [], "fasttts": null}', None),
    (b'{"messages": [], "fasttts": false}', {"n": 4}),
    (b"{", None),
    (b"", None),
    (b"\xff", None),
]


@pytest.mark.parametrize(("body", "default"), ORDINARY)
def test_an_ordinary_request_reaches_sglang_as_it_came(body: bytes, default: Any) -> None:
    received, sent = post([body[:5], body[5:]], default)
    assert received == [
        {"type": "http.request", "body": body, "more_body": False},
        {"type": "http.disconnect"},
    ]
    assert sent == []


def test_another_content_type_is_left_to_sglang() -> None:
    received, _ = post([b'{"fasttts": {}}'], None, "text/plain")
    assert received


@pytest.mark.parametrize(
    ("body", "default", "param"),
    [
        (b'{"messages": [], "fasttts": {}}', None, "messages"),
        (b'{"fasttts": [], "messages": 1}', None, "fasttts"),
        (b'{"fasttts"', None, "body"),
        (b'{"messages": []}', {"n": 4}, "messages"),
        (b"{", {"n": 4}, "body"),
    ],
)
def test_a_request_for_a_search_is_ours(body: bytes, default: Any, param: str) -> None:
    received, sent = post([body], default)
    assert received == []
    assert sent[0]["status"] == 400
    assert json.loads(sent[1]["body"])["error"]["param"] == param
