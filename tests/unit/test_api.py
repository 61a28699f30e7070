"""OpenAI's requests as searches and results as OpenAI's replies, without a server."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang import BadRequest, SearchResult
from fasttts_sglang.api.body import ScoreCall, SearchCall, json_object, split_steps
from fasttts_sglang.api.openai_reply import OpenAIReply
from fasttts_sglang.api.openai_request import LABELS, OpenAICall
from fasttts_sglang.search.core import Finish
from fasttts_sglang.search.result import Candidate, Step, Usage

from .test_params import JSON, NAMES

# Some of SGLang's fields and defaults; the server passes all of them.
KNOWN: dict[str, Any] = {"frequency_penalty": 0.0, "logprobs": False, "tools": None, "stop": None}
KNOWN |= {"tool_choice": "auto", "echo": False, "best_of": None, "logit_bias": None}
CHAT = {"messages": [{"role": "user", "content": "1+1"}], "fasttts": {"n": 8}}
TEXT = {"prompt": "1+1", "fasttts": {"n": 8}}


def parse(body: dict[str, Any], default: dict[str, Any] | None = None) -> OpenAICall:
    return OpenAICall.parse(body, chat="messages" in body, default=default, known=KNOWN)


def test_openai_fields_are_search_parameters() -> None:
    body = {**CHAT, "temperature": 0.5, "top_p": 0.9, "top_k": 7, "seed": 3, "n": 2}
    call = parse({**body, "max_completion_tokens": 99, "stream": True, "user": "me"})
    params = call.params
    assert (params.temperature, params.top_p, params.top_k, params.seed) == (0.5, 0.9, 7, 3)
    assert (params.n, params.max_tokens, call.num_choices, call.stream) == (8, 99, 2, True)


def test_what_is_given_goes_before_the_servers_default() -> None:
    default = {"n": 4, "temperature": 0.1, "max_steps": 5}
    params = parse({**CHAT, "temperature": 0.7}, default).params
    assert (params.n, params.temperature, params.max_steps) == (8, 0.7, 5)
    for asks in (True, None):
        assert parse({**CHAT, "fasttts": asks}, default).params.n == 4


@pytest.mark.parametrize("value", [None, True, {}])
def test_what_asks_for_nothing_is_accepted(value: Any) -> None:
    neutral = {"frequency_penalty": 0, "logprobs": False, "tools": [], "tool_choice": "none"}
    parse({**CHAT, **neutral, "response_format": {"type": "text"}, "fasttts": value})
    parse({**TEXT, "best_of": 1, "suffix": "", "logit_bias": {}})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"fasttts": 3}, "fasttts"),
        ({"fasttts": {"n": 3}}, "fasttts.n"),
        ({"fasttts": {"beams": 3}}, "fasttts.beams"),
        ({"fasttts": {"temperature": 1.0}, "temperature": 0.5}, "fasttts.temperature"),
        ({"fasttts": {"max_tokens": 10}, "max_tokens": 11}, "fasttts.max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"seed": -1}, "seed"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_tokens"),
        ({"n": 9}, "n"),
        ({"n": True}, "n"),
        ({"stop": "."}, "stop"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logprobs": True}, "logprobs"),
        ({"tools": [{}]}, "tools"),
        ({"tool_choice": {"type": "function"}}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"best_of": 4}, "best_of"),
        ({"echo": True}, "echo"),
        ({"beams": 4}, "beams"),
        ({"model": 4}, "model"),
        ({"rid": ""}, "rid"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {}}, "stream_options"),
        ({"stream": True, "stream_options": 1}, "stream_options"),
        ({"stream": True, "stream_options": {"continuous_usage_stats": True}}, "stream_options"),
    ],
)
@pytest.mark.parametrize("body", [CHAT, TEXT], ids=["chat", "text"])
def test_what_cannot_be_honoured_is_refused_by_name(
    body: dict[str, Any], change: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        parse({**body, **change})
    assert refused.value.field == field


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        "hi",
        ["hi"],
        [{}],
        [{"role": "user"}],
        [{"role": 1, "content": "x"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
    ],
)
def test_messages_are_texts(messages: Any) -> None:
    with pytest.raises(BadRequest, match="messages: "):
        parse({"messages": messages})


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert parse({"messages": [{"role": "user", "content": parts}]}).prompt[0]["content"] == "a b"


@pytest.mark.parametrize("prompt", [None, "", [], [[]], ["a", "b"], [[1], [2]], {"a": 1}, [1.5]])
def test_a_text_completion_has_one_prompt(prompt: Any) -> None:
    with pytest.raises(BadRequest, match="prompt: "):
        parse({"prompt": prompt})


@pytest.mark.parametrize(
    ("prompt", "read"), [("a", "a"), (["a"], "a"), ([1, 2], [1, 2]), ([[1, 2]], [1, 2])]
)
def test_a_prompt_may_be_token_ids(prompt: Any, read: Any) -> None:
    assert parse({"prompt": prompt}).prompt == read


@given(st.dictionaries(st.sampled_from([*NAMES, *KNOWN, *LABELS, "fasttts", "x"]), JSON))
def test_any_completion_request_is_read_or_refused_by_name(fields: dict[str, Any]) -> None:
    for body in ({**fields, "prompt": "1+1"}, {"messages": CHAT["messages"], **fields}):
        try:
            parse(body)
        except BadRequest as refused:
            assert refused.field.split(".")[0] in {*body, "fasttts", "max_tokens"}


@given(st.dictionaries(st.sampled_from([*NAMES, "prompt", "messages", "input_ids", "rid"]), JSON))
def test_any_search_body_is_read_or_refused_by_name(body: dict[str, Any]) -> None:
    try:
        SearchCall.parse(body)
    except BadRequest as refused:
        assert refused.field in {*body, "prompt", *NAMES}


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b'{"temperature": NaN}', "temperature"),
        (b'{"fasttts": {"n": -Infinity}}', "fasttts.n"),
        (b'{"stop": [1e999, NaN]}', "stop"),
        (b'{"prompt": "\\ud800"}', "body"),
        (b"[1, NaN]", "body"),
        (b"[" * 5000, "body"),
        (b"7", "body"),
    ],
)
def test_a_body_that_is_no_json_is_refused(raw: bytes, field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        json_object(raw)
    assert refused.value.field == field


def candidate(index: int, texts: list[str], finish: Finish) -> Candidate:
    steps = tuple(Step(text, (1, 2), 0.5) for text in texts)
    count = 2 * len(steps)
    return Candidate((index,), "".join(texts), steps, 0.9 - index / 10, finish, texts[-1], count)


BEST, CUT = candidate(1, ["a\n", "2"], Finish.EOS), candidate(0, ["b\n", "3"], Finish.LENGTH)
RESULT = SearchResult(
    id="s",
    answer="2",
    best=BEST,
    candidates=(CUT, BEST),
    votes={"2": 1.0},
    usage=Usage(5, 40, 30, 7, 3, 9, 50, speculated_kept=11, speculated_wasted=12),
    timing={"total_s": 1.0},
)


def reply(**body: Any) -> OpenAIReply:
    return OpenAIReply(parse({**CHAT, **body}), "chatcmpl-1", 1_700_000_000)


def test_the_chosen_candidate_comes_first() -> None:
    whole = reply(n=2).completion(RESULT)
    texts = [choice["message"]["content"] for choice in whole["choices"]]
    assert texts == ["a\n2", "b\n3"]
    assert [choice["finish_reason"] for choice in whole["choices"]] == ["stop", "length"]
    assert [choice["index"] for choice in whole["choices"]] == [0, 1]
    assert whole["fasttts"]["answer"] == "2"


def test_usage_is_what_was_computed() -> None:
    usage = reply().completion(RESULT)["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (
        5,
        40,
        45,
    )
    details = usage["completion_tokens_details"]
    assert details == {
        "choice_tokens": 4,
        "speculated_kept_tokens": 11,
        "speculated_wasted_tokens": 12,
        "recomputed_tokens": 0,
        "verifier_tokens": 30,
        "verifier_cached_tokens": 7,
    }


def test_chunks_add_up_to_the_completion() -> None:
    streamed = reply(n=2, stream=True, stream_options={"include_usage": True})
    whole, texts = streamed.completion(RESULT), ["", ""]
    *chunks, last = streamed.chunks(RESULT)
    for chunk in chunks:
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["delta"].get("content", "")
        assert chunk["usage"] is None
    assert texts == [choice["message"]["content"] for choice in whole["choices"]]
    roles = [c["choices"][0]["delta"].get("role") for c in chunks]
    assert roles.count("assistant") == 2  # clients concatenate what they get
    assert chunks[-1]["fasttts"] == whole["fasttts"]
    assert (last["choices"], last["usage"]) == ([], whole["usage"])


def test_a_character_over_two_steps_stays_whole() -> None:
    split = Candidate(
        (0,), "é", (Step("\ufffd", (1,), 1), Step("\ufffd", (2,), 1)), 1, Finish.EOS, None, 2
    )
    result = SearchResult("s", None, split, (split,), {}, RESULT.usage, {})
    chunks = list(reply().chunks(result))
    assert chunks[0]["choices"][0]["delta"]["content"] == "é"


STEPS = {"prompt": "1+1", "steps": ["a\n\n", "b"]}


def test_a_score_call_takes_steps_or_a_response() -> None:
    assert ScoreCall.parse(STEPS) == ScoreCall("1+1", ["a\n\n", "b"], True, None)
    split = ScoreCall.parse({"prompt": "1+1", "response": "a\n\nb", "finished": False})
    assert split == ScoreCall("1+1", ["a\n\n", "b"], False, None)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"steps": []}, "steps"),
        ({"steps": ["a", ""]}, "steps"),
        ({"steps": "a"}, "steps"),
        ({"steps": [1]}, "steps"),
        ({"response": "a"}, "steps"),
        ({"finished": 1}, "finished"),
        ({"n": 4}, "n"),
        ({"prompt": ""}, "prompt"),
        ({"rid": ""}, "rid"),
    ],
)
def test_a_wrong_score_call_is_refused_by_name(change: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        ScoreCall.parse({**STEPS, **change})
    assert caught.value.field == field


@given(st.text(alphabet="ab\n", max_size=30))
def test_steps_put_together_are_the_response(response: str) -> None:
    steps = split_steps(response)
    assert all(steps)
    assert "".join(steps).replace("\n", "") == response.replace("\n", "")
    assert all(step.endswith("\n\n") for step in steps[:-1])
