"""When the step that a row decodes is complete: the search's parameters, or a replay."""

from collections.abc import Sequence

from ..search.algorithms import SAMPLING
from ..search.core import Finish
from ..search.params import SearchParams
from ..search.replay import Replay
from .row import Row
from .steps import StepEnds

_STEP_TOKENS = 64  # of a step, as long as none is known


class StepRules:
    """Looks at the new tokens of a search's rows.

    Args:
        budget: Response tokens of one path.
        vocab_size: Tokens are below it.
    """

    def __init__(
        self,
        params: SearchParams,
        budget: int,
        steps: StepEnds,
        replay: Replay | None,
        vocab_size: int,
    ) -> None:
        self.budget = budget
        self.replay = replay
        self._params = params
        self._steps = steps
        self._plain = steps.plain if replay is None else range(vocab_size)

    @property
    def first_guess(self) -> float:
        """Tokens of a node, as long as none is known."""
        params = self._params
        if params.algorithm in SAMPLING:
            return self.budget
        step = min(_STEP_TOKENS, params.step_tokens or _STEP_TOKENS)
        return min(self.budget, step * params.verify_every)

    def set_out(self, row: Row) -> None:
        """Prepare `row` for the node that it is about to decode."""
        row.plain = self._plain
        row.steps_left = row.branch.step.steps
        if self.replay is not None:
            row.steps_left = 1
        self._set_limit(row)

    def look(self, row: Row) -> Finish | None:
        """How the node has ended with the token that `row` has just got; None: it goes on.

        Need not be asked about a token in `row.plain` before the output has `row.stop_len`.
        """
        ids = row.req.output_ids
        if len(ids) < row.stop_len and not self._ends(row, ids):
            return None
        own, branch = row.own_ids(), row.branch
        finish = self._finish(row, own, full=branch.parent_len + len(own) >= self.budget)
        if finish is Finish.STOP and row.steps_left is not None and row.steps_left > 1:
            branch.ends.append(branch.parent_len + len(own))
            row.steps_left -= 1
            row.step_begin = len(ids)
            self._set_limit(row)
            return None
        return finish

    def split(self, ids: Sequence[int], begin: int) -> list[int]:
        """Ends of the steps in ids[begin:], the last of them always len(ids)."""
        return self._steps.split(ids, begin)

    def _set_limit(self, row: Row) -> None:
        """Where the tokens that the row's current step may have are used up."""
        done = row.step_begin - row.begin
        left = self.budget - row.branch.parent_len - done
        if self.replay is not None:
            limit = min(left, self.replay.step_tokens(row.branch.path))
        elif row.steps_left is None:
            limit = left
        else:
            params = self._params
            limit = min(left, params.max_step_tokens, params.step_tokens or left)
        row.stop_len = row.step_begin + limit

    def _ends(self, row: Row, ids: Sequence[int]) -> bool:
        if self.replay is not None:
            return False
        if self._steps.is_plain(ids[-1]):
            return False
        if self._steps.is_eos(ids[-1]):
            return True
        by_steps = row.steps_left is not None
        return by_steps and self._steps.is_boundary(ids, row.step_begin, len(ids))

    def _finish(self, row: Row, own: Sequence[int], *, full: bool) -> Finish:
        if self.replay is not None:
            return Finish.LENGTH if full else self.replay.finish(row.branch.path)
        return self._steps.finish(own, row.step_begin - row.begin, full=full)
