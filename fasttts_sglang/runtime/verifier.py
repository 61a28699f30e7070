"""What a search needs of a verifier, be it a model or a function."""

from collections.abc import Sequence
from typing import Protocol

from .reading import ScoreJob
from .rendering import Renderer


class Verifier(Protocol):
    """Scores steps inside the scheduler process."""

    @property
    def renderer(self) -> Renderer:
        """How it reads a path."""

    @property
    def max_tokens(self) -> int:
        """Longest path that it can read."""

    def path_budget(self, prompt_tokens: int, max_tokens: int) -> int:
        """Response tokens that a path may have. Raises BadRequest if there is no room."""

    @property
    def busy(self) -> bool:
        """Whether jobs are being done; `step` must then be called until they are."""

    def score(self, jobs: Sequence[ScoreJob]) -> None:
        """Fill in `scores` of every job, or begin to. Raises SearchFailed."""

    def step(self) -> None:
        """Go on with the jobs begun."""

    def wait(self) -> None:
        """Block until `step` has something to do."""

    def drop(self, jobs: Sequence[ScoreJob]) -> None:
        """Forget jobs that are not done."""

    def flush(self) -> None:
        """Forget all cached KV."""

    def pool(self) -> dict[str, int]:
        """Tokens of its KV memory by state: used, cached, free; empty if it has none."""

    def leak(self) -> str | None:
        """What is missing of its memory while nothing runs, or None."""


class Immediate:
    """A verifier whose `score` does its jobs at once."""

    @property
    def busy(self) -> bool:
        """Jobs are done at once."""
        return False

    def step(self) -> None:
        """Nothing is begun."""

    def wait(self) -> None:
        """Nothing is begun."""

    def drop(self, jobs: Sequence[ScoreJob]) -> None:
        """Nothing is begun."""
