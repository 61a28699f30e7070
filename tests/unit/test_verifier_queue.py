"""Jobs of the verifier: each is answered, equal sequences are computed once."""

from array import array
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fasttts_sglang.runtime.reading import Reading, ScoreJob
from fasttts_sglang.runtime.verifier_queue import VerifierQueue
from fasttts_sglang.verifier.score_cache import ScoreCache

PROBLEM = array("q", [1, 2, 3])
steps = st.lists(st.integers(0, 1), max_size=3)
moves = st.lists(
    st.one_of(
        st.tuples(st.just("add"), steps),
        st.tuples(st.sampled_from(["compute", "put back", "lead", "drop"]), st.integers(0, 5)),
    ),
    max_size=30,
)


def job_of(path: list[int]) -> ScoreJob:
    reading = Reading.of(PROBLEM, None)
    for step in path:
        reading.add([10 + step])
    return ScoreJob(reading, 0)


@given(moves)
def test_all_are_answered_and_equals_are_computed_once(moves: list[tuple[str, Any]]) -> None:
    cache = ScoreCache(1000)
    queue, jobs, computed = VerifierQueue(cache), list[ScoreJob](), list[bytes]()

    def compute(most: int) -> None:
        taken = [queue.take() for _ in range(min(most, len(queue)))]
        for job in taken:
            if job.ends:
                computed.append(job.keys[-1])
            for key in job.keys[len(job.scores) :]:
                job.scores.append(0.5)
                cache.put(key, 0.5)
            job.missing = 0
            queue.done(job)
        if not queue:
            queue.settle_twins()

    for move, what in moves:
        if move == "add":
            jobs.append(job_of(what))
            queue.add(jobs[-1])
        elif move == "compute":
            compute(what)
        elif move == "put back":
            queue.put_back([queue.take() for _ in range(min(what, len(queue)))])
        elif move == "lead":
            queue.lead(list(queue)[what:])
        else:
            queue.drop(jobs[what : what + 1])
            del jobs[what : what + 1]
    while not queue.idle:
        compute(2)
    assert len(set(computed)) == len(computed)
    assert all(job.done and len(job.scores) == len(job.ends) for job in jobs)
    late = job_of([0, 1, 0, 1])
    queue.add(late)  # nothing of what was dropped is still waited for
    assert queue.take() is late
