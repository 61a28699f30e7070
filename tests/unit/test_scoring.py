"""Which steps are scored when: where memory is short, and before they are asked for."""

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
    """A search of 12 beams, of which steps are completed one by one."""

    def __init__(self, *, early: bool, mode: Speculation = Speculation.OFF) -> None:
        params = SearchParams(n=12, branch=4)
        self.tree = SearchTree(make(params), AGGREGATIONS["last"], mode)
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
        known = [*self.tree.members, *self.tree.ahead()]
        step = next(step for step in known if step.path == path)
        branch = self.branches[path] = self.branches[path[:-1]].child(step, 0)
        branch.ids.extend([7 + sum(path)] * 3)
        branch.ends.append(len(branch.ids))
        self.tree.complete(step, len(branch.ids), Finish.STOP)
        self.scoring.add(branch)

    def score(self) -> list[Path]:
        """Score what is to be, all alike; returns whose scores these are."""
        jobs = self.scoring.jobs(self.branches)
        paths = [branch.path for branch in self.scoring._handed_out]
        for job in jobs:
            job.scores += [0.5] * (len(job.ends) - len(job.scores))
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


def test_what_was_asked_for_is_scored_first_and_of_the_rest_the_likeliest() -> None:
    steps = Steps(early=False, mode=Speculation.FULL)
    *others, last = paths(steps)
    for path, value in zip(others[:2], (0.9, 0.8), strict=True):
        steps.complete(path)
        steps.tree.score(steps.branches[path].step, (value,))
        steps.scoring.keep_only({})
    likely, doubtful = ([(*path, index) for index in range(3)] for path in others[:2])
    for path in (*doubtful, *likely):
        steps.complete(path)
    assert steps.score() == sorted([*likely, doubtful[0]])  # a third of twelve is a forward
    for path in others[2:]:
        steps.complete(path)
    assert steps.score() == others[2:]
    steps.complete(last)
    assert steps.score() == sorted([last, *doubtful[1:]])


def paths(steps: Steps) -> list[Path]:
    return [step.path for step in steps.tree.members]


def parents(steps: Steps) -> list[int]:
    return sorted({path[0] for path in paths(steps)})
