"""Does KV memory really move between two pools on this GPU? About a minute; no model is needed.

    python -m benchmarks.resize_check             # memory alone
    python -m benchmarks.resize_check --engine    # and searches of the tiny pair while it moves
    python -m benchmarks.resize_check --graphs    # the same with the verifier's CUDA graphs

The first part makes two pools under one budget, writes a value of its own into every token slot,
moves memory to and fro at random, and compares with what the driver says. A CUDA graph that was
captured before the first move reads and writes the pools throughout. The second part runs the same
searches with and without random moves, with CUDA graphs and the overlap schedule, in deterministic
mode, and compares the results. In that mode the verifier has no CUDA graphs; with --graphs it has,
and searches only have to end well, since batches of other sizes may round differently.

Prints a line per check, a table, and one JSON line. Exits with 1 if a check failed.
"""

import argparse
import json
import random
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from .environment import describe

MIB = 1 << 20
LAYERS = 8
SLACK = 128 * MIB  # what CUDA takes for kernels, graphs and page tables meanwhile


class Checks:
    """Runs checks and keeps what came of them."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.figures: dict[str, Any] = {}

    def run(self, name: str, check: Callable[[], Any]) -> bool:
        """Run one check; a failure is printed whole and does not stop the rest."""
        try:
            said = check()
        except Exception:
            self.failed.append(name)
            print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
            return False
        print(f"ok      {name}{f': {said}' if said else ''}", flush=True)
        return True


class Memory:
    """Two pools of different shapes over the same granules, and a graph captured over both."""

    def __init__(self, budget: int) -> None:
        import torch

        from fasttts_sglang.runtime.pools.cuda_backing import CudaBacking
        from fasttts_sglang.runtime.pools.cuda_driver import Granules

        self.torch = torch
        self.device = torch.device("cuda", torch.cuda.current_device())
        torch.zeros(1, device=self.device)
        torch.cuda.synchronize()
        self.used_before = self.used()
        self.granules = Granules(self.device)
        self.pools = []
        for heads in (2, 4):  # 512 and 1024 bytes per token, layer, and keys or values
            token_bytes = 2 * LAYERS * heads * 128 * 2
            rows = budget // token_bytes
            shapes = [(rows, heads, 128)] * (2 * LAYERS)
            self.pools.append(CudaBacking(shapes, torch.bfloat16, self.granules, rows // 2 - 4096))
        self.budget = budget

    def used(self) -> int:
        """Bytes that the driver says are in use on the device."""
        free, total = self.torch.cuda.mem_get_info(self.device)
        return int(total - free)

    def mapped(self) -> int:
        """Bytes that the pools have mapped."""
        return sum(pool.mapped_bytes for pool in self.pools)

    def fill(self, pool: Any, begin: int, end: int) -> None:
        """Write the slot's number into every element of these rows."""
        torch = self.torch
        values = torch.arange(begin, end, device=self.device) % 251
        for layer, tensor in enumerate(pool.tensors):
            rows = tensor[begin:end]
            rows.copy_((values + layer)[:, None, None].to(tensor.dtype).expand_as(rows))

    def verify(self, pool: Any, end: int) -> None:
        """Rows below `end` hold what `fill` wrote."""
        torch = self.torch
        values = torch.arange(end, device=self.device) % 251
        for layer, tensor in enumerate(pool.tensors):
            wanted = (values + layer).to(tensor.dtype)
            wrong = (tensor[:end] != wanted[:, None, None]).any(-1).any(-1).sum().item()
            assert wrong == 0, f"{wrong} of {end} rows of buffer {layer} changed"

    def capture(self) -> None:
        """A graph that reads row 1 of every buffer and writes row 0."""
        torch = self.torch
        self.seen = torch.zeros(2, device=self.device)

        def body() -> None:
            for index, pool in enumerate(self.pools):
                self.seen[index] = sum(tensor[1, 0, 0].float() for tensor in pool.tensors)
                for tensor in pool.tensors:
                    tensor[0].copy_(tensor[1])

        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            body()
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            body()

    def replay(self) -> None:
        """The graph still reaches both pools."""
        torch = self.torch
        self.seen.zero_()
        self.graph.replay()
        torch.cuda.synchronize()
        wanted = float(sum(1 + layer for layer in range(2 * LAYERS)))
        assert self.seen.tolist() == [wanted] * 2, (self.seen.tolist(), wanted)
        for pool in self.pools:  # put row 0 back
            self.fill(pool, 0, 1)


