"""No verifier and hardly any memory: clear refusals, and what can run does."""

import json
import subprocess
import sys


def test_what_cannot_run_is_refused_with_the_reason_and_the_rest_runs() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.runtime.small"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    marked = [line for line in done.stdout.splitlines() if line.startswith("SMALL ")]
    assert marked, done.stderr[-3000:]
    outcome = {case: rest for case, *rest in json.loads(marked[0].removeprefix("SMALL "))}
    for case in ("beam", "best of n by score"):
        assert "needs a verifier, and the server was started without" in outcome[case][0]
    assert (
        "1500 response tokens exceeds the generator's KV cache of 1000"
        in (outcome["too large for KV"][0])
    )
    assert outcome["vote"][1] == 0
    # 32 rows of up to 300 tokens in 1000 slots: SGLang retracts and resumes rows
    assert 1 <= outcome["vote in little memory"][0] <= 32
