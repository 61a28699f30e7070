"""One server for all tests of this folder: a process of its own, as its users start it."""

import subprocess
from collections.abc import Iterator

import pytest

from .serving import START, free_port, wait_until_up


@pytest.fixture(scope="package")
def url(tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    url = f"http://127.0.0.1:{(port := free_port())}"
    flags = ["--model-path", tiny["generator"], "--fasttts-verifier-path", tiny["verifier"]]
    flags += ["--port", str(port), "--api-key", "secret", "--fasttts-max-width", "64"]
    flags += ["--enable-metrics"]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as out:
        server = subprocess.Popen([*START, *flags], stdout=out, stderr=out, start_new_session=True)
        try:
            wait_until_up(url, server, log)
            yield url
            assert server.poll() is None, log.read_text()[-3000:]
        finally:
            server.terminate()
            server.wait(60)
    assert "leak" not in log.read_text()
    assert "Traceback" not in log.read_text()
