"""Searches on real SGLang with the bundled pair: the main job, its invariants and its faults."""

import asyncio
import statistics
from collections import Counter
from dataclasses import replace

import pytest
from transformers import AutoTokenizer

from fasttts_sglang import BadRequest, FastTTSEngine, SearchFailed, SearchParams, SearchResult
from fasttts_sglang.models import tiny_task
from fasttts_sglang.search.core import Finish
from fasttts_sglang.search.seeds import child_seed

from .modes import tree
from .reference import step_scores

BEAM = SearchParams.from_dict({**tiny_task.SEARCH, "n": 8, "branch": 4})
PROBLEMS = tiny_task.problems(11, 16, "heldout")


@pytest.fixture(scope="module")
def solved(engine: FastTTSEngine) -> list[SearchResult]:
    """All problems searched at once on the shared engine."""
    return engine.search(PROBLEMS, BEAM)


def test_beam_search_beats_the_mean_single_sample(
    engine: FastTTSEngine, solved: list[SearchResult]
) -> None:
    truth = [str(tiny_task.true_answer(problem)) for problem in PROBLEMS]
    found = sum(r.answer == t for r, t in zip(solved, truth, strict=True)) / len(truth)
    sampling = replace(BEAM, algorithm="best_of_n", n=8, selection="majority")
    samples = engine.search(PROBLEMS, sampling)
    single = sum(
        sum(c.answer == t for c in r.candidates) / len(r.candidates)
        for r, t in zip(samples, truth, strict=True)
    ) / len(truth)
    print(f"beam search {found:.2f}, mean single sample {single:.2f}")
    assert found > single


def test_searches_do_not_influence_each_other(
    engine: FastTTSEngine, solved: list[SearchResult]
) -> None:
    """16 searches share batches; the same searches alone must build the same trees."""
    for problem, together in list(zip(PROBLEMS, solved, strict=True))[:4]:
        assert tree(engine.search(problem, BEAM)) == tree(together)


def test_results_do_not_depend_on_what_is_cached(
    engine: FastTTSEngine, solved: list[SearchResult]
) -> None:
    engine.flush_cache()
    assert tree(engine.search(PROBLEMS[0], BEAM)) == tree(solved[0])


def test_scores_equal_a_forward_from_scratch(
    tiny: dict[str, str], solved: list[SearchResult]
) -> None:
    """Incremental, batched, prefix-cached scores against one plain transformers forward."""
    tokenizer = AutoTokenizer.from_pretrained(tiny["verifier"])
    for problem, result in list(zip(PROBLEMS, solved, strict=True))[:4]:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": problem}], tokenize=False, add_generation_prompt=True
        )
        prompt = tokenizer.encode(text, add_special_tokens=False)
        for candidate in result.candidates[:3]:
            ids, ends = list(prompt), []
            for step in candidate.steps:
                ids += step.token_ids
                ends.append(len(ids))
            expected = step_scores(tiny["verifier"], ids, ends)
            assert [s.score for s in candidate.steps] == pytest.approx(expected, abs=1e-3)


def test_candidates_are_well_formed(solved: list[SearchResult]) -> None:
    for result in solved:
        assert result.candidates
        for c in result.candidates:
            assert c.num_tokens == sum(len(step.token_ids) for step in c.steps)
            assert len(c.path) == len(c.steps)
            assert all(step.text.endswith("\n\n") for step in c.steps[:-1])
            assert (c.finish is Finish.EOS) == (not c.text.endswith("\n\n")) or (
                c.finish is Finish.LENGTH
            )


def test_usage_counts_what_was_computed(engine: FastTTSEngine) -> None:
    engine.flush_cache()
    params = replace(BEAM, algorithm="best_of_n", n=4)
    result = engine.search(PROBLEMS[1], params)
    generated = sum(c.num_tokens for c in result.candidates)
    assert result.usage.completion_tokens == generated
    assert result.usage.children == 4
    assert result.usage.rounds == 1
    duplicates = len(result.candidates) - len({c.text for c in result.candidates})
    seen = result.usage.verifier_tokens + result.usage.verifier_cached_tokens
    if not duplicates:
        assert seen == generated + 4 * result.usage.prompt_tokens


