"""OpenAI's routes, spoken to with OpenAI's own client."""

import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import requests

from fasttts_sglang.models import tiny_task

from .serving import KEY, PROBLEM, SEARCH, searches_in_flight

CHAT: Any = {"model": "tiny", "messages": [{"role": "user", "content": PROBLEM}]}
FASTTTS = {name: value for name, value in SEARCH.items() if name != "prompt"}
ASK: Any = {**CHAT, "extra_body": {"fasttts": FASTTTS}}


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="secret", max_retries=0) as client:
        yield client


def best_of(url: str, **body: Any) -> dict[str, Any]:
    """The result of the same search by /fasttts/search."""
    reply = requests.post(f"{url}/fasttts/search", json={**SEARCH, **body}, headers=KEY)
    result: dict[str, Any] = reply.json()
    return result


def test_a_chat_completion_is_the_search_s_best_candidate(url: str, client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(**ASK)
    expected = best_of(url)
    best = expected["candidates"][expected["best"]]
    (choice,) = reply.choices
    assert choice.message.content == best["text"]
    assert choice.finish_reason == "stop"
    assert choice.message.role == "assistant"
    assert reply.model == "tiny"
    assert reply.model_extra is not None
    assert reply.model_extra["fasttts"]["answer"] == expected["answer"]
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == expected["usage"]["prompt_tokens"]
    assert reply.usage.completion_tokens == expected["usage"]["completion_tokens"]
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    details = reply.usage.completion_tokens_details
    assert details is not None
    assert details.model_extra is not None
    assert details.model_extra["choice_tokens"] == best["num_tokens"]
    assert details.model_extra["verifier_tokens"] >= 0


def test_n_is_the_number_of_choices(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(**ASK, n=3)
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    scores = [(choice.model_extra or {})["fasttts"]["score"] for choice in reply.choices]
    assert scores == sorted(scores, reverse=True)


def test_openai_s_fields_steer_the_search(url: str, client: openai.OpenAI) -> None:
    rest = {name: value for name, value in FASTTTS.items() if name != "max_tokens"}
    ask: Any = {**CHAT, "extra_body": {"fasttts": rest}}
    reply = client.chat.completions.create(**ask, seed=7, max_completion_tokens=300, top_p=0.9)
    own = best_of(url, seed=7, max_tokens=300, top_p=0.9)
    assert reply.choices[0].message.content == own["candidates"][own["best"]]["text"]
    cut = client.chat.completions.create(**ask, max_tokens=3)
    assert cut.choices[0].finish_reason == "length"


def test_a_text_completion_is_continued_as_it_is(url: str, client: openai.OpenAI) -> None:
    reply = client.completions.create(model="m", prompt=PROBLEM, extra_body={"fasttts": FASTTTS})
    assert reply.object == "text_completion"
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert reply.usage is not None
    chat = client.chat.completions.create(**ASK)
    assert chat.usage is not None
    assert reply.usage.prompt_tokens < chat.usage.prompt_tokens  # no chat template
    raw = requests.post(f"{url}/fasttts/search", json={**FASTTTS, "text": PROBLEM}, headers=KEY)
    own = raw.json()
    assert own["candidates"][own["best"]]["text"] == reply.choices[0].text
    chunks = client.completions.create(
        model="m", prompt=PROBLEM, stream=True, extra_body={"fasttts": FASTTTS}
    )
    assert "".join(chunk.choices[0].text for chunk in chunks) == reply.choices[0].text


def test_a_stream_tells_progress_then_the_answer(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**ASK)
    options: Any = {"include_usage": True}
    *chunks, last = client.chat.completions.create(**ASK, stream=True, stream_options=options)
    extra = [chunk.model_extra or {} for chunk in chunks]
    progress = [e["fasttts_progress"] for e in extra if "fasttts_progress" in e]
    assert [p["round"] for p in progress] == list(range(1, len(progress) + 1))
    assert len({chunk.id for chunk in chunks}) == 1
    assert progress[0]["rid"] == chunks[0].id
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert extra[-1]["fasttts"]["answer"] == (whole.model_extra or {})["fasttts"]["answer"]
    assert last.choices == []
    assert last.usage is not None
    assert whole.usage is not None
    assert last.usage.completion_tokens == whole.usage.completion_tokens


def test_the_client_s_stream_helper_puts_the_answer_together(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(**ASK, n=2) as stream:
        final = stream.get_final_completion()
    whole = client.chat.completions.create(**ASK, n=2)
    texts = [[c.message.content for c in reply.choices] for reply in (final, whole)]
    assert texts[0] == texts[1]
    assert {choice.message.role for choice in final.choices} == {"assistant"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"fasttts": {"n": 3}}, "fasttts.n"),
        ({"fasttts": {"n": 128}}, "fasttts.n"),
        ({"fasttts": 1}, "fasttts"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 1e300}, "temperature"),
        ({"n": 99}, "n"),
        ({"stop": ["."]}, "stop"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": 5}, "response_format"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "1+" * 4000}]}, "messages"),
        ({"model": "tiny:adapter"}, "model"),
        ({"beams": 4}, "beams"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_field_is_a_bad_request(
    client: openai.OpenAI, change: dict[str, Any], field: str, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            **CHAT, stream=stream, extra_body={"fasttts": {"n": 4, "branch": 2}, **change}
        )
    assert refused.value.param == field
    assert refused.value.type == "invalid_request_error"


def test_nan_is_refused_by_name(url: str) -> None:
    body = b'{"messages": [], "fasttts": {"temperature": NaN}}'
    headers = {**KEY, "Content-Type": "application/json"}
    reply = requests.post(f"{url}/v1/chat/completions", data=body, headers=headers)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "fasttts.temperature")


def test_the_api_key_covers_searches(url: str) -> None:
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{url}/v1", api_key="x").chat.completions.create(**ASK)


def test_an_ordinary_request_is_sglang_s(url: str, client: openai.OpenAI) -> None:
    """No trace of us in the reply, whether we are not mentioned or declined."""
    greedy: Any = {**CHAT, "temperature": 0, "max_tokens": 8}
    for extra in ({}, {"fasttts": False}):
        reply = client.chat.completions.create(**greedy, extra_body=extra)
        assert reply.choices[0].message.content
        assert "fasttts" not in (reply.model_extra or {})
        assert reply.usage is not None
        assert reply.usage.completion_tokens <= 8
    chunks = client.chat.completions.create(**greedy, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_a_client_that_hangs_up_cancels_its_search(url: str, client: openai.OpenAI) -> None:
    longest = max(tiny_task.problems(5, 100, "heldout"), key=lambda p: len(tiny_task.solution(p)))
    body = {"fasttts": {**FASTTTS, "n": 64, "branch": 4}}
    messages: Any = [{"role": "user", "content": longest}]
    stream = client.chat.completions.create(
        model="m", messages=messages, stream=True, extra_body=body
    )
    next(stream)
    assert searches_in_flight(url) == 1
    stream.close()
    for _ in range(50):
        if searches_in_flight(url) == 0:
            break
        time.sleep(0.1)
    assert searches_in_flight(url) == 0
