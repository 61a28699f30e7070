"""Which of SGLang's model code is imported on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fasttts_sglang.engine import TINY
from fasttts_sglang.errors import ConfigError
from fasttts_sglang.runtime.cpu import boot

SKIP = "SGLANG_DISABLED_MODEL_ARCHS"


def test_a_second_engine_of_another_architecture_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It used to start, without its model's code, and to fail in the scheduler."""
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    monkeypatch.setenv(SKIP, "llama,gemma")
    boot.skip_other_models(str(TINY / "generator"), str(TINY / "verifier"))
    with pytest.raises(ConfigError, match="llama was not; start this engine in a process of its"):
        boot.skip_other_models(str(tmp_path))
    with pytest.raises(ConfigError, match="llama was not"):
        boot.skip_other_models(str(TINY / "generator"), str(tmp_path))


def test_a_killed_fork_server_is_waited_for() -> None:
    """SGLang's shutdown kills it; an engine that came soon after once talked to a dying one."""
    program = (
        "import multiprocessing, os, signal\n"
        "from multiprocessing import forkserver\n"
        "from fasttts_sglang.runtime.cpu import boot\n"
        "def main():\n"
        "    context = multiprocessing.get_context('forkserver')\n"
        "    for _ in range(5):\n"
        "        forkserver.ensure_running()\n"
        "        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)\n"
        "        boot.stop_importing()\n"
        "        child = context.Process(target=print, args=('forked',))\n"
        "        child.start(); child.join()\n"
        "        boot.stop_importing()\n"
        "    boot.stop_importing()\n"
        "if __name__ == '__main__': main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["forked"] * 5, done.stderr
