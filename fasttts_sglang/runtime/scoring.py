"""Which steps of a search wait for a score, as jobs for the verifier."""

import math
from array import array
from collections.abc import Mapping, Sequence

from ..errors import SearchFailed
from ..scheduling.tree import SearchTree
from ..search.core import Path
from ..search.replay import Replay
from ..verifier.score_cache import ScoreCache
from .branch import Branch
from .counts import Counts
from .verifier_runner import ScoreJob

# Steps are scored as soon as there are 1 / _EAGER as many as the round has nodes. A call of the
# verifier has a fixed cost, so more calls with sharper estimates are not faster.
_EAGER = 3


class Scoring:
    """The scores of one search.

    Args:
        prompt: The verifier's form of the prompt.
        replay: Where the score values come from, if the verifier's are not wanted.
    """

    def __init__(
        self, tree: SearchTree, prompt: Sequence[int], replay: Replay | None, counts: Counts
    ) -> None:
        self._tree = tree
        self._replay = replay
        self._counts = counts
        self._prompt = array("q", prompt)
        self._prompt_key = ScoreCache.extend(b"", prompt)
        self._waiting: list[Branch] = []  # complete, without a score
        self._handed_out: list[Branch] = []

    def add(self, branch: Branch) -> None:
        """`branch` is complete."""
        self._waiting.append(branch)

    def keep_only(self, branches: Mapping[Path, Branch]) -> None:
        """The others are out of the race."""
        self._waiting = [branch for branch in self._waiting if branch.path in branches]

    def due(self) -> bool:
        """Whether scores should be computed now: the round waits for them, or many are missing."""
        if not self._waiting:
            return False
        if not self._tree.num_decoding:
            return True
        return self.eager and _EAGER * len(self._waiting) >= len(self._tree.members)

    @property
    def eager(self) -> bool:
        """Whether steps are scored before their round is complete."""
        return self._tree.looks_ahead

    def prompt_job(self) -> ScoreJob:
        """Brings the prompt's KV into the verifier's cache."""
        return ScoreJob(self._prompt, [], [])

    def jobs(self, branches: Mapping[Path, Branch]) -> list[ScoreJob]:
        """All that can be scored now, in path order; `take` gets the results."""
        self._waiting.sort(key=lambda branch: branch.path)
        # a node decoded ahead waits for its parent's score, else both would compute that step
        self._handed_out = [branch for branch in self._waiting if branch.step.parent_scored]
        self._waiting = [branch for branch in self._waiting if not branch.step.parent_scored]
        return [self._job(branch, branches[branch.path[:-1]]) for branch in self._handed_out]

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
            self._counts.verifier_tokens += job.computed
            self._counts.verifier_cached_tokens += job.cached
            if all(map(math.isfinite, job.scores)):
                replayed = [self._replay.score(branch.path)] if self._replay else job.scores
                branch.scores += replayed
                self._tree.score(branch.step, tuple(branch.scores))
            elif branch.step.requested:
                raise SearchFailed(f"the verifier returned {job.scores} for path {branch.path}")
            else:
                branch.scoring_failed = True

    def _job(self, branch: Branch, parent: Branch) -> ScoreJob:
        if len(branch.scores) < len(parent.scores):  # the parent was scored after it began
            branch.scores, branch.keys = list(parent.scores), list(parent.keys)
        done = len(branch.scores)
        del branch.keys[done:]  # of an earlier try
        begin = branch.ends[done - 1] if done else 0
        key = branch.keys[-1] if done else self._prompt_key
        for end in branch.ends[done:]:
            key = ScoreCache.extend(key, branch.ids[begin:end])
            branch.keys.append(key)
            begin = end
        offset = len(self._prompt)
        ends = [offset + end for end in branch.ends[done:]]
        return ScoreJob(self._prompt + branch.ids, ends, branch.keys[done:])
