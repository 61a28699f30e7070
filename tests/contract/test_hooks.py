"""The hook table fits the installed SGLang, and a table that does not fit is refused."""

import hashlib
import inspect
import subprocess
import sys

import pytest
from sglang.srt.plugins.hook_registry import HookType

from fasttts_sglang.errors import IncompatibleSGLang
from fasttts_sglang.runtime import hooks, stock_cli
from fasttts_sglang.runtime.cpu.hooks import CPU_MAIN_HOOKS, CPU_SCHEDULER_HOOKS
from fasttts_sglang.runtime.hook import Hook, check
from fasttts_sglang.runtime.offload_hooks import OFFLOAD_HOOKS
from fasttts_sglang.runtime.pools.hooks import POOL_HOOKS

TABLE = (*hooks.SCHEDULER_HOOKS, *hooks.MAIN_HOOKS, *hooks.HTTP_HOOKS, *CPU_MAIN_HOOKS)
TABLE += (*CPU_SCHEDULER_HOOKS, *POOL_HOOKS, *OFFLOAD_HOOKS, *stock_cli.HOOKS)


@pytest.mark.parametrize("hook", TABLE, ids=lambda hook: hook.target.rsplit(".", 1)[-1])
def test_target_exists_and_takes_what_we_rely_on(hook: Hook) -> None:
    hook.check()
    assert hook.why


def test_the_decode_loop_that_we_shorten_is_the_one_we_read() -> None:
    """`take_tokens` does for rows what is left of this method; if it changes, so must we."""
    from sglang.srt.managers.scheduler_components.batch_result_processor import (
        SchedulerBatchResultProcessor,
    )

    stock = inspect.unwrap(SchedulerBatchResultProcessor.process_batch_result_decode)
    digest = hashlib.sha256(inspect.getsource(stock).encode()).hexdigest()
    assert digest.startswith("f9da1ca362ae81e4")


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
