"""Servers that could not search do not start."""

from types import SimpleNamespace

import pytest

from fasttts_sglang.errors import ConfigError
from fasttts_sglang.runtime.launch import check_arguments

FITTING = {"dp_size": 1, "pp_size": 1, "tokenizer_worker_num": 1}


@pytest.mark.parametrize("name", FITTING)
def test_what_leaves_us_out_is_refused(name: str) -> None:
    check_arguments(SimpleNamespace(**FITTING))
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')}: must be 1.*got 2"):
        check_arguments(SimpleNamespace(**{**FITTING, name: 2}))
