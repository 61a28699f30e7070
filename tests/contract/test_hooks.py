"""The hook table fits the installed SGLang, and a table that does not fit is refused."""

import ast
import hashlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from sglang.srt.plugins.hook_registry import HookType

from fasttts_sglang.errors import IncompatibleSGLang
from fasttts_sglang.runtime import hooks, stock_cli
from fasttts_sglang.runtime.cpu.hooks import CPU_MAIN_HOOKS, CPU_SCHEDULER_HOOKS
from fasttts_sglang.runtime.hook import Hook, Use, check
from fasttts_sglang.runtime.offload_hooks import OFFLOAD_HOOKS
from fasttts_sglang.runtime.pools.hooks import POOL_HOOKS
from fasttts_sglang.runtime.shared_attention import SHARED_ATTENTION_HOOKS
from fasttts_sglang.runtime.uses import MAIN_USES, SCHEDULER_USES

TABLE = (*hooks.SCHEDULER_HOOKS, *hooks.MAIN_HOOKS, *hooks.HTTP_HOOKS, *CPU_MAIN_HOOKS)
TABLE += (
    *CPU_SCHEDULER_HOOKS,
    *POOL_HOOKS,
    *OFFLOAD_HOOKS,
    *SHARED_ATTENTION_HOOKS,
    *stock_cli.HOOKS,
)
ROWS: tuple[Hook | Use, ...] = (*TABLE, *MAIN_USES, *SCHEDULER_USES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.target.rsplit(".", 1)[-1])
def test_target_exists_and_takes_what_we_rely_on(row: Hook | Use) -> None:
    row.check()
    assert row.why


def test_the_decode_loop_that_we_shorten_is_the_one_we_read() -> None:
    """`take_tokens` does for rows what is left of this method; if it changes, so must we."""
    from sglang.srt.managers.scheduler_components.batch_result_processor import (
        SchedulerBatchResultProcessor,
    )

    stock = inspect.unwrap(SchedulerBatchResultProcessor.process_batch_result_decode)
    digest = hashlib.sha256(inspect.getsource(stock).encode()).hexdigest()
    assert digest.startswith("f9da1ca362ae81e4")


def test_the_step_that_a_burst_repeats_is_the_one_we_read() -> None:
    """`BurstGraphs` does behind a first step what these do before one."""
    from sglang.srt.layers.attention.triton_backend import TritonAttnBackend
    from sglang.srt.model_executor.runner.decode_cuda_graph_runner import DecodeCudaGraphRunner

    read = (
        DecodeCudaGraphRunner.load_batch,
        DecodeCudaGraphRunner.execute,
        TritonAttnBackend.init_forward_metadata_out_graph,
        TritonAttnBackend._apply_cuda_graph_metadata,
    )
    source = "".join(inspect.getsource(inspect.unwrap(method)) for method in read)
    assert hashlib.sha256(source.encode()).hexdigest().startswith("0a0249387aa0823e")


def nothing(*_: object) -> None:
    """A hook function for tables that must be refused."""


@pytest.mark.parametrize(
    ("target", "needs", "message"),
    [
        ("sglang.srt.managers.scheduler.Scheduler.gone", (), "gone is not in this SGLang"),
        ("sglang.srt.no_such_module.f", (), "no_such_module.f is not in this SGLang"),
        (
            "sglang.srt.managers.scheduler.Scheduler.abort_request",
            ("self", "color"),
            r"abort_request no longer takes \['color'\]",
        ),
    ],
)
def test_a_misfit_is_named(target: str, needs: tuple[str, ...], message: str) -> None:
    with pytest.raises(IncompatibleSGLang, match=message):
        check([Hook(target, needs, HookType.AFTER, nothing, "test")])
    with pytest.raises(IncompatibleSGLang, match=message):
        check([Use(target, needs, "test")])


def test_a_value_of_another_type_is_named() -> None:
    target = "sglang.srt.managers.utils._async_d2h"
    with pytest.raises(IncompatibleSGLang, match="_async_d2h is no longer dict but function"):
        check([Use(target, dict, "test")])


def private_names(node: ast.AST) -> list[str]:
    """`_name` of `other._name`, or imported from SGLang."""
    if isinstance(node, ast.Attribute):
        of_us = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        names = [] if of_us else [node.attr]
    elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sglang"):
        names = [alias.name for alias in node.names]
    else:
        names = []
    return [name for name in names if name.startswith("_") and not name.startswith("__")]


def test_every_private_name_that_we_use_is_a_row() -> None:
    attributes = {  # of instances: nothing to look at
        *("_request_dispatcher", "_result_dispatcher"),
        *("_outputs", "_replay_graph_key", "_translate_kv_loc"),  # see the test of a burst's step
    }
    python = {"_forkserver", "_stop"}  # multiprocessing.forkserver, see test_cpu_boot.py
    used = {
        name
        for path in Path(hooks.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in private_names(node)
    }
    assert used - attributes - python == {
        row.target.rsplit(".", 1)[-1] for row in (*MAIN_USES, *SCHEDULER_USES)
    }


def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        timeout=300,
    )


PREPARE = "from fasttts_sglang.runtime import cpu; cpu.prepare()\n"


def test_installed_is_not_enabled() -> None:
    """Without our configuration no hook is registered and no SGLang module is imported by us."""
    done = run(
        "import sys; from fasttts_sglang.runtime.plugin import register; register();"
        "assert not [m for m in sys.modules if m.startswith(('sglang', 'torch'))], sys.modules"
    )
    assert done.returncode == 0, done.stderr


def test_enabled_but_misfitting_does_not_start() -> None:
    """SGLang would log our exception and serve without us."""
    done = run(
        PREPARE
        + "import dataclasses\n"
        + "from fasttts_sglang.runtime import hooks, plugin\n"
        + "bad = dataclasses.replace(hooks.MAIN_HOOKS[0], needs=('flux',))\n"
        + "hooks.MAIN_HOOKS = (bad,)\n"
        + "from sglang.srt.plugins import load_plugins\n"
        + "load_plugins(); plugin.register(); print('started')",
        FASTTTS_CONFIG="{}",
    )
    assert done.returncode != 0
    assert "fasttts:" in done.stderr
    assert "no longer takes ['flux']" in done.stderr
    assert "started" not in done.stdout


def test_a_hook_that_sglang_lost_is_noticed() -> None:
    done = run(
        PREPARE
        + "from fasttts_sglang.runtime import hooks\n"
        + "from fasttts_sglang.runtime.hook import install, verify\n"
        + "from sglang.srt.plugins.hook_registry import HookRegistry\n"
        + "install(hooks.MAIN_HOOKS)\n"
        + "try: verify(hooks.MAIN_HOOKS)\n"
        + "except Exception as exc: print(exc)\n"
        + "HookRegistry.apply_hooks(); verify(hooks.MAIN_HOOKS); print('applied')"
    )
    assert "did not apply our hooks on" in done.stdout, done.stderr
    assert done.stdout.endswith("applied\n")
