"""The verifier's server args are SGLang's while its code runs, and only then."""

from copy import deepcopy

import pytest
from sglang.srt.runtime_context import get_context, get_schedule

from fasttts_sglang.runtime.own_config import OwnConfig


def test_args_are_published_as_often_as_the_verifier_runs() -> None:
    context = get_context()
    with context.override_server_args(max_running_requests=3) as generator:
        context.override("test", max_running_requests=4)  # after it was published
        args = deepcopy(generator)
        args.override("test", max_running_requests=7)
        own = OwnConfig(args)
        for _ in range(2):
            assert context.server_args is generator
            assert get_schedule().max_running_requests == 4
            with own.published():
                assert context.server_args is args
                assert get_schedule().max_running_requests == 7
        with pytest.raises(OSError), own.published():
            raise OSError
        assert context.server_args is generator
        assert get_schedule().max_running_requests == 4
        assert context.overrides_log() == [("test", {"max_running_requests": 4})]
