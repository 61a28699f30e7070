"""What searches decide with bursts of so many decode steps, as digests to compare between engines.

python -m tests.runtime.bursts ENGINE_ARGS_JSON NUM_PROBLEMS STEPS
"""

import hashlib
import json
import sys
from dataclasses import replace

from fasttts_sglang import FastTTSConfig, FastTTSEngine, SearchResult
from fasttts_sglang.models import tiny_task

from .modes import WIDE, tree

# without speculation the rows of a batch, and so its rounding, do not depend on the clock
PLAIN = replace(WIDE, speculation="off")
KINDS = {"plain": PLAIN, "top_p": replace(PLAIN, top_p=0.95)}


def digest(result: SearchResult) -> str:
    """Of everything that the search decided."""
    return hashlib.sha256(repr(tree(result)).encode()).hexdigest()[:12]


if __name__ == "__main__":
    config = FastTTSConfig(decode_burst=int(sys.argv[3]))
    problems = tiny_task.problems(92, int(sys.argv[2]), "heldout")
    with FastTTSEngine(config=config, **json.loads(sys.argv[1])) as engine:
        found = {
            kind: [digest(engine.search(problem, params)) for problem in problems]
            for kind, params in KINDS.items()
        }
        print("BURSTS " + json.dumps(found), flush=True)
