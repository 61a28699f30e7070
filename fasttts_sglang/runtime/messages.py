"""What travels between the tokenizer process and the scheduler for one search."""

from typing import Any

import msgspec
from sglang.srt.managers.io_struct import BaseReq


class SearchMessage(BaseReq, kw_only=True):  # type: ignore[call-arg]
    """Start a search."""

    prompt_ids: list[int]
    problem: str | None = None  # the user's text, for verifiers with a prompt of their own
    params: dict[str, Any]  # SearchParams.to_dict()
    report_progress: bool = False


class ScoreMessage(BaseReq, kw_only=True):  # type: ignore[call-arg]
    """Score the steps of a given response."""

    prompt_ids: list[int]
    problem: str | None = None  # as in SearchMessage
    steps: list[list[int]]  # the generator's token ids
    finished: bool  # whether the last step ends the answer


class ScoreDone(BaseReq, kw_only=True):  # type: ignore[call-arg]
    """The reply: either `error`, or a score per step."""

    error: str | None = None
    error_field: str | None = None
    scores: list[float] = msgspec.field(default_factory=list)


class MemoryMessage(BaseReq, kw_only=True):  # type: ignore[call-arg]
    """Ask for the KV memory of both models."""


class MemoryDone(BaseReq, kw_only=True):  # type: ignore[call-arg]
    """The reply: KVMemory.to_dict()."""

    memory: dict[str, Any]


class StopSearch(BaseReq, kw_only=True):  # type: ignore[call-arg]
    """End the search `rid` now, with the best so far."""


class SearchProgress(BaseReq, kw_only=True):  # type: ignore[call-arg]
    """A round is complete; `progress` is telemetry.Progress.to_dict()."""

    progress: dict[str, Any]


class SearchDone(BaseReq, kw_only=True):  # type: ignore[call-arg]
    """A search has ended: either `error`, or candidates with what was really computed."""

    error: str | None = None
    error_field: str | None = None  # set when a field of the request is at fault
    stopped: str | None = None  # the search parameter that ended it early
    candidates: list[dict[str, Any]] = msgspec.field(default_factory=list)
    usage: dict[str, Any] = msgspec.field(default_factory=dict)
    timing: dict[str, float] = msgspec.field(default_factory=dict)
    timeline: list[dict[str, Any]] = msgspec.field(default_factory=list)  # telemetry.Span
    nodes: list[dict[str, Any]] = msgspec.field(default_factory=list)  # of Record
