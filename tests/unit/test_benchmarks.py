"""The parts of the benchmarks that need no engine."""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as bench
from benchmarks import compare, host_profile, options, plan, points, predicted, slices
from benchmarks.baselines.stock import Prefilled, ReplayedSteps, StockPair
from benchmarks.budget import GIB, RESERVE, kv_bytes_per_token, split, weight_bytes
from benchmarks.hook_time import take_tokens_us
from benchmarks.log import Log
from benchmarks.machine import Machine
from benchmarks.measures import Measures
from benchmarks.setting import QUICK, shaped
from benchmarks.shapes import PAIRS, SHAPES
from benchmarks.workload import work
from fasttts_sglang import FastTTSConfig, SearchParams
from fasttts_sglang.memory.machines import MACHINES
from fasttts_sglang.memory.planner import Planner
from fasttts_sglang.runtime import kv_split
from fasttts_sglang.search.replay import Replay, ReplaySpec
from tests.unit import test_kv_split

SPEC = ReplaySpec(mean_tokens=9, min_steps=2, max_steps=4)


class PairInMemory(StockPair):
    """Two engines that remember everything they have seen, or nothing at all."""

    def __init__(self, *, forgetful: bool = False) -> None:
        self.scored = Prefilled()
        self._seen: dict[str, list[list[int]]] = {"generator": [], "verifier": []}
        self._forgetful = forgetful

    def _cached(self, model: str, ids: list[int]) -> int:
        most = 0
        for other in self._seen[model] if not self._forgetful else ():
            same = 0
            while same < min(len(ids) - 1, len(other)) and ids[same] == other[same]:
                same += 1
            most = max(most, same)
        return most

    def generate(
        self, prompts: list[list[int]], params: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        outputs, after = [], []
        for row, (ids, sampling) in enumerate(zip(prompts, params, strict=True)):
            new = [1000 + len(self._seen["generator"]) * 100 + row] * sampling["max_new_tokens"]
            cached = self._cached("generator", ids)
            outputs.append(
                {
                    "output_ids": new,
                    "meta_info": {"cached_tokens": cached, "num_retractions": 0},
                }
            )
            after.append([*ids, *new[:-1]])  # nothing has run the last one
        self._seen["generator"] += after
        return outputs

    def score(self, sequences: list[list[int]]) -> list[float]:
        for ids in sequences:
            self.scored.tokens += len(ids)
            self.scored.cached += self._cached("verifier", ids)
        self._seen["verifier"] += sequences
        return [0.5] * len(sequences)


@given(st.sampled_from([4, 8, 16]), st.integers(0, 1000))
def test_the_baseline_returns_what_the_algorithm_alone_does(n: int, seed: int) -> None:
    params = SearchParams(n=n, seed=seed, stop=())
    needed = work(SPEC, params, 7)
    found = PairInMemory().search(list(range(7)), params, ReplayedSteps(Replay(SPEC, seed)))
    assert tuple(node.path for node in found.candidates) == needed.candidates
    assert found.completion_tokens == needed.tokens
    assert max(len(ids) for ids in found.ids.values()) - 7 == needed.chain_tokens


@given(st.integers(0, 1000), st.integers(1, 60))
def test_the_limit_counts_paths_that_are_cut(seed: int, max_tokens: int) -> None:
    params = SearchParams(n=8, seed=seed, max_tokens=max_tokens, stop=())
    needed = work(SPEC, params, 7)
    assert needed.chain_tokens <= max_tokens
    found = PairInMemory().search(list(range(7)), params, ReplayedSteps(Replay(SPEC, seed)))
    assert found.completion_tokens == needed.tokens


def test_a_baseline_with_all_its_cache_computes_nothing_again() -> None:
    params = SearchParams(n=8, seed=3, stop=())
    found = PairInMemory().search(list(range(7)), params, ReplayedSteps(Replay(SPEC, 3)))
    assert (found.recomputed_tokens, found.verifier_recomputed_tokens) == (0, 0)
    assert found.verifier_tokens == work(SPEC, params, 7).verifier_tokens


def test_a_baseline_without_any_cache_computes_every_path_again() -> None:
    """Of each row all of its parent's path, but for the token that the generator never ran."""
    params = SearchParams(n=8, seed=3, stop=())
    found = PairInMemory(forgetful=True).search(
        list(range(7)), params, ReplayedSteps(Replay(SPEC, 3))
    )
    begin = [len(found.ids[path[:-1]]) for path in found.ids if path]
    assert found.verifier_recomputed_tokens == sum(begin)
    assert found.recomputed_tokens == sum(begin) - len(begin)


def test_a_host_profile_begins_below_the_scheduler_loop(tmp_path: Path) -> None:
    loop = ["run_scheduler", "Scheduler.event_loop_overlap", "wrapper"]
    stacks = [[*loop, "step", "score", 3], [*loop, "step", 4], [*loop, "Scheduler.run_batch", 2]]
    (tmp_path / "0.json").write_text(json.dumps(stacks))
    calls = host_profile.read(tmp_path / "0.json")
    assert calls.count == 9
    assert list(calls.lines(30, 9)) == ["  77.8 step", "    33.3 score"]


def test_every_pair_shares_a_vocabulary() -> None:
    assert {"1.5b+1.5b", "1.5b+7b", "7b+1.5b", "1.5b+mistral-7b"} <= set(PAIRS)
    for pair in PAIRS:
        generator, verifier = (SHAPES[name] for name in pair.split("+"))
        assert generator["vocab_size"] == verifier["vocab_size"]


@given(st.sampled_from(PAIRS), st.floats(0.5, 40), st.floats(0.05, 0.95))
def test_a_split_spends_the_budget_and_no_more(pair: str, kv_gib: float, share: float) -> None:
    models = pair.split("+")
    tokens = split(models[0], models[1], kv_gib, share)
    per_token = [kv_bytes_per_token(model) for model in models]
    spent = sum(t * b for t, b in zip(tokens, per_token, strict=True))
    assert kv_gib * GIB - sum(per_token) <= spent <= kv_gib * GIB


def measured(system: str, n: int, seed: int, latency_s: float) -> Measures:
    return Measures(system, n, seed, latency_s, 1, 1, 1, 1, 0.5, 1.0, 1.0, 1, 1, 1.0, 1.0, 1.0)


def test_the_best_split_is_the_fastest_over_common_seeds_at_the_largest_n() -> None:
    rows = [
        measured("stock, 30 % verifier", 64, 1, 5.0),
        measured("stock, 50 % verifier", 64, 1, 4.0),
        measured("stock, 30 % verifier", 256, 1, 6.0),
        measured("stock, 50 % verifier", 256, 1, 7.0),
        measured("stock, 50 % verifier", 256, 2, 1.0),  # the other has no seed 2
        measured("stock, 40 % verifier", 256, 1, 1.0),  # not asked for
        measured("fasttts", 256, 1, 1.0),
    ]
    assert plan.best_share(rows, [0.3, 0.5, 0.6]) == 0.3
    assert plan.best_share(rows[-1:], [0.3, 0.5]) is None
    assert plan.best_share(rows[:1], [0.3, 0.5]) is None  # nothing to compare it with


def test_a_comparison_puts_ours_beside_the_first_baseline() -> None:
    first, second = plan.comparison(["off", "full"], [0.3, 0.5], 0.4)
    names = [column.name for column in first.columns]
    assert names == ["stock, 30 % verifier", "fasttts, speculation off", "fasttts"]
    assert (first.share, first.our_share, second.share) == (0.3, 0.4, 0.5)
    assert second.has_stock and not second.has_ours


def test_variants_are_measured_in_engines_of_their_own() -> None:
    argv = ["--gpu", "--variant", 'burst2={"decode_burst": 2}', 'off={"prefix_order": false}']
    args = options.parse(None, argv)
    first, *others = plan.comparison(["full"], [None], None, dict(args.variant))
    assert [c.name for c in first.columns] == ["stock", "fasttts"] and first.config == {}
    assert [(part.columns[0].name, part.config, part.has_stock) for part in others] == [
        ("fasttts, burst2", {"decode_burst": 2}, False),
        ("fasttts, off", {"prefix_order": False}, False),
    ]


def test_other_attention_backends_are_baselines_of_their_own() -> None:
    args = options.parse(None, ["--gpu", "--stock-attention", "flashinfer"])
    first, other = plan.comparison(["full"], [0.3], 0.3, stock_attention=args.stock_attention)
    assert first.stock_attention is None
    assert [column.name for column in other.columns] == ["stock, 30 % verifier, flashinfer"]
    assert (other.stock_attention, other.share, other.has_ours) == ("flashinfer", 0.3, False)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("burst2", "is not NAME={...}"),
        ("burst2={", "Expecting property name"),
        ('burst0={"decode_burst": 0}', "--fasttts-decode-burst: it must be"),
        ('other={"decode_bust": 2}', "decode_bust"),
    ],
)
def test_a_wrong_variant_is_named(
    variant: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        options.parse(None, ["--gpu", "--variant", variant])
    said = capsys.readouterr().err
    assert variant in said and message in said


def test_an_ablation_adds_one_switch_after_the_other() -> None:
    """Another configuration or split takes another boot, other parameters of a search do not."""
    switches = (
        plan.Switch("all off", {"max_searches": 1}, {"speculation": "off"}),
        plan.Switch("+ searches", {"max_searches": 2}),
        plan.Switch("+ paper", params={"speculation": "paper"}),
        plan.Switch("+ plan", planned=True),
        plan.Switch("+ full", params={"speculation": "full"}),
    )
    first, second, third = plan.ablation(0.3, 0.4, 0.2, switches)
    assert [c.name for c in first.columns] == ["stock, 30 % verifier", "all off"]
    assert [part.config for part in (first, second, third)] == [
        {"max_searches": 1},
        {"max_searches": 2},
        {"max_searches": 2},
    ]
    assert [part.our_share for part in (first, second, third)] == [0.4, 0.4, 0.2]
    assert [part.share for part in (first, second, third)] == [0.3, None, None]
    assert [(c.name, c.params) for part in (second, third) for c in part.columns] == [
        ("+ searches", {"speculation": "off"}),
        ("+ paper", {"speculation": "paper"}),
        ("+ plan", {"speculation": "paper"}),
        ("+ full", {"speculation": "full"}),
    ]
    unplanned = plan.ablation(0.3, 0.4, None, switches)
    assert "+ plan" not in [c.name for part in unplanned for c in part.columns]


def test_apart_each_system_has_its_process() -> None:
    together = plan.comparison(["off", "full"], [0.3, 0.5], 0.4)
    parts = plan.apart(together)
    assert [(part.has_stock, part.has_ours) for part in parts] == [
        (True, False),
        (False, True),
        (True, False),
    ]
    assert [c for part in parts for c in part.columns] == [
        c for part in together for c in part.columns
    ]


def test_the_ablation_begins_with_everything_off_and_ends_with_the_default() -> None:
    columns = [column for part in plan.ablation(None, None, None) for column in part.columns]
    assert [columns[0].name, columns[1].name] == ["stock", "everything off"]
    assert columns[1].params == {"speculation": "off"}
    assert columns[-1].params == {"speculation": "full"}


def test_the_ablation_names_fields_that_there_are() -> None:
    """A name that the configuration does not have was once left out without a word."""
    for switch in plan.SWITCHES:
        FastTTSConfig(**switch.config)
        SearchParams(**switch.params)
    parts = plan.ablation(0.3, 0.3, 0.2)
    assert [column.name for part in parts for column in part.columns] == [
        "stock, 30 % verifier",
        "everything off",
        "+ prefix order",
        "+ planned split",
        "+ resizing",
        "+ speculation paper",
        "+ speculation full",
    ]
    last = parts[-1]
    assert (last.our_share, dict(last.config)) == (0.2, {"prefix_order": True, "kv_resize": "auto"})


def test_a_log_gives_back_what_belongs_to_its_setting(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    one, other = Log(path, "one", "card"), Log(path, "other", "card")
    assert (one.rows(), one.machine()) == ([], None)
    row, machine = measured("stock", 8, 1, 2.0), Machine({8: 0.5}, None)
    assert json.loads(one.add(row))["latency_s"] == 2.0
    one.add_machine(machine)
    other.add(measured("stock", 8, 2, 3.0))
    assert one.rows() == [row]
    assert one.machine() == machine
    elsewhere = Log(path, "one", "another card")
    assert (elsewhere.rows(), elsewhere.machine()) == ([], None)
    assert Log(None, "one", "card").rows() == []


def test_where_no_search_was_measured_there_is_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With too few --minutes for a boot the plot had no widths and failed."""
    args = SimpleNamespace(out=tmp_path / "report.md", kv_gib=None, ablate=False)
    bench._report(args, QUICK, [], Log(None, "one", "card"), [])
    assert "nothing was measured within --minutes" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--quick", "--kv-gib", "1"], "--kv-gib: needs --gpu"),
        (["--gpu", "--sweep"], "--sweep: needs --kv-gib or --gpu-gib"),
        (["--gpu", "--pair", "7b+toy"], "invalid choice: '7b+toy'"),
        (["--gpu", "--stock-share", "1.5"], "--stock-share: must be in [0.01, 0.95], got 1.5"),
        (["--gpu", "--gpu-gib", "4"], "--gpu-gib: the weights of 1.5b+1.5b take 5.75 GiB"),
        (["--gpu", "--ablate", "--sweep", "--kv-gib", "1"], "not allowed with"),
    ],
)
def test_wrong_arguments_name_themselves(
    argv: Sequence[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        options.parse(None, argv)
    assert message in capsys.readouterr().err


def test_a_card_becomes_a_budget_of_kv() -> None:
    args = options.parse(None, ["--gpu", "--pair", "7b+1.5b", "--gpu-gib", "24"])
    setting = options.setting(args, gpu=True)
    assert setting.name == "7b+1.5b, 4.54 GiB of KV"
    generator = setting.stock(0.5)["generator_args"]["max_total_tokens"]
    assert generator == split("7b", "1.5b", args.kv_gib, 0.5)[0]


@pytest.mark.parametrize("pair", ["7b+1.5b", "1.5b+7b", "1.5b+mistral-7b"])
@pytest.mark.parametrize("share", [0.05, 0.15, 0.333, 0.6, 0.8])
def test_on_a_small_card_both_systems_get_what_it_has_and_no_more(
    pair: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The baseline by tokens, ours by --fasttts-kv-split beside --max-total-tokens, on a GPU with
    plenty of memory."""
    args = options.parse(None, ["--gpu", "--pair", pair, "--gpu-gib", "24"])
    setting = options.setting(args, gpu=True)
    stock = setting.stock(share)
    engine, memory = setting.ours(share)
    assert engine["max_total_tokens"] == stock["generator_args"]["max_total_tokens"]

    world = SimpleNamespace(world_size=1, cpu_group=None, ranks=[0])
    monkeypatch.setattr(kv_split, "get_world_group", lambda: world)
    monkeypatch.setattr(kv_split, "get_available_gpu_memory", lambda *_, **__: 60.0)
    monkeypatch.setattr(kv_split.calibration, "this_machine", lambda *_: MACHINES["h200"])
    models = pair.split("+")
    made = [test_kv_split.runner(SHAPES[model]) for model in models]
    scheduler = test_kv_split.scheduler(SHAPES[models[0]], engine["max_total_tokens"])
    verifier = SimpleNamespace(model_runner=made[1], model_config=made[1].model_config)
    found = kv_split.kv_split(scheduler, verifier, FastTTSConfig(replay="{}", **memory))
    assert found.plan is not None
    assert found.verifier_tokens == pytest.approx(stock["verifier_args"]["max_total_tokens"], abs=4)
    per_token = [kv_bytes_per_token(model) for model in models]
    kv_bytes = engine["max_total_tokens"] * per_token[0] + found.verifier_tokens * per_token[1]
    weights = weight_bytes(models[0]) + weight_bytes(models[1], verifier=True)
    assert kv_bytes <= args.kv_gib * GIB
    assert weights + kv_bytes <= (1 - RESERVE) * 24 * GIB
    assert found.plan.budget_bytes <= args.kv_gib * GIB


SLICE = """
import sys, time
from pathlib import Path
from benchmarks import slices
number, folder = sys.argv[-1], Path(sys.argv[1])
if number == "9":
    sys.exit("broken")
slices.report_ready()
slices.report_started()
turns = slices.Turns(folder / "log")
for turn in range(2):
    with turns():
        assert not (folder / "busy").exists()
        (folder / "busy").touch()
        time.sleep(0.05)
        (folder / "busy").unlink()
        print(f"slice {number} turn {turn}", flush=True)
"""


@pytest.fixture
def run_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """Runs slices that are SLICE instead of a benchmark; returns what they print."""
    script = tmp_path / "slice.py"
    script.write_text(SLICE)
    popen = subprocess.Popen

    def start(command: list[str], **kwargs: Any) -> Any:
        assert command[1:3] == ["-m", "benchmarks"]
        return popen([sys.executable, str(script), str(tmp_path), *command[3:]], **kwargs)

    monkeypatch.setattr(slices.subprocess, "Popen", start)

    def run(numbers: Sequence[int], together: int, deadline: float) -> list[str]:
        failed = slices.run_all(["--gpu"], numbers, together, deadline)
        assert failed == [number for number in numbers if number == 9]
        return sorted(capsys.readouterr().out.splitlines())

    return run


@pytest.mark.parametrize("together", [1, 3])
def test_slices_take_turns_and_a_broken_one_holds_nobody_up(
    run_slices: Callable[..., list[str]], together: int
) -> None:
    said = run_slices([0, 9, 2], together, time.monotonic() + 60)
    assert said == [f"slice {number} turn {turn}" for number in (0, 2) for turn in (0, 1)]


def test_no_slice_starts_after_the_deadline(run_slices: Callable[..., list[str]]) -> None:
    assert run_slices([0, 1], 1, time.monotonic() - 1) == []


def test_the_hook_that_is_timed_takes_every_token() -> None:
    """Against a change of the runtime that would leave the timing loop with nothing to do."""
    assert take_tokens_us(3) > 0


def run_of(split: tuple[int, int], seed: int, total_s: float, planned: bool = False) -> points.Run:
    machine = MACHINES["h200"].to_dict()
    return points.Run("toy+toy", 8, seed, *split, planned, 4, total_s, 0.1, 9, None, None, machine)


def test_splits_are_compared_by_the_seeds_that_all_have() -> None:
    spec = '{"min_steps": 4, "max_steps": 4}'
    settings = {"toy+toy": shaped("toy", "toy", [8], spec, 0.01, gpu=False)}
    runs = [
        run_of((4000, 1000), 1, 4.0),
        run_of((3000, 2000), 1, 4.4, planned=True),
        run_of((4000, 1000), 2, 40.0),  # the other has none: the deadline was in between
    ]
    first, second = points.points(runs, settings)
    assert [(p.share, p.planned, p.seeds, p.measured_s) for p in (first, second)] == [
        (0.2, False, 1, 1.0),
        (0.4, True, 1, 1.1),
    ]
    said = points.report([first, second])
    assert "planned 1.100 s per round, best of 2 1.000 s at 0.200: 10.0 % slower" in said
    assert "not measured" in points.report([first])
    assert points.Run.from_json(runs[0].to_json()) == runs[0]


def test_a_prediction_is_the_planners() -> None:
    setting = shaped("7b", "1.5b", [256], "{}", 1.5, gpu=True)
    models, work = predicted.models(setting), predicted.workload(setting, 256)
    planner = Planner(*models, MACHINES["h200"], work)
    tokens = (15_000, 12_000)
    budget = sum(model.kv_bytes * each for model, each in zip(models, tokens, strict=True))
    plan = planner.at(budget, models[1].kv_bytes * tokens[1])
    run = dataclasses.replace(run_of(tokens, 1, 9.0), pair="7b+1.5b", n=256)
    (point,) = points.points([run], {"7b+1.5b": setting})
    assert point.predicted_s == pytest.approx(plan.round_s, rel=0.01)
    assert point.off == pytest.approx(plan.round_s / (9.0 / 4) - 1, rel=0.05)


def test_no_two_searches_of_a_comparison_share_a_prompt() -> None:
    """A width once found the scores of a smaller one's nodes in the score cache."""
    columns = [compare.Column(name, {}) for name in ("stock", "fasttts", "fasttts paper")]
    prompts = [
        tuple(compare._prompt(QUICK, seed, n, column))
        for seed in range(1, 21)
        for n in (8, 16, 64, 98, 256, 512)
        for column in columns
    ]
    assert len(set(prompts)) == len(prompts)