def check_memory(checks: Checks, budget: int, moves: int) -> None:
    """Reserve, map, write, move, compare with the driver."""
    made: list[Memory] = []
    if not checks.run("reserve, map, make tensors", lambda: made.append(Memory(budget))):
        return
    memory = made[0]

    def first_write() -> str:
        for pool in memory.pools:
            memory.fill(pool, 0, pool.rows)
            memory.verify(pool, pool.rows)
        size = memory.granules.size / MIB
        return f"granules of {size:.0f} MiB, units of {[pool.unit for pool in memory.pools]} tokens"

    def driver_agrees() -> str:
        memory.torch.cuda.synchronize()
        driver, ours = memory.used() - memory.used_before, memory.mapped()
        checks.figures["driver_bytes"], checks.figures["mapped_bytes"] = driver, ours
        # temporaries of the checks stay with torch's allocator
        cached = memory.torch.cuda.memory_reserved()
        assert abs(driver - cached - ours) <= SLACK, (driver, cached, ours)
        return f"driver {(driver - cached) / MIB:.0f} MiB, ours {ours / MIB:.0f} MiB"

    def move_at_random() -> str:
        rng, seconds, worst = random.Random(0), [], 0
        for _ in range(moves):
            giver, taker = rng.sample(memory.pools, 2)
            keep = rng.randrange(giver.unit, giver.rows + 1)
            keep = keep // giver.unit * giver.unit
            old = taker.rows
            memory.torch.cuda.synchronize()
            began = time.perf_counter()
            giver.unmap(keep)
            spare = budget - giver.mapped_bytes
            taker.map(min(taker.largest, spare // taker.row_bytes // taker.unit * taker.unit))
            memory.torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
            memory.granules.settle()
            memory.fill(taker, old, min(taker.rows, taker.largest))
            for pool in memory.pools:
                memory.verify(pool, min(pool.rows, pool.largest))
            memory.replay()
            used = memory.used() - memory.used_before - memory.torch.cuda.memory_reserved()
            worst = max(worst, used)
            assert memory.mapped() <= budget, (memory.mapped(), budget)
            assert used <= budget + SLACK, f"driver says {used}, budget is {budget}"
        checks.figures["move_ms"] = [round(s * 1e3, 2) for s in seconds]
        checks.figures["peak_driver_bytes"] = worst
        return f"{moves} moves, median {statistics.median(seconds) * 1e3:.1f} ms, at most " + (
            f"{max(seconds) * 1e3:.1f} ms; the driver's peak {worst / MIB:.0f} MiB of"
            f" {budget / MIB:.0f} MiB"
        )

    def too_much() -> str:
        torch = memory.torch
        pool = max(memory.pools, key=lambda pool: pool.mapped_bytes)
        pool.unmap(pool.unit)
        memory.granules.settle()
        free, _ = torch.cuda.mem_get_info(memory.device)
        hog = torch.empty(max(0, free - 128 * MIB), dtype=torch.uint8, device=memory.device)
        try:
            pool.map(pool.largest)
        except RuntimeError as exc:
            said = str(exc)
        else:
            raise AssertionError("the whole budget was mapped beside a full device")
        finally:
            del hog
            torch.cuda.empty_cache()
        assert pool.rows == pool.unit
        memory.verify(pool, pool.unit)
        memory.replay()
        return said

    def close() -> str:
        del memory.graph
        for pool in memory.pools:
            pool.close()
        memory.granules.settle()
        memory.torch.cuda.empty_cache()
        left = memory.used() - memory.used_before
        assert left <= SLACK, f"{left} bytes are left"
        return f"{left / MIB:.1f} MiB left"

    for name, check in (
        ("write and read", first_write),
        ("the driver's figure", driver_agrees),
        ("capture a graph", memory.capture),
        ("replay it", memory.replay),
        ("move memory at random", move_at_random),
        ("a full device is refused", too_much),
        ("give everything back", close),
    ):
        if not checks.run(name, check):
            return


def check_engine(checks: Checks, moves: int, widths: list[int], *, exact: bool) -> None:
    """The same searches with and without random moves; `exact`: in deterministic mode."""
    import torch

    from fasttts_sglang import FastTTSEngine, SearchParams
    from fasttts_sglang.config import FastTTSConfig
    from fasttts_sglang.models import tiny_task

    problems = tiny_task.problems(3, len(widths), "heldout")
    params = [SearchParams.from_dict({**tiny_task.SEARCH, "n": n, "seed": n}) for n in widths]
    # so little for the generator at first that searches need slots which it gets later
    first, others_tokens = (8_192, 800_000) if torch.cuda.is_available() else (2_000, 20_000)
    config = FastTTSConfig(kv_resize="auto", verifier_tokens=others_tokens)
    options: dict[str, Any] = {"max_total_tokens": first}
    if torch.cuda.is_available():
        options |= {
            "enable_deterministic_inference": exact,
            "attention_backend": "triton",  # the others have no graphs of the verifier
            "disable_prefill_cuda_graph": True,
            "cuda_graph_max_bs_decode": 256,
        }
    with FastTTSEngine(config=config, **options) as engine:
        sglang: Any = engine._engine

        def state() -> dict[str, Any]:
            found = engine.wait(engine._client.memory())
            assert found is not None, "the scheduler does not answer"
            assert found["budget"] is not None, "the pools were not built elastic: see the log"
            return dict(found)

        def used() -> int:
            if not torch.cuda.is_available():
                return 0
            free, total = torch.cuda.mem_get_info()
            return total - free

        def undisturbed() -> str:
            checks.figures["before"] = state()
            engine.flush_cache()
            results.append(engine.search(problems, params))
            return f"{len(problems)} searches"

        def disturbed() -> str:
            rng, refused, asked, seconds = random.Random(1), [], 0, []
            before = peak = used()  # the driver's figure: both pools have all of the budget

            def work() -> None:
                while asked < moves or not others:
                    others.append(engine.search(problems, params))

            others: list[Any] = []
            thread = threading.Thread(target=work)
            thread.start()
            while thread.is_alive():
                asked += 1
                began = time.perf_counter()
                try:
                    share = rng.uniform(0.1, 0.95)
                    sglang.collective_rpc("fasttts_resize", generator_share=share)
                except AssertionError as exc:
                    refused.append(str(exc))
                seconds.append(time.perf_counter() - began)
                peak = max(peak, used())
            thread.join()
            checks.figures["driver_grew_by_bytes"] = peak - before
            checks.figures["after"] = after = state()
            checks.figures["refused"] = refused[:5]
            checks.figures["call_ms"] = statistics.median(seconds) * 1e3
            budget = after["budget"]
            assert budget["peak_bytes"] <= budget["budget_bytes"], budget
            assert budget["resizes"] > 0, refused[:3]
            assert peak - before <= SLACK, f"the driver says {peak - before} bytes more"
            results.extend(others)
            used_at_once = max(r.usage.kv_high_water_tokens for run in others for r in run)
            assert used_at_once > first, f"{used_at_once} of {first} tokens: no new slot was used"
            return (
                f"{asked} asked, {budget['resizes']} done, {len(refused)} refused while"
                f" {len(others) * len(problems)} searches ran"
            )

        def same() -> str:
            first, *others = [
                [(r.answer, [(c.text, c.score) for c in r.candidates]) for r in run]
                for run in results
            ]
            wrong = sum(a != b for run in others for a, b in zip(first, run, strict=True))
            if not exact:
                return f"{wrong} of {len(others) * len(first)} searches came out otherwise"
            assert wrong == 0, f"{wrong} searches came out otherwise"
            return f"{len(others)} runs equal to the undisturbed one"

        results: list[Any] = []
        time.sleep(1)  # SGLang checks its pools when it is idle, and dies if something leaked
        for name, check in (
            ("searches without moves", undisturbed),
            ("searches with random moves", disturbed),
            ("the same results", same),
            ("no leak", lambda: (time.sleep(2), str(state()["pools"]))[1]),
        ):
            if not checks.run(name, check):
                return


def main() -> None:
    """Run the checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget-mib", type=int, default=2048)
    parser.add_argument("--moves", type=int, default=50)
    parser.add_argument("--engine", action="store_true", help="also run searches of the tiny pair")
    parser.add_argument("--graphs", action="store_true", help="and with the verifier's graphs")
    parser.add_argument("--engine-moves", type=int, default=200)
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 8, 16, 32, 64, 128, 256])
    args = parser.parse_args()
    checks = Checks()
    import torch

    if torch.cuda.is_available():
        check_memory(checks, args.budget_mib * MIB, args.moves)
    elif not (args.engine or args.graphs):
        sys.exit("no CUDA device: only --engine can run, on plain memory")
    if args.engine:
        check_engine(checks, args.engine_moves, args.widths, exact=True)
    if args.graphs:
        check_engine(checks, args.engine_moves, args.widths, exact=False)
    print(json.dumps({"environment": describe(), "failed": checks.failed, **checks.figures}))
    sys.exit(bool(checks.failed))


if __name__ == "__main__":
    main()
