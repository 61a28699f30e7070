"""Ordinary requests on a server with our plugin give the tokens that stock SGLang gives."""

import json
import subprocess
import sys
from typing import Any

import pytest

from .ordinary import REQUESTS


def run(kind: str, engine_args: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.runtime.ordinary", kind, json.dumps(engine_args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    marked = [line for line in done.stdout.splitlines() if line.startswith("ORDINARY ")]
    assert marked, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(marked[-1].removeprefix("ORDINARY "))
    return result


def compare(engine_args: dict[str, Any]) -> None:
    stock, ours = run("stock", engine_args), run("plugin", engine_args)
    for request, expected, got in zip(REQUESTS, stock["rounds"], ours["rounds"], strict=True):
        assert got == expected, request
    assert ours["beside"] == stock["beside"], "a search beside them changed ordinary requests"
    tokens = sum(len(output[0]) for outputs in stock["rounds"] for output in outputs)
    print(f"{len(REQUESTS)} kinds of requests, {tokens} tokens: identical")


def test_same_tokens_with_and_without_the_plugin() -> None:
    compare({})


@pytest.mark.gpu
def test_same_tokens_with_and_without_the_plugin_on_a_gpu() -> None:
    graphs = {"disable_prefill_cuda_graph": True, "cuda_graph_max_bs_decode": 16}
    compare({"attention_backend": "triton", **graphs})
