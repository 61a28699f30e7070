"""The process that runs math-verify. Run as a script: pairs of answers in, verdicts out.

After READY, a line of input is a JSON list of two answers, and the line that comes back is a JSON
list of whether they are equal and of the CPU seconds that it took. The kernel ends the process when
one comparison takes too long: sympy may then be deep in an operation on integers that no Python
signal interrupts.
"""

import json
import logging
import math
import os
import resource
import sys
import time
from functools import lru_cache
from typing import Any

READY = "ready"  # the first line of output
CPU_S = 3  # for one comparison
ADDRESS_SPACE_BYTES = 4 << 30


def main() -> None:
    """Answer until the input ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no reply
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    logging.disable()  # math-verify warns of what is done here on purpose
    from math_verify import parse, verify

    @lru_cache(maxsize=4096)
    def parsed(answer: str) -> Any:
        return parse(f"${answer}$", parsing_timeout=0)  # 0: without their signals

    print(READY, file=replies, flush=True)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    for line in sys.stdin:
        began = time.process_time()
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(began) + CPU_S, hard))
        try:
            one, other = json.loads(line)
            equal = bool(verify(parsed(one), parsed(other), timeout_seconds=0))
        except Exception:  # sympy raises what it likes
            equal = False
        print(json.dumps([equal, time.process_time() - began]), file=replies, flush=True)


if __name__ == "__main__":
    main()