def test_siblings_differ_and_seeds_reproduce(engine: FastTTSEngine) -> None:
    params = replace(BEAM, algorithm="best_of_n", n=8, temperature=1.0)
    first, again = (engine.search(PROBLEMS[2], params) for _ in range(2))
    other = engine.search(PROBLEMS[2], replace(params, seed=12345))
    assert tree(first) == tree(again)
    assert tree(first) != tree(other)
    assert len({c.text for c in first.candidates}) > 1


def test_child_0_of_a_search_is_the_sample_of_its_seed(engine: FastTTSEngine) -> None:
    """A path's tokens belong to its seed: best-of-1 with a child's seed is that child."""
    wide = engine.search(PROBLEMS[3], replace(BEAM, algorithm="best_of_n", n=4))
    by_path = {c.path: c.text for c in wide.candidates}
    for child in range(4):
        seed = child_seed(BEAM.seed, 0, child)
        alone = replace(BEAM, algorithm="best_of_n", n=1, branch=1, seed=seed)
        assert engine.search(PROBLEMS[3], alone).candidates[0].text == by_path[(child,)]


def test_step_boundaries_by_count_and_by_token_id(engine: FastTTSEngine) -> None:
    by_count = engine.search(PROBLEMS[0], replace(BEAM, stop=(), step_tokens=7))
    assert {len(s.token_ids) for c in by_count.candidates for s in c.steps[:-1]} == {7}
    plain = engine.search(PROBLEMS[0], BEAM)
    boundary = plain.candidates[0].steps[0].token_ids[-1]
    by_id = engine.search(PROBLEMS[0], replace(BEAM, stop=(), stop_token_ids=(boundary,)))
    assert tree(by_id) == tree(plain)


def test_a_cut_path_is_no_answer(engine: FastTTSEngine) -> None:
    result = engine.search(PROBLEMS[0], replace(BEAM, max_tokens=5))
    assert Counter(c.finish for c in result.candidates) == {Finish.LENGTH: len(result.candidates)}
    assert all(c.num_tokens <= 5 for c in result.candidates)


def test_progress_is_reported_per_round(engine: FastTTSEngine) -> None:
    seen: list[dict[str, object]] = []
    result = engine.search(PROBLEMS[0], BEAM, on_progress=seen.append)
    assert [p["round"] for p in seen] == list(range(1, result.usage.rounds))
    generated = [p["generated_tokens"] for p in seen]
    assert generated == sorted(generated)  # type: ignore[type-var]


def test_given_steps_get_the_scores_that_a_search_gives(
    engine: FastTTSEngine, solved: list[SearchResult]
) -> None:
    best = solved[0].best
    assert best is not None and best.finish is Finish.EOS
    engine.flush_cache()
    scores = engine.score(PROBLEMS[0], [step.text for step in best.steps])
    assert scores == pytest.approx([step.score for step in best.steps], abs=1e-3)
    with pytest.raises(BadRequest, match="steps: step 1 is empty"):
        engine.score(PROBLEMS[0], ["1+1=2\n\n", ""], finished=False)
    with pytest.raises(BadRequest, match=r"steps: \d+ tokens for the verifier, which reads"):
        engine.score(PROBLEMS[0], ["1" * 3000])


