"""The state of one running search: its tree and its branches. No scheduler in here."""

import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ..scheduling.lengths import Lengths
from ..scheduling.step import Step
from ..scheduling.tree import SearchTree
from ..search.core import Finish, Node, Path
from ..search.params import SearchParams
from ..search.seeds import child_seed
from ..telemetry.events import Progress
from .branch import Branch
from .counts import Counts
from .messages import SearchDone, SearchMessage
from .reading import ScoreJob
from .record import Record
from .row import Row
from .scoring import Scoring
from .step_rules import StepRules


class ActiveSearch:
    """One algorithm at work. `SearchRunner` moves its rows and jobs."""

    def __init__(
        self,
        runner: Any,
        message: SearchMessage,
        params: SearchParams,
        tree: SearchTree,
        rules: StepRules,
        scoring: Scoring,
        counts: Counts,
    ) -> None:
        self.runner = runner  # the SearchRunner that drives this search
        self.message = message
        self.rid: str = message.rid
        self.params = params
        self.tree = tree
        self.rules = rules
        self.sampling: Any = None  # RowFactory's template
        self.sampling_info: Any = None  # of one row, see row_sampling
        self.prompt = array("q", message.prompt_ids)
        self.counts = counts
        self.scoring = scoring
        self.timing = {"verifier_s": 0.0, "scheduling_s": 0.0, "decode_steps": 0.0}
        self.prefilled = False  # the prompt's KV is there, the first round may begin
        self.stopped: str | None = None  # the search parameter that ended it early
        self.changed = True  # something happened since the rows were last chosen
        self.undecided: list[Row] = []  # rows whose node is complete
        self.unmade = 0  # rows that could not be made when nodes to decode ahead were last chosen
        self.rows: dict[Row, None] = {}  # in the order they began: the same on all ranks
        self.lengths = Lengths(rules.first_guess)
        self._branches: dict[Path, Branch] = {}
        self._record = Record() if params.timeline else None
        self._began = time.perf_counter()

    # -- rows --------------------------------------------------------------------------

    def prompt_row(self) -> Row:
        """A row that only brings the prompt's KV into the radix cache."""
        return Row(self, self._root(), only_prefill=True)

    def row(self, branch: Branch) -> Row:
        """A row for `branch`, which has none."""
        row = Row(self, branch)
        self.set_out(row)
        return row

    def set_out(self, row: Row) -> None:
        """`row` is about to decode its branch."""
        row.began_s = self._seconds
        self.rules.set_out(row)

    def on_token(self, row: Row) -> bool:
        """Look at the token that `row` has just got; returns whether the row must end."""
        if row.only_prefill:
            row.branch.row = None
            self.prefilled = self.changed = True
            return True
        finish = self.rules.look(row)
        if finish is None:
            return False
        branch = row.branch
        branch.ids.extend(row.own_ids())
        if row.steps_left is None:
            branch.ends += self.rules.split(branch.ids, branch.parent_len)
        else:
            branch.ends.append(len(branch.ids))
        branch.complete_s = self._seconds
        branch.partial = None
        self.leave(row)
        self.lengths.observe(row.num_own)
        self.tree.complete(branch.step, len(branch.ids), finish)
        self.scoring.add(branch)
        self.changed = True
        if finish is not Finish.STOP:
            branch.row = None
            return True
        row.at_boundary = True
        self.undecided.append(row)
        return False

    def leave(self, row: Row) -> None:
        """`row` stops decoding its current node, complete or not."""
        if self._record is not None and row.num_own and not row.only_prefill:
            self._record.span(row.branch, row.began_s, self._seconds)

    def count_slots(self, kv_in_use: int, steps: int = 1) -> None:
        """Another decode step begins, or several: what the search's slots could decode in it.

        Args:
            kv_in_use: Tokens of the KV pool that running requests hold.
        """
        self.counts.use_kv(kv_in_use)
        if self.prefilled:
            self.timing["decode_steps"] += steps
            self.counts.slot_tokens += steps * max(len(self.tree.members), len(self.rows))

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._began

    @property
    def branches(self) -> Mapping[Path, Branch]:
        """All that is live, parents before their children."""
        return self._branches

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

    def parent(self, branch: Branch) -> Branch:
        """What `branch` continues."""
        return self._branches[branch.path[:-1]]

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
            problem = self.scoring.problem.copy()
            self._branches[()] = Branch(step, self.params.seed, array("q"), problem)
        return self._branches[()]

    # -- scores ------------------------------------------------------------------------

    def jobs(self) -> list[ScoreJob]:
        """What can be scored now; `take_scores` gets the results."""
        return self.scoring.jobs(self._branches)

    def take_scores(self, jobs: Sequence[ScoreJob]) -> None:
        """See `Scoring.take`."""
        self.changed = True
        self.scoring.take(jobs)

    # -- rounds ------------------------------------------------------------------------

    def begin(self) -> None:
        """The first round."""
        self.tree.begin()
        self._enter_round()

    def advance(self) -> list[Row] | None:
        """Decide the round if it can be; returns the rows that are out of the race then."""
        members = self.tree.members
        if not self.tree.advance(partial(self._enough, members)):
            return None
        self.changed = True
        self._enter_round()
        return self._drop_losers()

    def _enough(self, members: Sequence[Step]) -> bool:
        """The round of `members` is decided: does the search end with it?"""
        self.counts.completion_tokens += sum(self._branches[s.path].num_own for s in members)
        budget, score = self.params.token_budget, self.params.stop_score
        best = self.tree.best_answer
        if budget is not None and self.counts.completion_tokens >= budget:
            self.stopped = "token_budget"
        elif score is not None and best is not None and best >= score:
            self.stopped = "stop_score"
        return self.stopped is not None

    def stop(self, reason: str) -> None:
        """End amid a round; `tree.candidates` is then what there is."""
        self.stopped = reason
        for branch in self._branches.values():
            if not branch.step.requested:
                self.counts.speculated_wasted += branch.num_own
        running = {step.path for step in self.tree.members} & self._branches.keys()
        self.counts.completion_tokens += sum(self._branches[path].num_own for path in running)
        self.tree.stop(amid_round=True)

    def _enter_round(self) -> None:
        self.counts.rounds, self.counts.children = self.tree.num_rounds, self.tree.num_children
        if self._record is not None:
            self._record.round(self.counts.rounds, (step.path for step in self.tree.members))
        for step in self.tree.members:
            ahead = self._branches.get(step.path)
            if ahead is None:
                continue
            ahead.requested_s = self._seconds
            self.counts.keep(ahead.num_own, ahead.begun_ahead)
            if ahead.scoring_failed:
                ahead.scoring_failed = False
                self.scoring.add(ahead)

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
            if self._record is not None:
                self._record.node(branch, kept)
            del self._branches[path]
        self.scoring.keep_only(self._branches)
        return ended

    # -- replies -----------------------------------------------------------------------

    def progress(self, queue_position: int | None = None) -> dict[str, Any]:
        """What a client that watches is told after each round, and while the search waits."""
        kept = [self._branches[path] for path in self.tree.kept if path]
        best = max((branch.scores[-1] for branch in kept if branch.scores), default=None)
        return Progress(
            rid=self.rid,
            queue_position=queue_position,
            round=max(0, self.counts.rounds - 1),
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
        done = SearchDone(
            rid=self.rid,
            stopped=self.stopped if self.tree.stopped else None,
            candidates=[self._branches[node.path].to_dict() for node in candidates],
            usage=self.counts.to_dict(),
            timing=self.timing,
        )
        if self._record is not None:
            for row in self.rows:  # of a search that is stopped amid a round
                if not row.at_boundary:
                    self.leave(row)
            kept = {*self.tree.kept, *(node.path for node in candidates)}
            for branch in self._branches.values():
                self._record.node(branch, kept)
            done.timeline, done.nodes = self._record.timeline(), self._record.nodes()
        return done
