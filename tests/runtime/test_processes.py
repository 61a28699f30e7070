"""The processes of an engine live and die together."""

import signal
import subprocess
import sys
import time

import psutil

BOOT = (
    "import time; from fasttts_sglang import FastTTSEngine; engine = FastTTSEngine();"
    "print('READY', flush=True); time.sleep(600)"
)


def test_nothing_survives_a_killed_main_process() -> None:
    """The fork server outlived its parent and kept a scheduler spinning on a core."""
    command = [sys.executable, "-W", "ignore", "-c", BOOT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as main:
        assert main.stdout is not None
        assert any(line.startswith("READY") for line in main.stdout), "it did not boot"
        family = psutil.Process(main.pid).children(recursive=True)
        assert len(family) >= 2
        main.send_signal(signal.SIGKILL)
        for _ in range(100):
            alive = [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
            if not alive:
                break
            time.sleep(0.1)
        for process in alive:
            process.kill()
    assert not alive
