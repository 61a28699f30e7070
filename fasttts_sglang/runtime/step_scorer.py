"""Hands the steps of all searches to the verifier, and their scores back."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from .active_search import ActiveSearch
from .reading import ScoreJob
from .verifier import Verifier


class StepScorer:
    """The searches' way to the verifier.

    Args:
        verifier: None: nothing is scored.
        is_live: Whether a search still wants its scores.
        guarded: Calls a function with a search; what it raises is the search's failure.
        fail: Ends a search with an error.
    """

    def __init__(
        self,
        verifier: Verifier | None,
        is_live: Callable[[ActiveSearch], bool],
        guarded: Callable[[ActiveSearch, Callable[[ActiveSearch], Any]], None],
        fail: Callable[[ActiveSearch, Exception], None],
    ) -> None:
        self._verifier = verifier
        self._is_live, self._guarded, self._fail = is_live, guarded, fail
        self._asked: list[tuple[ActiveSearch, list[ScoreJob]]] = []  # what the verifier is at
        self.seconds = 0.0  # spent so far

    @property
    def busy(self) -> bool:
        return self._verifier is not None and self._verifier.busy

    def score(self, searches: list[ActiveSearch]) -> None:
        """Score what is complete, all searches in common batches."""
        tick = time.perf_counter()
        jobs = []
        for search in list(searches):
            try:
                jobs.append(search.jobs())
            except Exception as exc:
                self._fail(search, exc)
                searches.remove(search)
        try:
            if self._verifier is not None:
                self._verifier.score([job for some in jobs for job in some])
        except Exception as exc:
            if len(searches) == 1:
                self._fail(searches[0], exc)
                return
            for search in searches:  # find out whose fault it is
                search.scoring.put_back()
                self.score([search])
            return
        self._asked += zip(searches, jobs, strict=True)
        self._spent(time.perf_counter() - tick, searches)
        self.take()

    def go_on(self) -> None:
        """A verifier that takes its time goes on."""
        assert self._verifier is not None
        self._spend(self._verifier.step)
        self.take()

    def wait(self) -> None:
        """Block until the verifier can go on."""
        assert self._verifier is not None
        self._spend(self._verifier.wait)

    def take(self) -> None:
        """Give out the scores that are there, drop what nobody waits for."""
        asked, self._asked = self._asked, []
        for search, jobs in asked:
            if not self._is_live(search):
                if self._verifier is not None:
                    self._verifier.drop(jobs)
            elif all(job.done for job in jobs):
                self._guarded(search, partial(ActiveSearch.take_scores, jobs=jobs))
            else:
                self._asked.append((search, jobs))

    def _spend(self, act: Callable[[], None]) -> None:
        """`act` takes time that the searches wait for their scores."""
        tick = time.perf_counter()
        act()
        self._spent(time.perf_counter() - tick, [search for search, _ in self._asked])

    def _spent(self, seconds: float, searches: list[ActiveSearch]) -> None:
        self.seconds += seconds
        for search in searches:
            search.timing["verifier_s"] += seconds
