"""In deterministic mode, what was decoded and evicted is computed again as it was decoded.

SGLang prefills it, and its attention kernels for prefill and decode round their sums otherwise: the
KV of the same tokens then differs in its last bits, and now and then a token drawn from it. So
what a search finds would depend on what was evicted.

A decode batch may hold many tokens of one sequence, each as a row that ends with it: a layer
writes the KV of all rows before they attend, so every token sees those before it. That takes few
forwards, where decoding them one after the other would take one for each.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy
import torch

from .row import row_of

_ROWS = 128  # of a forward: what attention needs beside the KV grows with them


class Span(NamedTuple):
    """What is to be decoded of one row in a prefill."""

    place: int  # of the row in the batch
    begin: int  # where it begins in the row's tokens
    start: int  # and in the batch's
    size: int  # tokens


def launch(stock: Callable[..., Any], worker: Any, batch: Any, spans: Sequence[Span]) -> Any:
    """Prefill `batch`, decode `spans` over that, sample.

    Args:
        stock: TpModelWorker.forward_batch_generation, which this stands for.

    Source: samples as SGLang's method does.
    """
    from sglang.srt.model_executor.forward_batch_info import ForwardBatch

    runner = worker.model_runner
    worker.set_hicache_consumer(batch.hicache_consumer_index)
    forward = ForwardBatch.init_new(batch, runner, return_hidden_states_before_norm=False)
    result = stock(worker, None, forward, is_verify=True)  # that is, without sampling
    decode(runner, forward, spans, result.logits_output.next_token_logits)

    def sample() -> Any:
        result.next_token_ids = runner.sample(result.logits_output, forward)
        return result

    if worker.enable_overlap and forward.sampling_info.grammars is not None:
        result.delay_sample_func = sample
        return result
    return sample()


def wanted(worker: Any) -> bool:
    """Whether bits count; models with other positions or adapters are prefilled as they are."""
    runner = worker.model_runner
    args = runner.server_args
    plain = not (runner.model_config.model_is_mrope or args.enable_lora)
    return plain and args.enable_deterministic_inference and worker.pp_group.is_last_rank


def spans(worker: Any, batch: Any) -> list[Span]:
    """What is to be decoded of `batch`, if it is a prefill and bits count.

    Rows' tokens from their prompt's last one on; that one, too, since forks run it again.
    """
    found: list[Span] = []
    if batch is None or not batch.forward_mode.is_extend() or not wanted(worker):
        return found
    start = 0
    for place, (req, prefix, new) in enumerate(
        zip(batch.reqs, batch.prefix_lens, batch.extend_lens, strict=True)
    ):
        row = row_of(req)
        if row is not None:
            begin = max(prefix, len(row.search.prompt) - 1)
            if begin < prefix + new:
                found.append(Span(place, begin, start + begin - prefix, prefix + new - begin))
        start += new
    return found


def decode(runner: Any, prefill: Any, spans: Sequence[Span], logits: torch.Tensor) -> None:
    """Write KV of `spans` anew, and the logits of their last tokens into `logits`."""
    from sglang.srt.model_executor.forward_batch_info import ForwardBatch, ForwardMode

    indices, begins, starts, counts = numpy.array(spans).T
    offsets = numpy.arange(counts.sum()) - numpy.repeat(counts.cumsum() - counts, counts)
    lengths = numpy.repeat(begins, counts) + offsets + 1
    host = numpy.stack([numpy.repeat(indices, counts), numpy.repeat(starts, counts) + offsets])
    rows, places = torch.from_numpy(host).to(logits.device)
    last = counts.cumsum() - 1  # of each span's tokens
    captured = getattr(runner.decode_cuda_graph_runner, "max_bs", _ROWS)
    size = min(_ROWS, captured, runner.req_to_token_pool.size)
    for low in range(0, len(lengths), size):
        part, at = slice(low, low + size), places[low : low + size]
        lens_cpu = torch.from_numpy(lengths[part])
        lens = lens_cpu.to(logits.device)
        output = runner.forward(
            ForwardBatch(
                forward_mode=ForwardMode.DECODE,
                batch_size=len(lens),
                input_ids=prefill.input_ids[at],
                req_pool_indices=prefill.req_pool_indices[rows[part]],
                seq_lens=lens,
                out_cache_loc=prefill.out_cache_loc[at],
                seq_lens_sum=int(lengths[part].sum()),
                seq_lens_cpu=lens_cpu,
                orig_seq_lens=lens.to(torch.int32),
                positions=lens - 1,
                num_token_non_padded_cpu=len(lens),
                spec_algorithm=prefill.spec_algorithm,
                sampling_info=prefill.sampling_info,
                capture_hidden_mode=prefill.capture_hidden_mode,
            )
        ).logits_output.next_token_logits
        here = numpy.flatnonzero((last >= low) & (last < low + size))
        if len(here):
            logits[indices[here]] = output[last[here] - low].to(logits.dtype)
