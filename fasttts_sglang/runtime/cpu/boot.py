"""A faster start on a CPU: import once, in parallel, and only the model code that is needed.

SGLang spawns its processes, so each imports everything anew after the main process has done the
same. Without CUDA nothing forbids forking them from a process that has the modules already: the
standard library's fork server. It starts importing while the main process does.
"""

import json
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from ...config import ENV
from ...errors import ConfigError

_SKIP = "SGLANG_DISABLED_MODEL_ARCHS"
_PRELOAD = "fasttts_sglang.runtime.cpu.preload"


def skip_other_models(*model_paths: str | None) -> None:
    """Tell SGLang's model registry to import only the modules that hold these models' classes.

    Args:
        model_paths: The generator, which must be known, and the verifier, if there is one.

    Raises:
        ConfigError: An engine started earlier by this process has ruled these models out.
    """
    wanted = _architectures(model_paths[0])
    if not wanted:
        return
    wanted += [name for path in model_paths[1:] if path for name in _architectures(path)]
    found = find_spec("sglang")
    folder = Path(found.origin or "").parent / "srt" / "models" if found else Path()
    modules = {path.stem: path for path in folder.glob("*.py") if path.stem != "__init__"}
    classes = re.compile(rf"^class ({'|'.join(map(re.escape, wanted))})\b", re.MULTILINE)
    needed = {name for name, path in modules.items() if classes.search(path.read_text())}
    if lacking := needed & set(os.environ.get(_SKIP, "").split(",")):
        raise ConfigError(
            f"on a CPU, the first engine of a process decides which model code is imported: "
            f"{', '.join(sorted(lacking))} was not; start this engine in a process of its own"
        )
    if not needed or _SKIP in os.environ or "sglang.srt.models.registry" in sys.modules:
        return  # not needed: the classes come from elsewhere, every module is as good a guess
    os.environ[_SKIP] = ",".join(sorted(modules.keys() - needed))


def _architectures(model_path: str | None) -> list[str]:
    try:
        config = json.loads((Path(model_path or "") / "config.json").read_text())
        return list(config.get("architectures") or ())
    except (OSError, ValueError):
        return []


def start_importing() -> None:
    """Start the fork server, which imports SGLang in the background."""
    if sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods():
        multiprocessing.set_forkserver_preload([_PRELOAD])
        forkserver.ensure_running()


def stop_importing() -> None:
    """Wait until the fork server is gone. SGLang's shutdown kills it with all other children.

    The next engine of this process would take one that is dying for one that runs.
    """
    server: Any = forkserver._forkserver
    server._stop()


def fork_children(_none: None, *_: Any) -> None:
    """AFTER engine._set_envs_and_config, which chose to spawn."""
    if ENV in os.environ:  # else a stock engine, in a process that has started one of ours
        multiprocessing.set_start_method("forkserver", force=True)


def relay_quit() -> None:
    """In the fork server: pass on what a dying child tells its parent, which SGLang's main
    process waits for."""
    signal.signal(signal.SIGQUIT, lambda *_: os.kill(os.getppid(), signal.SIGQUIT))


class Child:
    """Entry point of a child process that takes this process's environment along.

    The fork server's own environment is older: SGLang sets variables right before it starts its
    processes.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.function, dict(os.environ))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def _restore(function: Callable[..., Any], environment: dict[str, str]) -> Child:
    os.environ.update(environment)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    return Child(function)
