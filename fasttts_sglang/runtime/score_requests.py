"""Scores of steps that a client brings, beside the searches and by the same verifier."""

import logging
import math
from typing import Any

from ..errors import BadRequest, FastTTSError, SearchFailed
from .messages import ScoreDone, ScoreMessage
from .reading import Reading, ScoreJob
from .verifier import Verifier

logger = logging.getLogger(__name__)


class ScoreRequests:
    """Requests of one scheduler. Nothing raises out.

    Args:
        reply: Sends a message to the client of another.
    """

    def __init__(self, verifier: Verifier | None, reply: Any) -> None:
        self._verifier = verifier
        self._reply = reply
        self._waiting: list[ScoreMessage] = []
        self._begun: list[tuple[ScoreMessage, ScoreJob]] = []

    @property
    def busy(self) -> bool:
        """Whether `step` has something to do."""
        return bool(self._waiting or self._begun)

    def admit(self, message: ScoreMessage) -> None:
        """A request has arrived; `step` begins it."""
        self._waiting.append(message)

    def cancel(self, rid: str, *, everything: bool) -> None:
        """The client of request `rid` is gone."""
        self._waiting = [m for m in self._waiting if not (everything or m.rid == rid)]
        dropped = [entry for entry in self._begun if everything or entry[0].rid == rid]
        self._begun = [entry for entry in self._begun if entry not in dropped]
        if self._verifier is not None:
            self._verifier.drop([job for _, job in dropped])

    def step(self) -> None:
        """Begin what waits, reply what is done. Runs between two batches."""
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            try:
                self._begun.append((message, self._begin(message)))
            except Exception as exc:
                self._fail(message, exc)
        begun, self._begun = self._begun, []
        for message, job in begun:
            if not job.done:
                self._begun.append((message, job))
            elif job.error is not None or not all(map(math.isfinite, job.scores)):
                problem = job.error or f"the verifier returned {job.scores}"
                self._fail(message, SearchFailed(problem))
            else:
                self._reply(message, ScoreDone(rid=message.rid, scores=job.scores))

    def _begin(self, message: ScoreMessage) -> ScoreJob:
        verifier = self._verifier
        if verifier is None:
            raise BadRequest("steps", "the server was started without --fasttts-verifier-path")
        renderer = verifier.renderer
        reading = Reading.of(renderer.prompt(message), message.problem)
        for index, ids in enumerate(message.steps):
            last = message.finished and index == len(message.steps) - 1
            reading.add(renderer.step(ids, index, last), renderer.question(ids, index))
        if len(reading.ids) > verifier.max_tokens:
            raise BadRequest(
                "steps",
                f"{len(reading.ids)} tokens for the verifier, which reads {verifier.max_tokens}",
            )
        job = ScoreJob(reading, 0, of_search=False)
        verifier.score([job])
        return job

    def _fail(self, message: ScoreMessage, exc: Exception) -> None:
        if not isinstance(exc, FastTTSError):
            logger.error("scoring %s failed", message.rid, exc_info=exc)
        error = str(exc) if isinstance(exc, FastTTSError) else f"internal error: {exc!r}"
        field = exc.field if isinstance(exc, BadRequest) else None
        self._reply(message, ScoreDone(rid=message.rid, error=error, error_field=field))
