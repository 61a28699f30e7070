"""The state of one running search: its rounds, branches and counts. No scheduler in here."""

import math
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import SearchFailed
from ..search.core import Expand, Finish, Node, Path, Round, Search
from ..search.params import SearchParams
from ..search.replay import Replay
from ..search.seeds import child_seed
from ..telemetry.events import Progress
from ..verifier.score_cache import ScoreCache
from .branch import Branch, root
from .messages import SearchDone, SearchMessage
from .steps import StepEnds
from .verifier_runner import ScoreJob


@dataclass(slots=True)
class Row:
    """One child being decoded."""

    search: "ActiveSearch"
    branch: Branch
    prefix: array  # type: ignore[type-arg]  # prompt and parent's tokens, shared by siblings
    steps_left: int | None  # None: decode to the end of the answer; 0: only prefill
    begin: int = field(init=False)  # length of the first prefix

    def __post_init__(self) -> None:
        self.begin = len(self.prefix)

    @property
    def to_the_end(self) -> bool:
        return self.steps_left is None

    @property
    def max_new_tokens(self) -> int:
        """What this row may decode before it must stop."""
        if self.steps_left == 0:
            return 1  # SGLang has no request without a token; nobody reads it
        left = self.search.budget - len(self.branch.ids)
        if self.search.replay is not None:
            return min(left, self.search.replay.step_tokens(self.branch.path))
        if self.to_the_end:
            return left
        params = self.search.params
        return min(left, params.max_step_tokens, params.step_tokens or left)

    def prompt_ids(self) -> array:  # type: ignore[type-arg]
        return self.prefix


