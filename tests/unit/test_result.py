"""A result survives JSON."""

import json

from fasttts_sglang.search.core import Finish
from fasttts_sglang.search.result import Candidate, Fate, SearchResult, Step, TreeNode, Usage
from fasttts_sglang.telemetry.timeline import Span


def test_round_trip() -> None:
    steps = (Step("1+1=2\n\n", (6, 7), 0.5), Step("answer:2", (8,), None))
    best = Candidate((0, 1), "1+1=2\n\nanswer:2", steps, 0.5, Finish.EOS, "2", 3)
    cut = Candidate((3,), "1+", (), None, Finish.LENGTH, None, 0)
    usage = Usage(4, 30, 20, 10, 2, 8, 40)
    for chosen in (best, None):
        result = SearchResult("id", "2", chosen, (best, cut), {"2": 1.0}, usage, {"total_s": 0.1})
        assert SearchResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_round_trip_of_the_tree() -> None:
    node = TreeNode((0,), (Step("1+1", (6, 7), None),), Fate.WASTED, None, None)
    asked = TreeNode((1,), (Step("a", (6,), 0.5), Step("b", (7,), 0.25)), Fate.KEPT, Finish.EOS, 1)
    assert (asked.text, asked.score, asked.num_tokens) == ("ab", 0.25, 2)
    usage = Usage(4, 30, 20, 10, 2, 8, 40)
    spans = (Span((0,), 0.0, 1.0, None),)
    given = {"timeline": spans, "nodes": (node, asked), "problem": "1+1"}
    result = SearchResult("id", None, None, (), {}, usage, {}, **given)
    assert SearchResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
