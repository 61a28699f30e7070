"""The page and the trace: complete, harmless whatever a model wrote, and clear about bad input."""

import base64
import hashlib
import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fasttts_sglang.cli import main
from fasttts_sglang.report.page import page
from fasttts_sglang.report.trace import trace
from fasttts_sglang.report.view import view
from fasttts_sglang.search.result import Fate
from tests.made_up import search_result

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> <!-- & \u2028 \ud800"


class Elements(HTMLParser):
    """Start tags with their attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.open: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag in self.inside:
            self.open = tag
            self.inside[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self.open = None

    def handle_data(self, data: str) -> None:
        if self.open is not None:
            self.inside[self.open][-1] += data


def test_what_a_model_wrote_is_never_markup() -> None:
    plain = Elements(page(search_result()))
    hostile = Elements(page(search_result(text=HOSTILE, problem=HOSTILE)))
    assert [tag for tag, _ in hostile.found] == [tag for tag, _ in plain.found]
    data = json.loads(hostile.inside["script"][0])
    assert data["problem"] == HOSTILE
    assert all(HOSTILE in node["text"] for node in data["nodes"])


def test_the_page_allows_its_own_script_and_style_alone() -> None:
    text = page(search_result())
    elements = Elements(text)
    policy = next(a["content"] for _, a in elements.found if a.get("http-equiv")) or ""
    assert policy.startswith("default-src 'none'; ")
    for kind, own in elements.inside.items():
        digest = base64.b64encode(hashlib.sha256(own[-1].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    addresses = [v for _, a in elements.found for k, v in a.items() if k in ("src", "href")]
    assert addresses == ["data:,"]
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_the_page_shows_every_node_once_under_its_parent() -> None:
    result = search_result()
    shown = view(result)
    assert [node["path"] for node in shown["nodes"]] == [
        ".".join(map(str, node.path)) for node in result.nodes
    ]
    for node in shown["nodes"]:
        above = None if node["parent"] is None else shown["nodes"][node["parent"]]["path"]
        assert (above or "") == node["path"].rpartition(".")[0]
    assert result.best is not None
    chosen = [node for node in shown["nodes"] if node["chosen"]]
    assert len(chosen) == len(result.best.path)
    assert {node["fate"] for node in chosen} == {"kept"}
    assert chosen[-1]["answer"] == result.answer


def test_votes_and_slots_add_up() -> None:
    result = search_result()
    shown = view(result)
    assert [vote["answer"] for vote in shown["votes"] if vote["chosen"]] == [result.answer]
    weights = [vote["weight"] for vote in shown["votes"]]
    assert weights == sorted(weights, reverse=True)
    assert sum(shown["slots"]["shares"].values()) == pytest.approx(1)
    assert len(shown["slots"]["rounds"]) == result.usage.rounds


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"selection": "majority"}, "Chosen by majority: "),
        ({"selection": None}, "Answer of the best candidate, scored "),
        ({"selection": None, "algorithm": "self_consistency"}, "Chosen by majority: "),
        ({"algorithm": "of another package"}, "Chosen by a vote weighted by scores: "),
    ],
)
def test_the_verdict_says_how_it_was_chosen(changes: dict[str, Any], verdict: str) -> None:
    result = search_result()
    shown = view(replace(result, params={**result.params, **changes}))
    assert shown["verdict"].startswith(verdict)


def test_a_search_without_an_answer_has_a_page() -> None:
    nothing = replace(search_result(), answer=None, best=None, candidates=(), votes={})
    assert view(nothing)["verdict"] == "No candidate reached an answer."
    early = view(replace(nothing, stopped="token_budget"))["verdict"]
    assert early.endswith(" The search was ended early by its token_budget.")
    assert page(nothing)


def test_the_trace_is_in_the_trace_event_format() -> None:
    result = search_result()
    events = trace(result)["traceEvents"]
    json.dumps(events, allow_nan=False)
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    spans = [event for event in events if event["ph"] == "X"]
    assert len(spans) == len(result.timeline)
    assert {names[event["tid"]] for event in spans} == {
        f"slot {slot}" for slot in range(1, len(names))
    }
    for event in spans:
        assert type(event["ts"]) is type(event["dur"]) is int
        assert event["dur"] >= 0
    for track in names:
        own = sorted((e["ts"], e["ts"] + e["dur"]) for e in spans if e["tid"] == track)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(own))
    nodes = {".".join(map(str, node.path)): node for node in result.nodes}
    for event in spans:
        node = nodes[event["name"]]
        assert (event["args"]["score"], event["args"]["fate"]) == (node.score, node.fate.value)
    instants = [event for event in events if event["ph"] == "i"]
    assert [event["name"] for event in instants] == [
        f"round {number}" for number in range(1, result.usage.rounds + 1)
    ]
    assert {event["cat"] for event in spans} == set(Fate)


def test_the_command_writes_both_pictures(tmp_path: Path) -> None:
    source = tmp_path / "result.json"
    source.write_text(json.dumps(search_result().to_dict()))
    assert main(["report", str(source)]) == 0
    assert source.with_suffix(".html").read_text("utf-8") == page(search_result())
    other = tmp_path / "trace.json"
    assert main(["report", str(source), "--trace", str(other)]) == 0
    assert json.loads(other.read_text()) == trace(search_result())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file or directory"),
        ("{", "not JSON: "),
        ("[1]", "is no search result, but list"),
        ("{}", "is no search result: 'candidates' is missing"),
        ('{"candidates": [1]}', "is no search result: "),
        ('{"candidates": [], "best": 3}', "is no search result: "),
        ("no tree", "has no tree and timeline: search again with --timeline"),
        ("unknown", "unexpected keyword argument 'unknown'"),
    ],
)
def test_a_file_that_is_no_result_is_refused_by_name(
    text: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "given.json"
    known = {"no tree": {"nodes": []}, "unknown": {"unknown": 1}}
    if text in known:
        text = json.dumps({**search_result().to_dict(), **known[text]})
    if text is not None:
        source.write_text(text)
    assert main(["report", str(source)]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"fasttts: {source}: ")
    assert message in printed
    assert not source.with_suffix(".html").exists()


def test_a_page_without_a_place_is_refused_before_the_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing" / "page.html"
    assert main(["solve", "1+1", "--report", str(missing)]) == 1
    assert "--report: " in capsys.readouterr().err