class ActiveSearch:
    """Drives one algorithm. `SearchRunner` moves its rows and jobs."""

    def __init__(
        self,
        runner: Any,
        message: SearchMessage,
        params: SearchParams,
        search: Search,
        steps: StepEnds,
        budget: int,
        verifier_prompt: Sequence[int],
        replay: Replay | None = None,
    ) -> None:
        self.runner = runner  # the SearchRunner that drives this search
        self.message = message
        self.rid: str = message.rid
        self.params = params
        self.budget = budget  # response tokens of one path
        self.sampling: dict[bool, Any] = {}  # RowFactory's templates
        self.usage = {
            "prompt_tokens": len(message.prompt_ids),
            "completion_tokens": 0,
            "verifier_tokens": 0,
            "verifier_cached_tokens": 0,
            "rounds": 0,
            "children": 0,
            "slot_tokens": 0,
        }
        self.timing = {"verifier_s": 0.0}
        self.replay = replay
        self._search = search
        self._steps = steps
        self._prompt = array("q", message.prompt_ids)
        self._verifier_prompt = array("q", verifier_prompt)
        self._prompt_key = ScoreCache.extend(b"", verifier_prompt)
        self._round: Round | None = None
        self._kept: dict[Path, Branch] = {(): root(params.seed)}  # what a round may still expand
        self._children: list[Branch] = []  # of this round, complete
        self._jobs: list[ScoreJob] = []  # one per child, in the same order
        self._longest = 0  # tokens decoded by the slowest row of this round
        self._pending = 1  # rows still decoding; the first is the prompt's
        self._began = time.perf_counter()

    @property
    def ready(self) -> bool:
        """Whether all rows of the round are complete, so that it can be scored and decided."""
        return self._pending == 0

    def prompt_row(self) -> Row:
        """A row that only brings the prompt's KV into the radix cache."""
        return Row(self, root(self.params.seed), self._prompt, 0)

    def prompt_job(self) -> ScoreJob:
        """The same for the verifier."""
        return ScoreJob(self._verifier_prompt, [], [])

    def expand(self, state: Round) -> Iterator[Row]:
        """Rows of the round, in depth-first order: siblings are neighbours and share KV."""
        self._round = state
        self._pending = state.num_children
        self.usage["rounds"] += 1
        self.usage["children"] += state.num_children
        for expand in sorted(state.expansions, key=lambda expand: expand.node.path):
            yield from self._expand_one(expand)

    def _expand_one(self, expand: Expand) -> Iterator[Row]:
        parent = self._kept[expand.node.path]
        prefix = self._prompt + parent.ids
        for index in range(expand.num_children):
            branch = parent.child(index, child_seed(parent.seed, len(parent.path), index))
            yield Row(self, branch, prefix, expand.steps)

    def collect(self, row: Row, new_ids: Sequence[int]) -> bool:
        """Take a finished row's tokens; return whether it has further steps to decode."""
        if self._round is None:  # the prompt's row: its one token belongs to no branch
            self._pending -= 1
            return False
        branch = row.branch
        begin = len(branch.ids)
        branch.ids.extend(new_ids)
        self.usage["completion_tokens"] += len(new_ids)
        branch.ends += self._steps.split(branch.ids, begin) if row.to_the_end else [len(branch.ids)]
        last = branch.ends[-2] if len(branch.ends) > 1 else 0
        full = len(branch.ids) >= self.budget
        branch.finish = self._finish(branch, last, full=full)
        if row.steps_left is not None and row.steps_left > 1 and branch.finish is Finish.STOP:
            row.steps_left -= 1
            row.prefix = self._prompt + branch.ids
            return True
        branch.complete_s = time.perf_counter() - self._began
        self._longest = max(self._longest, len(row.prefix) + len(new_ids) - row.begin)
        self._children.append(branch)
        self._pending -= 1
        return False

    def _finish(self, branch: Branch, begin: int, *, full: bool) -> Finish:
        if self.replay is None:
            return self._steps.finish(branch.ids, begin, full=full)
        return Finish.LENGTH if full else self.replay.finish(branch.path)

    def jobs(self) -> list[ScoreJob]:
        """What must be scored to decide the round."""
        self._children.sort(key=lambda branch: branch.path)
        self._jobs = [self._job(branch) for branch in self._children]
        return self._jobs

    def _job(self, branch: Branch) -> ScoreJob:
        known = len(branch.keys)
        begin = branch.ends[known - 1] if known else 0
        key = branch.keys[-1] if known else self._prompt_key
        for end in branch.ends[known:]:
            key = ScoreCache.extend(key, branch.ids[begin:end])
            branch.keys.append(key)
            begin = end
        offset = len(self._verifier_prompt)
        ends = [offset + end for end in branch.ends[known:]]
        return ScoreJob(self._verifier_prompt + branch.ids, ends, branch.keys[known:])

    def advance(
        self,
        start: Callable[[Search], Round | list[Node]],
        resume: Callable[[Search, list[Node]], Round | list[Node]],
    ) -> Round | list[Node]:
        """Decide the round; return the next one, or the candidates at the end."""
        if self._round is None:
            return start(self._search)
        self._children.sort(key=lambda branch: branch.path)
        for branch, job in zip(self._children, self._jobs, strict=bool(self._jobs)):
            if not all(map(math.isfinite, job.scores)):
                raise SearchFailed(f"the verifier returned {job.scores} for path {branch.path}")
            replayed = self.replay and [self.replay.score(branch.path)]
            branch.scores += replayed or job.scores
            self.usage["verifier_tokens"] += job.computed
            self.usage["verifier_cached_tokens"] += job.cached
        self.usage["slot_tokens"] += self._longest * len(self._children)
        self._longest = 0
        branches = {branch.path: branch for branch in self._children}
        survivors = self._round.decide([branch.node() for branch in self._children])
        self._kept.update((node.path, branches[node.path]) for node in survivors)
        self._children, self._jobs = [], []
        return resume(self._search, survivors)

    def progress(self) -> dict[str, Any]:
        """What a client that watches is told after each round."""
        kept = self._kept.values()
        return Progress(
            rid=self.rid,
            round=self.usage["rounds"],
            num_children=self.usage["children"],
            num_complete=sum(branch.finish is Finish.EOS for branch in kept),
            best_score=max((branch.scores[-1] for branch in kept if branch.scores), default=None),
            generated_tokens=self.usage["completion_tokens"],
            verifier_tokens=self.usage["verifier_tokens"],
            elapsed_s=time.perf_counter() - self._began,
        ).to_dict()

    def result(self, candidates: Sequence[Node]) -> SearchDone:
        """The reply: candidates best first, as token ids."""
        self.timing["total_s"] = time.perf_counter() - self._began
        return SearchDone(
            rid=self.rid,
            candidates=[self._kept[node.path].to_dict() for node in candidates],
            usage=self.usage,
            timing=self.timing,
        )
