"""The steps of a burst behind its first, as CUDA graphs.

SGLang prepares every decode step in Python, which takes 1 ms: about as long as a small model needs
for the step itself. Behind the first step of a burst everything is on the device already: the
tokens are those just drawn, and every row is one token longer. So two small graphs stand between
two replays of SGLang's: one draws the tokens, one brings SGLang's input buffers forward.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from sglang.srt.environ import envs
from sglang.srt.layers.attention.triton_backend import TritonAttnBackend
from sglang.srt.model_executor.forward_batch_info import ForwardMode
from sglang.srt.model_executor.runner_backend.full_cuda_graph_backend import FullCudaGraphBackend

from .gumbel import gumbel_argmax
from .seeded_sampling import draws_from_logits

logger = logging.getLogger(__name__)


class _Pair(NamedTuple):
    """The graphs of one batch size."""

    draw: torch.cuda.CUDAGraph  # tokens, from the logits that SGLang's graph leaves
    advance: torch.cuda.CUDAGraph  # what SGLang's next step reads


class BurstGraphs:
    """Captured when it is made, for all batch sizes that SGLang has captured.

    Args:
        runner: SGLang's ModelRunner.
        most: Steps of a burst.
    """

    def __init__(self, runner: Any, most: int) -> None:
        self._runner = runner
        self._decode = runner.decode_cuda_graph_runner
        self._buffers = self._decode.buffers
        rows, device = self._decode.max_bs, self._buffers.input_ids.device

        def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self._step = zeros(1)  # of the burst, counted by the graphs
        self._tokens = zeros(rows, dtype=torch.int32)  # drawn in it
        self._drawn = zeros(most, rows, dtype=torch.int32)  # and in those before
        self._slots = zeros(most, rows, dtype=self._buffers.out_cache_loc.dtype)  # of the next
        self._growth = zeros(rows)  # 1 for a row, 0 for the padding behind the last
        self._seeds = zeros(rows)
        self._temperatures = zeros(rows, 1, dtype=torch.float32).add_(1)
        pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()
        sizes = sorted(self._decode.capture_bs, reverse=True)  # smaller ones fit in their memory
        self._graphs = {size: self._capture(size, pool, stream) for size in sizes}

    def run(self, logits: Any, forward: Any, slots: torch.Tensor) -> torch.Tensor:
        """Go on behind a step that SGLang's graph has just computed.

        Args:
            logits: SGLang's LogitsProcessorOutput of that step; later steps write it again.
            forward: Its ForwardBatch.
            slots: [steps - 1, rows] KV slots of the tokens that are drawn, but for the last.

        Returns:
            [steps, rows] int32 tokens.
        """
        decode, runner = self._decode, self._runner
        more, rows = slots.shape
        pair = self._graphs[decode.bs]
        self._load(forward.sampling_info, slots)
        in_graph = draws_from_logits(runner.sampler, forward.sampling_info) and not _probes()
        for step in range(more + 1):
            if step:
                pair.advance.replay()
                if step == more:
                    self._have_read()
                decode.backend.replay(decode._replay_graph_key, forward)
            if in_graph:
                pair.draw.replay()
                continue
            self._tokens[:rows].copy_(runner.sample(logits, forward))
            forward.positions = forward.positions + 1
        runner.forward_pass_id += more
        return torch.cat([self._drawn[:more, :rows], self._tokens[None, :rows]])

    def _load(self, info: Any, slots: torch.Tensor) -> None:
        more, rows = slots.shape
        size = self._decode.bs
        self._step.zero_()
        self._slots[:more, :rows].copy_(slots)
        self._growth[:rows].fill_(1)
        if rows < size:
            self._slots[:more, rows:size].zero_()
            self._growth[rows:size].zero_()
        self._seeds[:rows].copy_(info.sampling_seed)
        self._temperatures[:rows].copy_(info.temperatures)

    def _have_read(self) -> None:
        """SGLang may write its KV index again once the last step's slots are gathered."""
        event = torch.cuda.Event()
        event.record()
        self._runner.war_fastpath_read_done_event = event

    # -- captured ----------------------------------------------------------------------

    def _draw(self, size: int, logits: torch.Tensor) -> None:
        per_row = self._seeds, self._buffers.positions, self._temperatures
        self._tokens[:size].copy_(gumbel_argmax(logits[:size], *(some[:size] for some in per_row)))

    def _advance(self, size: int) -> None:
        """What SGLang's `load_batch` does, from the step before.

        Source: follows `DecodeCudaGraphRunner.load_batch` and, for the attention backend,
        `TritonAttnBackend.init_forward_metadata_out_graph`.
        """
        to = self._buffers
        self._drawn.index_copy_(0, self._step, self._tokens[None])
        to.input_ids[:size].copy_(self._tokens[:size])
        to.out_cache_loc[:size].copy_(self._slots.index_select(0, self._step)[0, :size])
        to.positions[:size].add_(self._growth[:size])
        to.seq_lens[:size].add_(self._growth[:size])
        self._step.add_(1)
        self._decode.attn_backend._apply_cuda_graph_metadata(
            bs=size,
            req_pool_indices=to.req_pool_indices[:size],
            seq_lens=to.seq_lens[:size],
            forward_mode=ForwardMode.DECODE,
            spec_info=None,
        )

    def _capture(self, size: int, pool: Any, stream: torch.cuda.Stream) -> _Pair:
        key = self._decode._make_graph_key(
            self._decode._capture_graph_size(bs=size, num_tokens=size)
        )
        logits = self._decode.backend._outputs[key].next_token_logits

        def captured(act: Callable[[], None]) -> torch.cuda.CUDAGraph:
            graph = torch.cuda.CUDAGraph()
            with torch.no_grad():
                with torch.cuda.stream(stream):
                    self._step.zero_()
                    act()  # compiles kernels
                torch.cuda.synchronize()
                with torch.cuda.graph(graph, pool=pool, stream=stream):
                    act()
            return graph

        stream.wait_stream(torch.cuda.current_stream())
        return _Pair(
            captured(lambda: self._draw(size, logits)), captured(lambda: self._advance(size))
        )