def test_a_queued_search_tells_its_position(engine: FastTTSEngine) -> None:
    seen: list[list[dict[str, object]]] = [[] for _ in range(70)]  # 64 run at once

    async def everything() -> list[SearchResult]:
        params = replace(BEAM, n=4, max_tokens=20)
        searches = [
            engine.async_search(PROBLEMS[i % 16], params, on_progress=seen[i].append)
            for i in range(70)
        ]
        return await asyncio.gather(*searches)

    results = engine.wait(everything())
    assert all(result.candidates for result in results)
    positions = [p["queue_position"] for p in seen[69] if p["queue_position"] is not None]
    assert positions and positions == sorted(positions, reverse=True)
    assert all(p["queue_position"] is None for p in seen[0])


@pytest.mark.parametrize("speculation", ["off", "full"])
def test_a_token_budget_ends_a_search_after_a_round(
    engine: FastTTSEngine, speculation: str
) -> None:
    params = replace(BEAM, token_budget=150, speculation=speculation)
    result = engine.search(PROBLEMS[0], params)
    assert result.stopped == "token_budget"
    assert result.usage.completion_tokens >= 150
    full = engine.search(PROBLEMS[0], BEAM)
    assert full.stopped is None and result.usage.rounds < full.usage.rounds
    assert tree(result) == tree(engine.search(PROBLEMS[0], replace(params, speculation="paper")))


def test_a_good_answer_ends_a_search(engine: FastTTSEngine, solved: list[SearchResult]) -> None:
    full = max(solved, key=lambda result: result.usage.rounds)
    problem = PROBLEMS[solved.index(full)]
    assert full.best is not None and full.best.score is not None
    early = engine.search(problem, replace(BEAM, stop_score=1e-6))
    assert early.usage.rounds <= full.usage.rounds
    assert all(c.finish is Finish.EOS for c in early.candidates)
    assert early.stopped == ("stop_score" if early.usage.rounds < full.usage.rounds else None)
    assert engine.search(problem, replace(BEAM, stop_score=1.0)).stopped is None


def test_when_the_time_is_up_there_is_the_best_so_far(
    engine: FastTTSEngine, solved: list[SearchResult]
) -> None:
    """Also at once, before the first round; and nothing is left behind."""
    for seconds in (1e-3, 0.05, 0.2, 0.4):
        result = engine.search(PROBLEMS[0], replace(BEAM, n=64, time_budget_s=seconds))
        assert result.stopped == "time_budget_s"
        assert result.timing["total_s"] < seconds + 2
        assert (result.answer is None) <= (not any(c.answer for c in result.candidates))
    assert engine.search(PROBLEMS[0], replace(BEAM, time_budget_s=600)).stopped is None
    engine.wait(asyncio.sleep(1.0))  # idle: the leak check runs
    assert tree(engine.search(PROBLEMS[0], BEAM)) == tree(solved[0])


@pytest.mark.parametrize(
    ("prompt", "change", "message"),
    [
        ("1+1", {"algorithm": "magic"}, "algorithm: .*magic.*beam"),
        ("1+1", {"n": 0}, "n: .*0"),
        ("1+1", {"n": 10}, "10 is not divisible by branch=4"),
        ("1+1", {"n": 4000}, "n: 4000 exceeds --fasttts-max-width 1024"),
        ("1+" * 3000 + "1", {}, "prompt: .* exceed the model's context"),
    ],
)
def test_bad_input_is_refused_by_name(
    engine: FastTTSEngine, prompt: str, change: dict[str, object], message: str
) -> None:
    with pytest.raises(BadRequest, match=message):
        engine.search(prompt, SearchParams.from_dict({**BEAM.to_dict(), **change}))


def test_a_cancelled_search_leaves_nothing_behind(
    engine: FastTTSEngine, solved: list[SearchResult]
) -> None:
    """Cancel at many moments; afterwards SGLang's idle leak check and a search must be content."""

    async def cancelled(delay: float) -> None:
        task = asyncio.ensure_future(engine.async_search(PROBLEMS[0], replace(BEAM, n=16)))
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def everything() -> SearchResult:
        others = asyncio.ensure_future(engine.async_search(PROBLEMS[1], BEAM))
        for delay in (0.0, 0.01, 0.05, 0.1, 0.2, 0.4):
            await cancelled(delay)
        return await others

    undisturbed = engine.wait(everything())
    assert tree(undisturbed) == tree(solved[1])
    engine.wait(asyncio.sleep(1.0))  # idle: the leak check runs
    assert tree(engine.search(PROBLEMS[0], BEAM)) == tree(solved[0])


