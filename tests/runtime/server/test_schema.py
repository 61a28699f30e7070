"""Our routes in the OpenAPI schema, and requests generated from it: no 5xx, refusals by name."""

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import given, settings
from schemathesis import GenerationMode, checks

from .serving import KEY

CAPS = {"n": 8, "branch": 4, "max_tokens": 16, "max_steps": 4}
CHECKS = [
    checks.not_a_server_error,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.status_code_conformance,
]


@pytest.fixture(scope="module")
def ours(url: str) -> Any:
    """The server's schema, with our routes only."""
    whole = requests.get(f"{url}/openapi.json", headers=KEY, timeout=60).json()
    paths = {path: item for path, item in whole["paths"].items() if path.startswith("/fasttts/")}
    schema = schemathesis.openapi.from_dict({**whole, "paths": paths})
    schema.config.update(base_url=url, headers=KEY)
    return schema


def test_the_schema_has_all_our_routes(ours: Any) -> None:
    assert set(ours) == {f"/fasttts/{name}" for name in ("algorithms", "score", "search", "status")}
    body = ours.raw_schema["paths"]["/fasttts/search"]["post"]["requestBody"]
    properties = body["content"]["application/json"]["schema"]["properties"]
    assert properties["n"] == {
        "default": 16,
        "description": "Number of beams, or of samples.",
        "maximum": 4096,
        "minimum": 1,
        "title": "N",
        "type": "integer",
    }


@pytest.mark.parametrize("name", ["algorithms", "status"])
def test_what_is_read_is_as_described(ours: Any, name: str) -> None:
    case = ours[f"/fasttts/{name}"]["GET"].Case()
    reply = case.call_and_validate(checks=CHECKS, headers=KEY)
    assert reply.status_code == 200


@pytest.mark.parametrize("route", ["search", "score"])
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_generated_requests(ours: Any, mode: GenerationMode, route: str) -> None:
    seen = set()

    @given(ours[f"/fasttts/{route}"]["POST"].as_strategy(generation_mode=mode))
    @settings(max_examples=50)
    def check(case: Any) -> None:
        if mode is GenerationMode.POSITIVE and route == "search":
            case.body = cheap(case.body)
        reply = case.call(timeout=120)  # its default of 10 s is short on a busy machine
        case.validate_response(reply, checks=CHECKS)
        seen.add(reply.status_code)
        if reply.status_code == 400:
            error = reply.json()["error"]
            assert error["message"].startswith(f"{error['param']}: ")

    check()
    assert seen == ({200, 400} if mode is GenerationMode.POSITIVE else {400})


def cheap(body: Any) -> Any:
    """The same body, with numbers that a test can wait for: valid ones stay valid."""
    if isinstance(body, dict):
        for name, cap in CAPS.items():
            value = body.setdefault(name, cap)
            body[name] = min(value, cap) if type(value) is int else value
    return body
