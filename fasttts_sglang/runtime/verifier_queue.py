"""Jobs of a verifier: equal ones are computed once, known ones not at all."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from ..verifier.score_cache import ScoreCache
from .reading import ScoreJob


class VerifierQueue:
    """Jobs that wait, in their order, and jobs that wait for their equals.

    Equal sequences are scored once: another place in a batch may round differently, and beams that
    hold the same tokens must tie exactly.

    Args:
        cache: Scores of steps that were computed before.
    """

    def __init__(self, cache: ScoreCache) -> None:
        self._cache = cache
        self._jobs: deque[ScoreJob] = deque()
        self._by_key: dict[bytes, ScoreJob] = {}  # of those with ends that are not `done`
        self._twins: list[ScoreJob] = []  # their last key is that of another

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[ScoreJob]:
        return iter(self._jobs)

    @property
    def idle(self) -> bool:
        """Whether nothing waits, not even for an equal."""
        return not self._jobs and not self._twins

    @property
    def first(self) -> ScoreJob:
        return self._jobs[0]

    def add(self, job: ScoreJob) -> None:
        """Let `job` wait for its forward, or for its equal's, unless its scores are known.

        A job without ends only brings its KV into the cache.
        """
        if not job.ends:
            self._jobs.append(job)
            return
        known = self._from_cache(job)
        job.missing = len(job.ends) - len(job.scores)
        if known:
            return
        first = self._by_key.setdefault(job.keys[-1], job)
        (self._jobs if first is job else self._twins).append(job)

    def take(self) -> ScoreJob:
        """The first job; it is being computed until it is `done`."""
        return self._jobs.popleft()

    def put_back(self, jobs: Sequence[ScoreJob]) -> None:
        """Jobs that were taken and not computed come first again."""
        self._jobs.extendleft(reversed(jobs))

    def lead(self, jobs: Iterable[ScoreJob]) -> None:
        """Let these of the waiting jobs come first."""
        first = list(jobs)
        leading = set(map(id, first))
        self._jobs = deque([*first, *(job for job in self._jobs if id(job) not in leading)])

    def done(self, job: ScoreJob) -> None:
        """`job` is computed, or will not be."""
        if job.ends and self._by_key.get(job.keys[-1]) is job:
            del self._by_key[job.keys[-1]]

    def settle_twins(self) -> None:
        """Jobs whose equals are done take their scores, or are computed themselves."""
        twins, self._twins = self._twins, []
        for job in twins:
            self.add(job)

    def drop(self, jobs: Sequence[ScoreJob]) -> None:
        """Forget jobs that nobody waits for; what is being computed stays known."""
        dropped = set(map(id, jobs))
        for job in self._jobs:
            if id(job) in dropped:
                self.done(job)
        self._jobs = deque(job for job in self._jobs if id(job) not in dropped)
        self._twins = [job for job in self._twins if id(job) not in dropped]

    def _from_cache(self, job: ScoreJob) -> bool:
        known = [self._cache.get(key) for key in job.keys]
        job.scores = [score for score in known if score is not None]
        if len(job.scores) == len(known):
            return True
        job.scores = []
        for score in known:  # the known head stands; from the first gap on all is computed
            if score is None:
                break
            job.scores.append(score)
        return False
