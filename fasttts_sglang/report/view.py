"""What the page shows, as plain JSON values. The page's script only lays it out."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..search.answers import normalize
from ..search.core import Path
from ..search.params import SearchParams
from ..search.result import SearchResult, TreeNode
from ..telemetry.timeline import lanes, parts
from .derived import decoded_ahead, round_begins, tree
from .trace import dotted


def view(result: SearchResult) -> dict[str, Any]:
    """Everything on the page.

    Raises:
        ConfigError: The result has no tree.
    """
    nodes = tree(result)
    places = {path: place for place, path in enumerate(nodes)}
    return {
        "problem": result.problem,
        "answer": result.answer,
        "verdict": _verdict(result) + _stopped(result),
        "votes": _votes(result),
        "facts": _facts(result),
        "best": _best(result),
        "nodes": _nodes(result, nodes, places),
        "slots": _slots(result, places),
        "params": _params(result.params),
    }


def _verdict(result: SearchResult) -> str:
    """How the answer was chosen, in a sentence."""
    if result.best is None or result.answer is None:
        return "No candidate reached an answer."
    by_vote = result.params.get("algorithm") == "self_consistency"
    chosen_by = result.params.get("selection") or ("majority" if by_vote else "best")
    weight = result.votes.get(normalize(result.answer), 0.0)
    total = sum(result.votes.values())
    if chosen_by == "weighted":
        return f"Chosen by a vote weighted by scores: {weight:.2f} of {total:.2f}."
    if chosen_by == "majority":
        return f"Chosen by majority: {weight:.0f} of {total:.0f} votes."
    score = "" if result.best.score is None else f", scored {result.best.score:.3f}"
    return f"Answer of the best candidate{score}; {weight:.0f} of {total:.0f} agree."


def _stopped(result: SearchResult) -> str:
    return f" The search was ended early by its {result.stopped}." if result.stopped else ""


def _votes(result: SearchResult) -> list[dict[str, Any]]:
    chosen = None if result.answer is None else normalize(result.answer)
    ranked = sorted(result.votes.items(), key=lambda vote: -vote[1])
    whole = all(float(weight).is_integer() for weight in result.votes.values())
    return [
        {
            "answer": answer,
            "weight": weight,
            "shown": f"{weight:.0f}" if whole else f"{weight:.2f}",
            "chosen": answer == chosen,
        }
        for answer, weight in ranked
    ]


def _facts(result: SearchResult) -> list[tuple[str, str, str]]:
    """Name, value and a remark."""
    usage, total_s = result.usage, result.timing["total_s"]
    ended = sum(candidate.answer is not None for candidate in result.candidates)
    verifier_s = result.timing.get("verifier_s", 0.0)
    ahead = usage.speculated_kept + usage.speculated_wasted
    return [
        ("time", f"{total_s:.2f} s", f"{verifier_s:.2f} s in the verifier"),
        ("rounds", str(usage.rounds), f"{usage.children:,} steps asked for"),
        ("candidates", f"{len(result.candidates):,}", f"{ended:,} with an answer"),
        ("tokens generated", f"{usage.completion_tokens:,}", f"prompt {usage.prompt_tokens:,}"),
        (
            "tokens verified",
            f"{usage.verifier_tokens:,}",
            f"{usage.verifier_cached_tokens:,} more were cached",
        ),
        (
            "tokens decoded ahead",
            f"{ahead:,}",
            f"{usage.speculated_wasted:,} for nothing" if ahead else "",
        ),
    ]


def _best(result: SearchResult) -> dict[str, Any] | None:
    if result.best is None:
        return None
    steps = [{"text": step.text, "score": step.score} for step in result.best.steps]
    return {"path": dotted(result.best.path), "score": result.best.score, "steps": steps}


def _nodes(
    result: SearchResult, nodes: Mapping[Path, TreeNode], places: Mapping[Path, int]
) -> list[dict[str, Any]]:
    ahead = decoded_ahead(result)
    answers = {candidate.path: candidate.answer for candidate in result.candidates}
    chosen = result.best.path if result.best else ()
    return [
        {
            "path": dotted(path),
            "parent": places.get(path[:-1]),
            "text": node.text,
            "scores": [step.score for step in node.steps],
            "fate": node.fate.value,
            "finish": node.finish and node.finish.value,
            "round": node.round,
            "tokens": node.num_tokens,
            "ahead": path in ahead,
            "chosen": path == chosen[: len(path)],
            "candidate": path in answers,
            "answer": answers.get(path),
        }
        for path, node in nodes.items()
    ]


def _slots(result: SearchResult, places: Mapping[Path, int]) -> dict[str, Any]:
    """The timeline: per slot a flat list of [place of its node or null, kind, begin_s, end_s]."""
    slots = [
        [
            [places.get(span.path), part.kind, round(part.begin_s, 5), round(part.end_s, 5)]
            for span in spans
            for part in parts(span)
        ]
        for spans in lanes(result.timeline)
    ]
    total_s = max(result.timing["total_s"], *(span.end_s for span in result.timeline))
    whole = total_s * len(slots)
    shares = dict.fromkeys(("normal", "kept", "wasted"), 0.0)
    for span in result.timeline:
        for part in parts(span):
            shares[part.kind] += (part.end_s - part.begin_s) / whole
    shares["idle"] = max(0.0, 1 - sum(shares.values()))
    begins = list(round_begins(result).values())
    return {"total_s": total_s, "slots": slots, "shares": shares, "rounds": begins}


def _params(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Name, value, and whether that is the default."""
    defaults = SearchParams().to_dict()
    return [
        {
            "name": entry.name,
            "value": _shown(params[entry.name]),
            "default": params[entry.name] == defaults[entry.name],
            "help": entry.metadata["help"],
        }
        for entry in fields(SearchParams)
        if entry.name in params
    ]


def _shown(value: Any) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, list):
        return " ".join(map(repr, value))
    return str(value)
