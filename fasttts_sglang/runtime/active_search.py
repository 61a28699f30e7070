"""The state of one running search: its tree, branches and counts. No scheduler in here."""

import math
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import SearchFailed
from ..scheduling.tree import SearchTree, Step
from ..search.core import Finish, Node, Path
from ..search.params import SearchParams
from ..search.replay import Replay
from ..search.seeds import child_seed
from ..telemetry.events import Progress
from ..telemetry.timeline import Span
from ..verifier.score_cache import ScoreCache
from .branch import Branch
from .messages import SearchDone, SearchMessage
from .row import Row
from .steps import StepEnds
from .verifier_runner import ScoreJob

# Steps are scored as soon as there are 1 / _EAGER as many as the round has nodes. A call of the
# verifier has a fixed cost, so more calls with sharper estimates are not faster.
_EAGER = 3


@dataclass(slots=True)
class Counts:
    """What was computed so far; the reply's `usage`."""

    prompt_tokens: int
    completion_tokens: int = 0
    verifier_tokens: int = 0
    verifier_cached_tokens: int = 0
    rounds: int = 0
    children: int = 0
    slot_tokens: int = 0
    speculated_kept: int = 0
    speculated_wasted: int = 0
    speculated_hits: dict[int, int] = field(default_factory=dict)  # nodes, by rounds ahead


