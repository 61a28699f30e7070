"""Which steps of a search wait for a score, as jobs for the verifier."""

import math
from collections.abc import Mapping, Sequence

from ..errors import SearchFailed
from ..scheduling.order import backwards
from ..scheduling.tree import SearchTree
from ..search.core import Finish, Path
from ..search.replay import Replay
from .branch import Branch
from .counts import Counts
from .reading import Reading, ScoreJob
from .rendering import Renderer

# Steps are scored as soon as there are 1 / _EAGER as many as the round has nodes: the earlier, the
# more of what is decoded ahead is needed. A forward of the verifier has a fixed cost, so in a small
# round it waits for _FULL of them, but no longer than for 1 / _LEAST_EAGER of the round.
_EAGER = 6
_FULL = 20
_LEAST_EAGER = 3


class Scoring:
    """The scores of one search.

    Args:
        renderer: How the verifier reads steps.
        problem: The problem as it reads it.
        max_tokens: Longest sequence that it can read.
        replay: Where the score values come from, if the verifier's are not wanted.
        alternate: Whether rounds alternate the direction in which they go through the tree.
    """

    def __init__(
        self,
        tree: SearchTree,
        renderer: Renderer,
        problem: Reading,
        max_tokens: int,
        replay: Replay | None,
        counts: Counts,
        *,
        alternate: bool,
    ) -> None:
        self.problem = problem
        self._tree = tree
        self._renderer = renderer
        self._max_tokens = max_tokens
        self._replay = replay
        self._counts = counts
        self._alternate = alternate
        self.early = False  # eviction should know early which nodes will survive
        self._waiting: list[Branch] = []  # complete, without a score
        self._handed_out: list[Branch] = []
        self._counted = (0, 0)  # of those that wait: all, and those that were ready

    def add(self, branch: Branch) -> None:
        """`branch` is complete."""
        self._waiting.append(branch)

    def keep_only(self, branches: Mapping[Path, Branch]) -> None:
        """The others are out of the race."""
        self._waiting = [branch for branch in self._waiting if branch.path in branches]

    def due(self) -> bool:
        """Whether scores should be computed now: the round waits for them, or many are missing."""
        if not self._waiting or self._handed_out:
            return False
        if not self._tree.num_decoding:
            return True
        if len(self._waiting) < self._few or not self._knows_early:
            return False
        return not self.early or self._num_ready() >= self._few

    @property
    def _few(self) -> float:
        """So many are worth a forward while others decode."""
        all_nodes = len(self._tree.members)
        return min(max(all_nodes / _EAGER, _FULL), all_nodes / _LEAST_EAGER)

    def _num_ready(self) -> int:
        """How many of those that wait can be scored now; they only become more."""
        if self._counted[0] != len(self._waiting):
            self._counted = len(self._waiting), sum(map(self._ready, self._waiting))
        return self._counted[1]

    def _ready(self, branch: Branch) -> bool:
        """Whether `branch` can be scored now.

        A node decoded ahead waits for its parent's score, else both would compute that step. Where
        memory is short, siblings are scored together, so that their prefix must be there once.
        """
        parent = branch.step.parent
        if parent is None or parent.node is None:
            return False
        if not self.early or not parent.path or not self._tree.num_decoding:
            return True
        return all(step.complete for step in parent.children.values() if step.requested)

    @property
    def eager(self) -> bool:
        """Whether what is complete may be scored together with another search's."""
        return self._knows_early and not self._handed_out

    @property
    def _knows_early(self) -> bool:
        return self.early or self._tree.looks_ahead

    def prompt_job(self) -> ScoreJob:
        """Brings the prompt's KV into the verifier's cache."""
        return ScoreJob(self.problem, 0)

    def jobs(self, branches: Mapping[Path, Branch]) -> list[ScoreJob]:
        """What is to be scored now, in depth-first order; `take` gets the results.

        All that was asked for; of what was decoded ahead the likeliest, as many as fill up a
        forward: what is asked for next should not have to wait behind the rest.

        Raises:
            SearchFailed: A node that was asked for is too long for the verifier.
        """
        turned = self._alternate and backwards(self._tree.num_rounds)
        self._waiting.sort(key=lambda branch: branch.path, reverse=turned)
        chosen = self._choose([branch for branch in self._waiting if self._ready(branch)])
        ready = [branch for branch in self._waiting if branch.path in chosen]
        self._waiting = [branch for branch in self._waiting if branch.path not in chosen]
        self._handed_out, self._counted = [], (0, 0)
        jobs = []
        for branch in ready:
            job = self._job(branch, branches[branch.path[:-1]])
            if self._fits(branch, job):
                self._handed_out.append(branch)
                jobs.append(job)
        return jobs

    def _choose(self, ready: Sequence[Branch]) -> set[Path]:
        asked = {branch.path for branch in ready if branch.step.requested}
        ahead = [(branch.step.parent, branch.path) for branch in ready if branch.path not in asked]
        chance = {path: self._tree.chance(parent) for parent, path in ahead if parent is not None}
        room = max(0, math.ceil(self._few) - len(asked))
        return asked.union(sorted(chance, key=lambda path: -chance[path])[:room])

    def _fits(self, branch: Branch, job: ScoreJob) -> bool:
        length = len(job.token_ids)
        if length <= self._max_tokens:
            return True
        if branch.step.requested:
            raise SearchFailed(
                f"path {branch.path} is {length} tokens long for the verifier, which reads"
                f" {self._max_tokens}; lower max_tokens"
            )
        branch.scoring_failed = True
        return False

    def put_back(self) -> None:
        """The jobs handed out were not done."""
        self._waiting += self._handed_out
        self._handed_out = []

    def take(self, jobs: Sequence[ScoreJob]) -> None:
        """The results of the jobs handed out, in the same order.

        Raises:
            SearchFailed: The score of a node that was asked for is not a number.
        """
        branches, self._handed_out = self._handed_out, []
        for branch, job in zip(branches, jobs, strict=True):
            self._counts.verified(job)
            if job.error is None and all(map(math.isfinite, job.scores)):
                replayed = [self._replay.score(branch.path)] if self._replay else job.scores
                branch.scores += replayed
                self._tree.score(branch.step, tuple(branch.scores))
            elif branch.step.requested:
                problem = job.error or f"the verifier returned {job.scores}"
                raise SearchFailed(f"path {branch.path}: {problem}")
            else:
                branch.scoring_failed = True

    def _job(self, branch: Branch, parent: Branch) -> ScoreJob:
        if len(branch.scores) < len(parent.scores):  # the parent was scored after it began
            branch.scores, branch.reading = list(parent.scores), parent.reading.copy()
        done = len(branch.scores)
        branch.reading.cut(done)  # of an earlier try
        begin = branch.ends[done - 1] if done else 0
        for index, end in enumerate(branch.ends[done:], done):
            last = branch.step.finish is Finish.EOS and end == len(branch.ids)
            ids = branch.ids[begin:end]
            renderer = self._renderer
            branch.reading.add(renderer.step(ids, index, last), renderer.question(ids, index))
            begin = end
        return ScoreJob(branch.reading, done)
