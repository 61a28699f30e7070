"""A search out of a client's message, or the reason why there is none."""

import sys
from typing import Any

from ..config import FastTTSConfig
from ..errors import BadRequest
from ..scheduling.slots import FLOOR, floor_for
from ..scheduling.tree import SearchTree
from ..search.aggregate import AGGREGATIONS
from ..search.algorithms import SAMPLING, make
from ..search.params import SearchParams, Speculation
from ..search.replay import Replay, ReplaySpec
from .active_search import ActiveSearch
from .counts import Counts
from .messages import SearchMessage
from .reading import Reading
from .rendering import SharedTokens
from .rows import RowFactory
from .scoring import Scoring
from .step_rules import StepRules
from .steps import StepEnds
from .verifier import Verifier


class SearchFactory:
    """Makes searches for one scheduler and its models."""

    def __init__(
        self, scheduler: Any, config: FastTTSConfig, verifier: Verifier | None, rows: RowFactory
    ) -> None:
        self._scheduler = scheduler
        self._config = config
        self._verifier = verifier
        self._rows = rows

    def make(self, message: SearchMessage, runner: Any) -> ActiveSearch:
        """A search that `runner` will drive.

        Raises:
            BadRequest: A parameter is wrong, or asks for more than the models or memory can hold.
        """
        params = SearchParams.from_dict(message.params)
        self._check(params)
        replay = None
        if self._config.replay:
            replay = Replay(ReplaySpec.from_json(self._config.replay), params.seed)
        scheduler, verifier = self._scheduler, self._verifier
        renderer = SharedTokens() if verifier is None else verifier.renderer
        problem = Reading.of(renderer.prompt(message), message.problem)
        budget = self._rows.path_budget(len(message.prompt_ids), params.max_tokens)
        longest = sys.maxsize
        if verifier is not None:
            budget = verifier.path_budget(problem.begin, budget)
            longest = verifier.max_tokens
        steps = StepEnds(
            scheduler.tokenizer,
            params.stop,
            params.stop_token_ids,
            params.step_tokens,
            self._rows.eos_token_ids,
        )
        mode = Speculation(params.speculation or self._config.speculation)
        floor = floor_for(params.n) if mode is Speculation.FULL else FLOOR
        tree = SearchTree(make(params), AGGREGATIONS[params.aggregation], mode, floor)
        rules = StepRules(params, budget, steps, replay, scheduler.model_config.vocab_size)
        counts = Counts(len(message.prompt_ids))
        scoring = Scoring(
            tree, renderer, problem, longest, replay, counts, alternate=self._config.prefix_order
        )
        return ActiveSearch(runner, message, params, tree, rules, scoring, counts)

    def _check(self, params: SearchParams) -> None:
        if params.n > self._config.max_width:
            raise BadRequest(
                "n", f"{params.n} exceeds --fasttts-max-width {self._config.max_width}"
            )
        if self._verifier is None and not params.verifier_free:
            raise BadRequest(
                "algorithm",
                f"{params.algorithm!r} with selection {params.chosen_by!r} needs a verifier,"
                " and the server was started without --fasttts-verifier-path",
            )
        if self._config.replay and params.algorithm in SAMPLING:
            raise BadRequest("algorithm", f"{params.algorithm} has no steps that could be replayed")
