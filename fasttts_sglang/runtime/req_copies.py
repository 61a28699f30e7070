"""Requests to SGLang that are alike: the first is made, the others are copies of it.

A search has thousands, and `Req.__init__` sets some 130 attributes of each.
"""

import copy
from array import array
from typing import Any

from sglang.srt.managers.schedule_batch import Req

OWN = ("output_ids", "full_untruncated_fill_ids", "time_stats")
"""What SGLang changes in place during the life of a request such as ours."""


def another(req: Req, rid: str, ids: Any, params: Any) -> Req:
    """A request like `req`, which has not begun, but for its id, tokens and sampling parameters.

    Args:
        req: Without logprobs, grammar, images, hidden states or a session.
    """
    made: Req = copy.copy(req)
    made.rid, made.sampling_params = rid, params
    made.origin_input_ids = made.origin_input_ids_unpadded = ids
    made.output_ids, made.full_untruncated_fill_ids = array("q"), array("q")
    # its own copies are for other processes, and lack what only this one needs
    made.time_stats = type(req.time_stats)(disagg_mode=req.time_stats.disagg_mode)
    made.time_stats.set_scheduler_recv_time()
    return made
