"""Which steps are scored when, where memory is short."""

from array import array

from fasttts_sglang import SearchParams
from fasttts_sglang.runtime.branch import Branch
from fasttts_sglang.runtime.counts import Counts
from fasttts_sglang.runtime.reading import Reading
from fasttts_sglang.runtime.rendering import SharedTokens
from fasttts_sglang.runtime.scoring import Scoring
from fasttts_sglang.scheduling.tree import SearchTree
from fasttts_sglang.search.aggregate import AGGREGATIONS
from fasttts_sglang.search.algorithms import make
from fasttts_sglang.search.core import Finish, Path
from fasttts_sglang.search.params import Speculation


class Steps:
    """A search of 12 beams without speculation, of which steps are completed one by one."""

    def __init__(self, *, early: bool) -> None:
        params = SearchParams(n=12, branch=4)
        self.tree = SearchTree(make(params), AGGREGATIONS["last"], Speculation.OFF)
        problem = Reading(array("q", [1, 2]), 2)
        self.scoring = Scoring(
            self.tree, SharedTokens(), problem, 10**6, None, Counts(2), alternate=True
        )
        self.scoring.early = early
        self.tree.begin()
        self.branches: dict[Path, Branch] = {
            (): Branch(self.tree.members[0].parent, 0, array("q"), problem)  # type: ignore[arg-type]
        }

    def complete(self, path: Path) -> None:
        step = next(step for step in self.tree.members if step.path == path)
        branch = self.branches[path] = self.branches[path[:-1]].child(step, 0)
        branch.ids.extend([7 + sum(path)] * 3)
        branch.ends.append(len(branch.ids))
        self.tree.complete(step, len(branch.ids), Finish.STOP)
        self.scoring.add(branch)

    def score(self) -> list[Path]:
        """Score what can be; returns whose scores these are."""
        jobs = self.scoring.jobs(self.branches)
        paths = [branch.path for branch in self.scoring._handed_out]
        for job in jobs:
            job.scores = [0.5] * len(job.ends)
        self.scoring.take(jobs)
        return paths

    def round(self) -> None:
        for step in list(self.tree.members):
            self.complete(step.path)
        self.score()
        assert self.tree.advance()


def test_siblings_are_scored_together_while_others_are_decoded() -> None:
    """Otherwise their prefix would have to be there, or be computed, once for each."""
    steps = Steps(early=True)
    steps.round()
    first, second, third = ([p for p in paths(steps) if p[0] == k] for k in parents(steps))
    for path in (*first[:3], *second[:3]):
        steps.complete(path)
    assert not steps.scoring.due()
    steps.complete(first[3])
    assert steps.scoring.due()
    assert sorted(steps.score()) == first
    assert not steps.scoring.due()
    for path in (second[3], *third):
        steps.complete(path)
    assert steps.scoring.due()  # the round waits for them
    assert sorted(steps.score()) == second + third


def test_where_memory_is_ample_a_round_without_speculation_is_scored_at_its_end() -> None:
    steps = Steps(early=False)
    *others, last = paths(steps)
    for path in others:
        steps.complete(path)
        assert not steps.scoring.due()
    steps.complete(last)
    assert steps.scoring.due()
    assert sorted(steps.score()) == [*others, last]


def paths(steps: Steps) -> list[Path]:
    return [step.path for step in steps.tree.members]


def parents(steps: Steps) -> list[int]:
    return sorted({path[0] for path in paths(steps)})
