"""/fasttts/* over HTTP, and what stops a server from starting."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from fasttts_sglang import SearchParams, SearchResult
from fasttts_sglang.models import tiny_task
from fasttts_sglang.search.algorithms import known

from .serving import (
    KEY,
    PROBLEM,
    SEARCH,
    SGLANG_LAUNCH,
    SGLANG_SERVE,
    START,
    free_port,
    searches_in_flight,
)


def search(url: str, headers: Any = KEY, **body: Any) -> requests.Response:
    return requests.post(f"{url}/fasttts/search", json=body, headers=headers, timeout=120)


def test_a_search_and_the_same_again(url: str) -> None:
    first, again = (SearchResult.from_dict(search(url, **SEARCH).json()) for _ in range(2))
    assert [c.text for c in first.candidates] == [c.text for c in again.candidates]
    assert [c.path for c in first.candidates] == [c.path for c in again.candidates]
    assert first.best is not None
    assert first.best.answer == first.answer


def test_progress_is_streamed(url: str) -> None:
    body = {**SEARCH, "stream": True}
    with requests.post(f"{url}/fasttts/search", json=body, headers=KEY, stream=True) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        events = [e.split("\n", 1) for e in reply.text.strip().split("\n\n")]
    names = [name.removeprefix("event: ") for name, _ in events]
    assert names == ["progress"] * (len(names) - 1) + ["result"]
    result = json.loads(events[-1][1].removeprefix("data: "))
    assert SearchResult.from_dict(result).usage.rounds == len(names)


def test_messages_and_token_ids_are_prompts_too(url: str) -> None:
    by_text = search(url, **SEARCH).json()
    rest = {name: value for name, value in SEARCH.items() if name != "prompt"}
    messages = [{"role": "user", "content": PROBLEM}]
    by_messages = search(url, **rest, messages=messages).json()
    texts = [[c["text"] for c in result["candidates"]] for result in (by_text, by_messages)]
    assert texts[0] == texts[1]
    assert search(url, **rest, input_ids=[1, 20, 12, 21, 4]).status_code == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"algorithm": "magic"}, "algorithm"),
        ({"n": 0}, "n"),
        ({"n": 3}, "n"),
        ({"n": 128}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"beams": 3}, "beams"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "1+" * 4000}, "prompt"),
        ({"input_ids": [1]}, "prompt"),
        ({"rid": 7}, "rid"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_a_bad_field_is_a_400_that_names_it(url: str, change: dict[str, Any], field: str) -> None:
    reply = search(url, **{**SEARCH, **change})
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == field
    streamed = search(url, **{**SEARCH, **change, "stream": change.get("stream", True)})
    assert streamed.status_code == 400


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 5000])
def test_any_body_is_answered(url: str, body: bytes) -> None:
    reply = requests.post(f"{url}/fasttts/search", data=body, headers=KEY, timeout=30)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "body"


def test_the_api_key_covers_our_routes(url: str) -> None:
    assert search(url, headers={}, **SEARCH).status_code == 401
    assert requests.get(f"{url}/fasttts/status", timeout=10).status_code == 401


def test_a_client_that_hangs_up_cancels_its_search(url: str) -> None:
    longest = max(tiny_task.problems(5, 100, "heldout"), key=lambda p: len(tiny_task.solution(p)))
    body = {**SEARCH, "prompt": longest, "n": 64, "branch": 4, "stream": True}
    with requests.post(f"{url}/fasttts/search", json=body, headers=KEY, stream=True) as reply:
        chunks = reply.iter_content(8)  # a name: a dropped generator closes the connection
        next(chunks)
        assert searches_in_flight(url) == 1
    for _ in range(50):
        if searches_in_flight(url) == 0:
            break
        time.sleep(0.1)
    assert searches_in_flight(url) == 0
    assert search(url, **SEARCH).status_code == 200


def test_ordinary_routes_still_work(url: str) -> None:
    chat = {"model": "default", "messages": [{"role": "user", "content": PROBLEM}]}
    reply = requests.post(f"{url}/v1/chat/completions", json=chat, headers=KEY, timeout=60)
    assert reply.ok, reply.text
    assert reply.json()["choices"][0]["message"]["content"]


def test_the_status_tells_plan_and_occupancy_of_both_pools(url: str) -> None:
    search(url, **SEARCH)
    status = requests.get(f"{url}/fasttts/status", headers=KEY, timeout=10).json()
    memory = status["memory"]
    assert (memory["split"], status["config"]["kv_split"]) == ("auto", "auto")
    for name in ("generator", "verifier"):
        pool = memory["pools"][name]
        assert set(pool) == {"used", "cached", "free"}
        assert sum(pool.values()) == memory["plan"][name]["kv_tokens"]
        assert pool["cached"] > 0


def test_the_algorithms_are_listed_with_their_parameters(url: str) -> None:
    reply = requests.get(f"{url}/fasttts/algorithms", headers=KEY, timeout=10).json()
    assert set(reply["algorithms"]) == set(known())
    assert "exploration" in reply["algorithms"]["mcts"]["parameters"]
    assert "exploration" not in reply["algorithms"]["beam"]["parameters"]
    assert set(reply["parameters"]) == set(SearchParams().to_dict())
    assert reply["parameters"]["n"]["maximum"] == 4096


@pytest.mark.parametrize(
    ("start", "flags", "message"),
    [
        (START, ["--fasttts-verifer-path", "x"], "did you mean --fasttts-verifier-path?"),
        (
            START,
            ["--fasttts-max-width", "0"],
            "--fasttts-max-width: it must be in [1, 4096], got 0",
        ),
        (START, ["--fasttts-verifier-path", "/no/such"], "/no/such has no config.json"),
        (SGLANG_LAUNCH, ["--fasttts-max-width", "0"], "--fasttts-max-width: it must be in"),
    ],
)
def test_a_wrong_flag_stops_the_server_at_once(
    tiny: dict[str, str], start: list[str], flags: list[str], message: str
) -> None:
    command = [*start, "--model-path", tiny["generator"], *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_weights_that_are_no_reward_model_stop_the_server(
    tiny: dict[str, str], tmp_path: Path
) -> None:
    """The config promises a reward model, the weights have no head. SGLang's own command."""
    for name in os.listdir(tiny["generator"]):
        (tmp_path / name).write_bytes((Path(tiny["generator"]) / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = ["Qwen2ForPrmModel"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    flags = ["--model-path", tiny["generator"], "--fasttts-verifier-path", str(tmp_path)]
    command = [*SGLANG_SERVE, *flags, "--port", str(free_port())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode != 0
    assert "has no v_head.summary.*: it is not a reward model" in done.stderr + done.stdout
