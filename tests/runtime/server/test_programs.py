"""SGLang's frontend language against the server."""

import pytest
import requests

from fasttts_sglang import SearchResult, frontend

from .. import programs
from .serving import KEY

# sglang.lang reports an error by a warning; as an error itself it would never be reported
pytestmark = pytest.mark.filterwarnings("default:Error in stream_executor")


def test_programs_search(url: str) -> None:
    expected = [
        requests.post(
            f"{url}/fasttts/search", json={**programs.PARAMS, "prompt": problem}, headers=KEY
        ).json()
        for problem in programs.PROBLEMS
    ]
    backend = frontend.Endpoint(url, api_key="secret")
    programs.check(backend, [SearchResult.from_dict(one) for one in expected])
