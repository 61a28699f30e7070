"""A search in progress: which nodes are asked for, which will probably be, which never.

The tree drives the algorithm. It is told what was decoded and scored, in any order, and decides a
round once all its nodes are scored, so neither speculation nor timing can change the result. It
ranks what may be decoded ahead by p(needed): how probable it is that the algorithm will ask for it.
"""

from collections.abc import Callable, Collection

from ..search.aggregate import Aggregate
from ..search.core import Finish, Node, Path, Round, Search, resume, start
from ..search.params import Speculation
from ..search.ranking import candidates
from .estimate import logit
from .outlook import Outlook
from .slots import FLOOR
from .step import Step


class SearchTree:
    """Runs `search`; `aggregate` is how it makes one score of a path's.

    Args:
        floor: Of what is decoded ahead, nothing worth less is.
    """

    def __init__(
        self, search: Search, aggregate: Aggregate, mode: Speculation, floor: float = FLOOR
    ) -> None:
        self._search = search
        self._aggregate = aggregate
        self._mode = mode
        self.floor = floor
        self._outlook = Outlook(floor)
        self._round: Round | None = None
        self._unscored = 0  # requested nodes of the round that have no score yet
        self.num_decoding = 0  # and those that are not complete
        self._members: list[Step] = []  # requested nodes of the round, in path order
        self._places = 1
        self._stale = False  # estimates are older than the scores
        self._gives_way = False  # nothing is decoded ahead
        self._looked = -1  # nodes that were scored at the last look at the round
        self._num_scored = 0
        self._ahead: list[Step] = []
        root = Step((), None, requested=True, finish=Finish.STOP, node=Node())
        self._kept: dict[Path, Step] = {(): root}  # what the algorithm may still expand
        self.candidates: list[Node] | None = None  # set at the end
        self.stopped = False  # the end came by `stop`
        self.best_answer: float | None = None  # best aggregated score of an answer kept so far
        self.num_rounds = 0
        self.num_children = 0
        self.num_complete = 0  # nodes decoded to their end so far, ahead of need or not

    # -- what the runtime tells --------------------------------------------------------

    def begin(self) -> None:
        """Ask the algorithm for its first round."""
        self._enter(start(self._search))

    def complete(self, step: Step, num_tokens: int, finish: Finish) -> None:
        """A node is decoded to its end."""
        step.num_tokens, step.finish = num_tokens, finish
        self.num_decoding -= step.requested
        self.num_complete += 1
        if not self._stale and self._mode is not Speculation.OFF:
            self._ahead += self._outlook.open(step, self._mode)  # until the next estimate

    def score(self, step: Step, scores: tuple[float, ...]) -> None:
        """A node's steps are scored; `scores` are all from the root."""
        assert step.finish is not None
        step.node = Node(step.path, scores, step.num_tokens, step.finish)
        step.value = logit(self._aggregate(scores))
        self._outlook.observe(step)
        self._unscored -= step.requested
        self._num_scored += 1
        self._stale = True

    def advance(self, enough: Callable[[], bool] = lambda: False) -> bool:
        """Decide the round if it is scored; returns whether it was.

        Args:
            enough: Asked then, whether the search ends here.
        """
        if self._round is None or self._unscored:
            return False
        survivors = self._round.decide([step.node for step in self._members if step.node])
        decided = {step.path: step for step in self._members}
        self._kept |= {node.path: decided[node.path] for node in survivors}
        answers = [self._aggregate(n.scores) for n in survivors if n.finish is Finish.EOS]
        if answers:
            self.best_answer = max(*answers, self.best_answer or answers[0])
        state = resume(self._search, survivors)
        if enough() and isinstance(state, Round):
            self.stop(amid_round=False)
        else:
            self._enter(state)
        for step in decided.values():  # children not asked for are new if they are asked for later
            step.children = {i: child for i, child in step.children.items() if child.requested}
        return True

    def stop(self, *, amid_round: bool) -> None:
        """End the search here, with the best of what it has kept.

        Args:
            amid_round: Take answers of the running round too. Which these are depends on when.
        """
        extended = {path[:-1] for path in self._kept}
        leaves = [step for path, step in self._kept.items() if path and path not in extended]
        if amid_round:
            leaves += [step for step in self._members if step.finish is Finish.EOS]
        nodes = {step.path: step.node for step in leaves if step.node is not None}
        self.stopped = True
        self._search.close()
        self._enter(candidates(nodes.values(), self._aggregate))

    # -- what the runtime asks ---------------------------------------------------------

    @property
    def members(self) -> list[Step]:
        """Requested nodes of the round, in path order; a new list each round."""
        return self._members

    @property
    def kept(self) -> Collection[Path]:
        """All survivors so far, the root too."""
        return self._kept.keys()

    @property
    def stale(self) -> bool:
        """Whether scores or a round have come since the last estimate."""
        return self._stale

    def look(self) -> None:
        """Bring `chance` up to date for the round's nodes, where `ahead` does not."""
        if self._mode is not Speculation.FULL and self._looked != self._num_scored:
            self._looked = self._num_scored
            self._outlook.estimate(self._members, self._places, levels=1)

    def chance(self, step: Step) -> float:
        """See `Outlook`."""
        return self._outlook.chance(step)

    def give_way(self, to_others: bool) -> bool:
        """Decode nothing ahead from now on, as others need the device, or do so again.

        Returns:
            Whether that is news.
        """
        if self._gives_way == to_others:
            return False
        self._gives_way, self._stale = to_others, True
        return True

    @property
    def looks_ahead(self) -> bool:
        """Whether early scores help to decide what to decode ahead."""
        return self._mode is Speculation.FULL and self._places > 0 and not self._gives_way

    def ahead(self) -> list[Step]:
        """Nodes not asked for that can be decoded: their parents are complete. Fresh `p` each."""
        if self._mode is Speculation.OFF or self._round is None or not self._places:
            return []
        if self._gives_way:
            return []
        if self._mode is Speculation.PAPER and not self.num_decoding:
            return []
        if self._stale:
            self._stale = False
            if self._mode is Speculation.FULL:
                self._ahead = self._outlook.estimate(self._members, self._places)
            else:
                opened = (self._outlook.open(step, self._mode) for step in self._members)
                self._ahead = [child for children in opened for child in children]
        self._ahead = [step for step in self._ahead if not (step.complete or step.requested)]
        return self._ahead

    # -- rounds ------------------------------------------------------------------------

    def _enter(self, state: Round | list[Node]) -> None:
        if not isinstance(state, Round):
            self.candidates, self._round, self._members = state, None, []
            return
        self._round, self._stale = state, True
        self.num_rounds += 1
        self.num_children += state.num_children
        self._members, self._looked = [], -1
        for expand in sorted(state.expansions, key=lambda expand: expand.node.path):
            parent = self._kept[expand.node.path]
            for index in range(expand.num_children):
                step = parent.child(index)
                step.requested, step.steps, step.p = True, expand.steps, 1.0
                self._members.append(step)
        self._unscored = sum(step.node is None for step in self._members)
        self.num_decoding = sum(not step.complete for step in self._members)
        self._places, fanout = self._widths(state)
        for step in self._members:
            step.fanout = fanout

    def _widths(self, state: Round) -> tuple[int, int]:
        """How many nodes will survive the round, and how many children each will then get.

        The number of survivors is what `decide` says of placeholder scores. Children: as many as
        the nodes of this round got; in the first round, and where they got different numbers, as
        many as keep the width.
        """
        if any(expand.steps != 1 for expand in state.expansions):
            return 0, 0
        survivors = state.decide([Node(step.path, (0.5,), 1) for step in self._members])
        if not survivors:
            return 0, 0
        places = len({node.path for node in survivors})
        widths = {expand.num_children for expand in state.expansions}
        if len(widths) == 1 and state.expansions[0].node.path:
            return places, widths.pop()
        return places, max(1, state.num_children // places)