def test_of_several_searches_one_that_is_refused_ends_the_others(engine: FastTTSEngine) -> None:
    """They used to go on although nobody could get their results."""
    seen: list[dict[str, object]] = []
    too_wide = replace(BEAM, n=4096)
    with pytest.raises(BadRequest, match="exceeds --fasttts-max-width"):
        engine.search(PROBLEMS[:2], [replace(BEAM, n=16), too_wide], on_progress=seen.append)
    before = len(seen)
    engine.wait(asyncio.sleep(1.5))
    assert len(seen) == before


def test_a_broken_search_hurts_nobody(engine: FastTTSEngine, solved: list[SearchResult]) -> None:
    async def both() -> list[object]:
        good = engine.async_search(PROBLEMS[0], BEAM)
        bad = engine.async_search([10**6], BEAM)
        return await asyncio.gather(good, bad, return_exceptions=True)

    good, bad = engine.wait(both())
    assert isinstance(bad, BadRequest)
    assert isinstance(good, SearchResult)
    assert tree(good) == tree(solved[0])


def test_memory_pressure_changes_time_not_results(
    engine: FastTTSEngine, solved: list[SearchResult]
) -> None:
    """All problems again with a wide search beside them, so that KV is evicted and recomputed."""

    async def everything() -> list[object]:
        wide = engine.async_search(PROBLEMS[2], replace(BEAM, n=256))
        rest = [engine.async_search(p, BEAM) for p in PROBLEMS[:4]]
        return await asyncio.gather(*rest, wide)

    results = engine.wait(everything())
    for result, expected in zip(results[:4], solved[:4], strict=True):
        assert isinstance(result, SearchResult)
        assert tree(result) == tree(expected)


def test_many_searches_and_requests_share_the_engine(engine: FastTTSEngine) -> None:
    """32 searches and 64 ordinary requests at once: as if each were alone, and nobody starves."""
    params = [replace(BEAM, n=4, seed=seed) for seed in (0, 1)]
    searches = [(problem, p) for p in params for problem in PROBLEMS]
    greedy = {"temperature": 0, "max_new_tokens": 30}

    async def everything() -> list[object]:
        found = [engine.async_search(problem, p) for problem, p in searches]
        ordinary = [
            engine._engine.async_generate(PROBLEMS[i % 16], {**greedy, "max_new_tokens": 10 + i})
            for i in range(64)
        ]
        return await asyncio.gather(*found, *ordinary)

    results = engine.wait(everything())
    together, ordinary = results[:32], results[32:]
    for index in (0, 7, 15, 20, 31):
        alone = engine.search(*searches[index])
        assert tree(alone) == tree(together[index])  # type: ignore[arg-type]
    for index in (3, 40, 63):
        alone = engine.generate(PROBLEMS[index % 16], {**greedy, "max_new_tokens": 10 + index})
        assert alone["text"] == ordinary[index]["text"]  # type: ignore[index]
    seconds = [result.timing["total_s"] for result in together]  # type: ignore[attr-defined]
    assert max(seconds) <= 2 * statistics.fmean(seconds)


def test_searches_can_fail_by_name(engine: FastTTSEngine) -> None:
    assert issubclass(SearchFailed, Exception)
    with pytest.raises(BadRequest, match="rid"):

        async def twice() -> None:
            client = engine._client
            await asyncio.gather(
                client.search(PROBLEMS[0], BEAM, rid="same"),
                client.search(PROBLEMS[1], BEAM, rid="same"),
            )

        engine.wait(twice())
