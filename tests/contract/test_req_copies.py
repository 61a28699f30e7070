"""A copy of a request is one that SGLang would have made."""

from array import array
from typing import Any

from sglang.srt.managers.schedule_batch import Req
from sglang.srt.sampling.sampling_params import SamplingParams

from fasttts_sglang.runtime.req_copies import OWN, another

NEVER_CHANGED = {  # in place, for a request without the features that need them
    *("origin_input_ids", "origin_input_ids_unpadded", "sampling_params", "prefix_indices"),
    *("logprob", "hidden_states", "skip_lock_node_ids", "dllm_incomplete_ids"),
    *("spec_correct_drafts_histogram", "spec_cap_lens_histogram"),
}
PLAIN = (int, float, str, bool, tuple, frozenset, type(None))


def test_what_can_be_changed_in_place_is_known() -> None:
    """A new attribute of this kind must be copied, or never change for rows of ours."""
    req = Req("first", "", array("q", [1, 2]), SamplingParams())
    changeable = {name for name, value in vars(req).items() if not isinstance(value, PLAIN)}
    assert changeable == NEVER_CHANGED | set(OWN)


def test_a_copy_is_like_a_new_one_and_shares_nothing_that_changes() -> None:
    def seen(req: Req) -> dict[str, Any]:
        plain = {name: v for name, v in vars(req).items() if name != "time_stats"}
        return {**plain, "prefix_indices": req.prefix_indices.tolist(), "logprob": str(req.logprob)}

    ids, params = array("q", [3, 4, 5]), SamplingParams(max_new_tokens=7)
    first = Req("first", "", array("q"), SamplingParams(), vocab_size=9, priority=3)
    made = another(first, "other", ids, params)
    assert seen(made) == seen(Req("other", "", ids, params, vocab_size=9, priority=3))
    made.output_ids.append(6)
    made._refresh_fill_ids()
    made.time_stats.set_completion_time()
    assert not first.output_ids and not first.full_untruncated_fill_ids
    assert first.time_stats.completion_time != made.time_stats.completion_time
    assert len(another(first, "third", ids, params).output_ids) == 0
