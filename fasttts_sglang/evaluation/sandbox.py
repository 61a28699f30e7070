"""Runs Python that a model wrote: in bubblewrap, under resource limits, or not at all.

The program sees the standard library, a private /tmp and nothing else: no network, no environment,
no other file or process of the machine, and it can start no process. This holds mistakes and
mischief off the machine; a program that sets out to fool its own tests can still do so.
"""

import functools
import os
import secrets
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError

CPU_S = 10
WALL_S = 30  # a program may also sleep
ADDRESS_SPACE_BYTES = 1 << 30
FILE_BYTES = 1 << 20  # of each file, and of all that is printed
TMP_BYTES = 64 << 20
_NOBODY = 65534
_TAIL = 500  # characters of a program's output that are kept

# First thing in the sandbox. The kernel exempts root from RLIMIT_NPROC, hence setuid.
_START = f"""
import os, resource, sys
mark = sys.stdin.readline().strip()
program = sys.stdin.read()
if os.getuid() == 0:
    os.setgroups([])
    os.setgid({_NOBODY})
    os.setuid({_NOBODY})
limits = dict(CPU={CPU_S}, AS={ADDRESS_SPACE_BYTES}, FSIZE={FILE_BYTES}, NPROC=0, CORE=0)
for name, limit in limits.items():
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (limit, limit))
os.write(1, f"begin {{mark}}\\n".encode())
exec(compile(program, "program.py", "exec"), {{"__name__": "__main__"}})
sys.stdout.flush()
os.write(1, f"\\nend {{mark}}".encode())
os._exit(0)
"""

_PROBE = """
import os
try:
    os.fork()
except OSError:
    pass
else:
    raise SystemExit("the kernel does not limit the number of processes")
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a program. `output` is the end of what it printed, errors included."""

    passed: bool  # it came to its end without an exception and without leaving early
    output: str


def run(program: str) -> Outcome:
    """Run `program` as `__main__`.

    Raises:
        ConfigError: bubblewrap is missing or does not work here.
    """
    check()
    return _run(program)


@functools.cache
def check() -> None:
    """Try the sandbox once.

    Raises:
        ConfigError: It does not hold.
    """
    outcome = _run(_PROBE)
    if not outcome.passed:
        raise _unusable(outcome.output)


def _run(program: str) -> Outcome:
    mark = secrets.token_hex(16)
    source = f"{mark}\n{program}".encode(errors="replace")
    with tempfile.TemporaryFile() as output:
        try:
            subprocess.run(
                _command(),
                input=source,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=WALL_S,
                check=False,
            )
            note = ""
        except FileNotFoundError as exc:
            raise _unusable("there is no program `bwrap`") from exc
        except subprocess.TimeoutExpired:
            note = f"\nstopped after {WALL_S} s"
        output.seek(0)
        text = output.read(2 * FILE_BYTES).decode(errors="replace")
    _, began, rest = text.partition(f"begin {mark}\n")
    if not began:
        raise _unusable(text + note)
    printed, ended, _ = rest.partition(f"\nend {mark}")
    return Outcome(bool(ended), (printed + note).strip()[-_TAIL:])


def _command() -> list[str]:
    python, prefix = Path(sys.executable).resolve(), Path(sys.base_prefix).resolve()
    command = ["bwrap", "--die-with-parent", "--new-session", "--clearenv"]
    if os.getuid() == 0:  # without a user namespace, in which it could become nobody else
        command += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
        command += ["--unshare-cgroup-try", "--cap-drop", "ALL"]
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-all"]
    command += ["--perms", "1777", "--size", str(TMP_BYTES), "--tmpfs", "/tmp", "--dev", "/dev"]
    for folder in ("/usr", "/lib", "/lib64"):
        command += ["--ro-bind-try", folder, folder]
    if not prefix.is_relative_to("/usr"):
        for parent in reversed(prefix.parents[:-1]):
            command += ["--perms", "0755", "--dir", str(parent)]
        command += ["--ro-bind", str(prefix), str(prefix)]
    command += ["--remount-ro", "/", "--chdir", "/tmp", "--setenv", "PYTHONHASHSEED", "0"]
    return [*command, str(python), "-s", "-S", "-P", "-B", "-X", "utf8", "-c", _START]


def _unusable(why: str) -> ConfigError:
    return ConfigError(
        "--grader: code needs bubblewrap 0.7 or later (package `bubblewrap`), and leave to create"
        f" namespaces; model code is never run without it. Here: {why.strip()[-_TAIL:]}"
    )