class ActiveSearch:
    """One algorithm at work. `SearchRunner` moves its rows and jobs."""

    def __init__(
        self,
        runner: Any,
        message: SearchMessage,
        params: SearchParams,
        tree: SearchTree,
        steps: StepEnds,
        budget: int,
        verifier_prompt: Sequence[int],
        replay: Replay | None = None,
    ) -> None:
        self.runner = runner  # the SearchRunner that drives this search
        self.message = message
        self.rid: str = message.rid
        self.params = params
        self.tree = tree
        self.budget = budget  # response tokens of one path
        self.sampling: Any = None  # RowFactory's template
        self.prompt = array("q", message.prompt_ids)
        self.counts = Counts(len(message.prompt_ids))
        self.timing = {"verifier_s": 0.0, "scheduling_s": 0.0, "decode_steps": 0.0}
        self.prefilled = False  # the prompt's KV is there, the first round may begin
        self.changed = True  # something happened since the rows were last chosen
        self.undecided: list[Row] = []  # rows whose node is complete
        self.rows: set[Row] = set()
        self._replay = replay
        self._steps = steps
        self._verifier_prompt = array("q", verifier_prompt)
        self._prompt_key = ScoreCache.extend(b"", verifier_prompt)
        self._branches: dict[Path, Branch] = {}
        self._to_score: list[Branch] = []  # complete
        self._spans: list[tuple[Branch, float, float]] = []
        self._scoring: list[Branch] = []  # handed out by `jobs`
        self._began = time.perf_counter()

    # -- rows --------------------------------------------------------------------------

    def prompt_row(self) -> Row:
        """A row that only brings the prompt's KV into the radix cache."""
        return Row(self, self._root(), 1, 0, only_prefill=True)

    def row(self, branch: Branch) -> Row:
        """A row for `branch`, which has none."""
        row = Row(self, branch)
        self.set_out(row)
        return row

    def set_out(self, row: Row) -> None:
        """Prepare `row` for the step that it is about to decode."""
        branch = row.branch
        row.began_s = self._seconds
        row.steps_left = branch.step.steps
        left = self.budget - branch.parent_len
        if self._replay is not None:
            row.steps_left = 1
            row.limit = min(left, self._replay.step_tokens(branch.path))
        elif row.steps_left is None:
            row.limit = left
        else:
            row.limit = min(left, self.params.max_step_tokens, self.params.step_tokens or left)

    def leave(self, row: Row) -> None:
        """`row` stops decoding its current node, complete or not."""
        if self.params.timeline and row.req is not None and not row.only_prefill:
            self._spans.append((row.branch, row.began_s, self._seconds))

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._began

    def on_token(self, row: Row) -> bool:
        """Look at the token that `row` has just got; returns whether the row must end.

        Runs once per row and decode step.
        """
        ids = row.req.output_ids
        if row.only_prefill:
            self.prefilled = self.changed = True
            return True
        count = len(ids) - row.step_begin
        if count < row.limit and (
            self._replay is not None
            or not (
                self._steps.is_eos(ids[-1])
                or (
                    row.steps_left is not None
                    and self._steps.is_boundary(ids, row.step_begin, len(ids))
                )
            )
        ):
            return False
        return self._step_done(row)

    def _step_done(self, row: Row) -> bool:
        branch, own = row.branch, row.own_ids()
        full = branch.parent_len + len(own) >= self.budget
        finish = self._finish(row, own, full=full)
        if row.steps_left is not None and row.steps_left > 1 and finish is Finish.STOP:
            branch.ends.append(branch.parent_len + len(own))
            row.steps_left -= 1
            row.step_begin = len(row.req.output_ids)
            row.limit = min(
                self.budget - branch.parent_len - len(own),
                self.params.max_step_tokens,
                self.params.step_tokens or self.budget,
            )
            return False
        branch.ids.extend(own)
        if row.steps_left is None:
            branch.ends += self._steps.split(branch.ids, branch.parent_len)
        else:
            branch.ends.append(len(branch.ids))
        branch.complete_s = self._seconds
        self.leave(row)
        branch.partial = None
        self.tree.complete(branch.step, len(branch.ids), finish)
        self._to_score.append(branch)
        self.changed = True
        if finish is not Finish.STOP:
            branch.row = None
            return True
        row.at_boundary = True
        self.undecided.append(row)
        return False

    def _finish(self, row: Row, own: Sequence[int], *, full: bool) -> Finish:
        if self._replay is not None:
            return Finish.LENGTH if full else self._replay.finish(row.branch.path)
        return self._steps.finish(own, row.step_begin - row.begin, full=full)

    # -- branches ----------------------------------------------------------------------

    def branch(self, step: Step) -> Branch:
        """The branch of `step`, whose parent is complete."""
        found = self._branches.get(step.path)
        if found is None:
            parent = self._branches[step.path[:-1]]
            index = step.path[-1]
            seed = child_seed(parent.seed, len(step.path) - 1, index)
            found = self._branches[step.path] = parent.child(step, seed)
            found.begun_ahead = len(step.path) - self._depth
            found.requested_s = self._seconds if step.requested else None
        return found

    def idle(self, step: Step) -> bool:
        """Whether no row decodes `step`."""
        found = self._branches.get(step.path)
        return found is None or found.row is None

    def requested(self) -> Iterator[Branch]:
        """Branches that the round waits for and that no row decodes."""
        for step in self.tree.members:
            if not step.complete:
                branch = self.branch(step)
                if branch.row is None:
                    yield branch

    @property
    def _depth(self) -> int:
        members = self.tree.members
        return len(members[0].path) if members else 0

    def _root(self) -> Branch:
        if () not in self._branches:
            step = Step((), None, finish=Finish.STOP)
            self._branches[()] = Branch(step, self.params.seed, array("q"))
        return self._branches[()]

    def count_slots(self) -> None:
        """Another decode step begins: what the search's slots could decode in it."""
        if self.prefilled:
            self.timing["decode_steps"] += 1
            self.counts.slot_tokens += max(len(self.tree.members), len(self.rows))

    # -- scores ------------------------------------------------------------------------

    def due(self) -> bool:
        """Whether scores should be computed now: the round waits for them, or many are missing."""
        if not self._to_score:
            return False
        if not self.tree.num_decoding:
            return True
        return self.eager and _EAGER * len(self._to_score) >= len(self.tree.members)

    @property
    def eager(self) -> bool:
        """Whether steps are scored before their round is complete."""
        return self.tree.looks_ahead

    def jobs(self) -> list[ScoreJob]:
        """All that can be scored now, in path order; `take_scores` gets the results."""
        self._to_score.sort(key=lambda branch: branch.path)
        # a node decoded ahead waits for its parent's score, else both would compute that step
        self._scoring = [branch for branch in self._to_score if branch.step.parent_scored]
        self._to_score = [branch for branch in self._to_score if not branch.step.parent_scored]
        return [self._job(branch) for branch in self._scoring]

    def prompt_job(self) -> ScoreJob:
        """Brings the prompt's KV into the verifier's cache."""
        return ScoreJob(self._verifier_prompt, [], [])

    def _job(self, branch: Branch) -> ScoreJob:
        parent = self._branches[branch.path[:-1]]
        if len(branch.scores) < len(parent.scores):  # the parent was scored after it began
            branch.scores = list(parent.scores)
        if len(branch.keys) < len(parent.keys):
            branch.keys = list(parent.keys)
        known = len(branch.keys)
        begin = branch.ends[known - 1] if known else 0
        key = branch.keys[-1] if known else self._prompt_key
        for end in branch.ends[known:]:
            key = ScoreCache.extend(key, branch.ids[begin:end])
            branch.keys.append(key)
            begin = end
        done = len(branch.scores)
        offset = len(self._verifier_prompt)
        ends = [offset + end for end in branch.ends[done:]]
        return ScoreJob(self._verifier_prompt + branch.ids, ends, branch.keys[done:])

    def take_scores(self, jobs: Sequence[ScoreJob]) -> None:
        """The results of `jobs`, in the same order.

        Raises:
            SearchFailed: The score of a node that was asked for is not a number.
        """
        branches, self._scoring = self._scoring, []
        self.changed = True
        for branch, job in zip(branches, jobs, strict=True):
            self.counts.verifier_tokens += job.computed
            self.counts.verifier_cached_tokens += job.cached
            if not all(map(math.isfinite, job.scores)):
                if branch.step.requested:
                    raise SearchFailed(f"the verifier returned {job.scores} for path {branch.path}")
                branch.scoring_failed = True
                continue
            self._scored(branch, job.scores)

    def put_back(self) -> None:
        """The jobs handed out were not done."""
        self._to_score += self._scoring
        self._scoring = []

    def _scored(self, branch: Branch, new: list[float]) -> None:
        branch.scores += [self._replay.score(branch.path)] if self._replay else new
        self.tree.score(branch.step, tuple(branch.scores))

    # -- rounds ------------------------------------------------------------------------

    def advance(self) -> list[Row] | None:
        """Decide the round if it can be; returns the rows that are out of the race then."""
        members = self.tree.members
        if not self.tree.advance():
            return None
        self.changed = True
        self.counts.completion_tokens += sum(self._branches[s.path].num_own for s in members)
        self._enter_round()
        return self._drop_losers()

    def begin(self) -> None:
        """The first round."""
        self.tree.begin()
        self._enter_round()

    def _enter_round(self) -> None:
        counts = self.counts
        counts.rounds, counts.children = self.tree.num_rounds, self.tree.num_children
        for step in self.tree.members:
            ahead = self._branches.get(step.path)
            if ahead is None:
                continue
            ahead.requested_s = self._seconds
            counts.speculated_kept += ahead.num_own
            if ahead.num_own:
                depth = ahead.begun_ahead
                counts.speculated_hits[depth] = counts.speculated_hits.get(depth, 0) + 1
            if ahead.scoring_failed:
                ahead.scoring_failed = False
                self._to_score.append(ahead)

    def _drop_losers(self) -> list[Row]:
        members = {step.path for step in self.tree.members}
        lengths = {len(path) for path in members}
        kept = self.tree.kept
        ended = []
        for path, branch in list(self._branches.items()):
            if path in kept or any(path[:length] in members for length in lengths):
                continue
            if branch.row is not None:
                ended.append(branch.row)
            if not branch.step.requested:
                self.counts.speculated_wasted += branch.num_own
            del self._branches[path]
        self._to_score = [b for b in self._to_score if b.path in self._branches]
        return ended

    # -- replies -----------------------------------------------------------------------

    def progress(self) -> dict[str, Any]:
        """What a client that watches is told after each round."""
        kept = [self._branches[path] for path in self.tree.kept if path]
        best = max((branch.scores[-1] for branch in kept if branch.scores), default=None)
        return Progress(
            rid=self.rid,
            round=self.counts.rounds - 1,
            num_children=self.counts.children - len(self.tree.members),
            num_complete=sum(branch.step.finish is Finish.EOS for branch in kept),
            best_score=best,
            generated_tokens=self.counts.completion_tokens,
            verifier_tokens=self.counts.verifier_tokens,
            elapsed_s=self._seconds,
        ).to_dict()

    def result(self, candidates: Sequence[Node]) -> SearchDone:
        """The reply: candidates best first, as token ids."""
        self.timing["total_s"] = self._seconds
        counts = {name: getattr(self.counts, name) for name in self.counts.__slots__}
        hits = counts["speculated_hits"]
        counts["speculated_hits"] = [hits.get(i, 0) for i in range(1, max(hits, default=0) + 1)]
        return SearchDone(
            rid=self.rid,
            candidates=[self._branches[node.path].to_dict() for node in candidates],
            usage=counts,
            timing=self.timing,
            timeline=[
                asdict(Span(branch.path, begin, end, branch.requested_s))
                for branch, begin, end in self._spans
            ],
        )