def _probes() -> bool:
    """Whether SGLang is to look at all logits before it draws from them."""
    return bool(envs.SGLANG_SANITIZE_NAN_LOGITS.get() or envs.SGLANG_ENABLE_ASYNC_ASSERT.get())


def burst_graphs(runner: Any, steps: int) -> BurstGraphs | None:
    """Graphs for `runner`, or None where bursts are launched step by step."""
    decode = runner.decode_cuda_graph_runner
    if steps < 2 or not _fits(runner, decode):
        return None
    try:
        made = BurstGraphs(runner, steps)
    except Exception as exc:
        logger.warning("the steps of a burst are not captured: %s", exc)
        return None
    logger.info("FastTTS bursts: captured for up to %d rows", decode.max_bs)
    return made


def _fits(runner: Any, decode: Any) -> bool:
    """Whether a step's inputs are what `BurstGraphs` brings forward, and nothing else."""
    if type(getattr(decode, "backend", None)) is not FullCudaGraphBackend:
        return False
    attention, args = decode.attn_backend, runner.server_args
    return (
        type(attention) is TritonAttnBackend
        and attention.dcp_size == 1
        and (attention.sliding_window_size or 0) <= 0
        and not attention.use_sliding_window_kv_pool
        and attention._translate_kv_loc is None
        and decode.capture_forward_mode == ForwardMode.DECODE
        and decode.captured_req_width == 1
        and not decode.require_gathered_buffer
        and not decode.enable_two_batch_overlap
        and not decode.enable_pdmux
        and not decode.is_encoder_decoder
        and not decode.use_ngram_embedding
        and not args.enable_lora
        and not args.enable_mamba_extra_buffer()
        and not args.enable_return_routed_experts
        and args.tp_size == 1
        and args.pp_size == 1
        and runner.hisparse_coordinator is None
    )
