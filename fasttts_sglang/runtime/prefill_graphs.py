"""CUDA graphs of the verifier's prefill.

A verifier batch is small: launching its kernels one by one from Python takes two to three times as
long as running them, and blocks the scheduler. So a whole forward is captured for a few sizes, on
the triton attention backend, where kernels take the lengths of all rows from device memory.
SGLang's own prefill graphs break at every attention layer.
"""

import logging
from dataclasses import dataclass
from typing import Any

import torch
from sglang.srt.layers.attention.triton_backend import ForwardMetadata, TritonAttnBackend
from sglang.srt.managers.schedule_batch import ScheduleBatch
from sglang.srt.model_executor.forward_batch_info import ForwardBatch, ForwardMode
from sglang.srt.model_executor.forward_context import ForwardContext, forward_context

from .verifier_attention import VerifierAttention

logger = logging.getLogger(__name__)

_SIZES = (128, 256, 384, 512, 768, 1024, 1536, 2048)  # tokens of a batch
_TOKENS_PER_ROW = 24  # at least so many on average
_PREFIX_PER_TOKEN = 128  # and at most so many cached ones per new one


@dataclass(slots=True)
class _Captured:
    """One graph and the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    input_ids: torch.Tensor  # [tokens] int64
    positions: torch.Tensor  # [tokens] int64
    out_cache_loc: torch.Tensor  # [tokens] int64; slot 0 is SGLang's dummy
    qo_indptr: torch.Tensor  # [rows + 1]
    kv_indptr: torch.Tensor  # [rows + 1]
    kv_indices: torch.Tensor  # [tokens * _PREFIX_PER_TOKEN] int64
    values: torch.Tensor  # [tokens, ...]

    def fits(self, tokens: int, rows: int, prefix: int) -> bool:
        return (
            tokens <= len(self.input_ids)
            and rows < len(self.qo_indptr)
            and prefix <= len(self.kv_indices)
        )


class PrefillGraphs:
    """Captured when it is made; replayed on any stream, one batch after the other."""

    max_tokens = max(_SIZES)
    max_rows = max_tokens // _TOKENS_PER_ROW

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._backend: Any = runner.attn_backend
        self._attention = VerifierAttention(self._backend)
        # apart from the decode graphs: both may run at the same time
        pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()
        # the largest first: the others then fit into its memory
        sizes = sorted(_SIZES, reverse=True)
        self._captured = [self._capture(size, pool, stream) for size in sizes][::-1]

    def replay(self, batch: ScheduleBatch) -> torch.Tensor | None:
        """The head's values of all new tokens of `batch`, or None if no graph fits."""
        tokens, rows, prefix = batch.extend_num_tokens, len(batch.reqs), sum(batch.prefix_lens)
        to = next((to for to in self._captured if to.fits(tokens, rows, prefix)), None)
        if to is None:
            return None
        forward = ForwardBatch.init_new(batch, self._runner, return_hidden_states_before_norm=False)
        self._backend.init_forward_metadata(forward)
        metadata = self._backend.forward_metadata
        to.input_ids[:tokens].copy_(forward.input_ids)
        to.positions[:tokens].copy_(forward.positions)
        to.out_cache_loc[:tokens].copy_(forward.out_cache_loc)
        to.out_cache_loc[tokens:].zero_()
        to.qo_indptr[: rows + 1].copy_(metadata.qo_indptr)
        to.qo_indptr[rows + 1 :].fill_(tokens)  # rows without tokens
        to.kv_indptr[: rows + 1].copy_(metadata.kv_indptr)
        to.kv_indptr[rows + 1 :].fill_(prefix)
        to.kv_indices[:prefix].copy_(metadata.kv_indices)
        to.graph.replay()
        return to.values[:tokens]

    def _capture(self, size: int, pool: Any, stream: torch.cuda.Stream) -> _Captured:
        rows = size // _TOKENS_PER_ROW
        device = self._runner.device

        def zeros(count: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
            return torch.zeros(count, dtype=dtype, device=device)

        made = _Captured(
            torch.cuda.CUDAGraph(),
            zeros(size),
            zeros(size),
            zeros(size),
            zeros(rows + 1, self._backend.qo_indptr.dtype),
            zeros(rows + 1, self._backend.kv_indptr.dtype),
            zeros(size * _PREFIX_PER_TOKEN),
            zeros(0),
        )
        forward = ForwardBatch(
            forward_mode=ForwardMode.EXTEND,
            batch_size=rows,
            input_ids=made.input_ids,
            req_pool_indices=zeros(rows),
            seq_lens=zeros(rows),
            out_cache_loc=made.out_cache_loc,
            seq_lens_sum=size,
            positions=made.positions,
        )
        self._backend.forward_metadata = ForwardMetadata(
            attn_logits=None,
            attn_lse=None,
            max_extend_len=size,
            num_kv_splits=None,
            kv_indptr=made.kv_indptr,
            kv_indices=made.kv_indices,
            qo_indptr=made.qo_indptr,
            custom_mask=None,
            mask_indptr=None,
            window_kv_indptr=None,
            window_kv_indices=None,
            window_num_kv_splits=None,
            window_kv_offsets=None,
        )
        model = self._runner.model
        with forward_context(ForwardContext(attn_backend=self._backend)), torch.no_grad():
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(2):  # compiles kernels
                    model.forward(made.input_ids, made.positions, forward)
            torch.cuda.synchronize()
            if not self._attention.usual:
                raise NotImplementedError("its attention is of another kind")
            with torch.cuda.graph(made.graph, pool=pool, stream=stream):
                output = model.forward(made.input_ids, made.positions, forward)
                made.values = output.embeddings
        return made


def prefill_graphs(worker: Any) -> PrefillGraphs | None:
    """Graphs for `worker`'s model, or None where its forwards are launched one by one."""
    runner, args = worker.model_runner, worker.server_args
    fits = (
        runner.device == "cuda"
        and args.tp_size == 1
        and worker.family.verdict is None  # which decodes, too
        and isinstance(runner.attn_backend, TritonAttnBackend)
        and not args.enable_deterministic_inference  # another kernel, which needs other inputs
        and runner.sliding_window_size is None
    )
    if not fits:
        return None
    try:
        return PrefillGraphs(runner)
    except Exception as exc:  # an architecture that cannot be captured
        logger.warning("the verifier's forwards are not captured: %s", exc)
        return None
