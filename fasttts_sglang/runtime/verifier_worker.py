"""The verifier's model worker: weights, KV pool and radix cache of its own, in the same process."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from typing import Any

import torch
from sglang.srt.configs.model_config import ModelConfig
from sglang.srt.managers.schedule_batch import ScheduleBatch
from sglang.srt.managers.tp_worker import TpModelWorker
from sglang.srt.mem_cache.cache_init_params import CacheInitParams
from sglang.srt.mem_cache.radix_cache import RadixCache
from sglang.srt.model_executor import input_buffers
from sglang.srt.utils.hf_transformers_utils import get_tokenizer

from ..config import FastTTSConfig, check_vocabulary
from ..errors import ConfigError
from ..memory.roofline import VERIFIER_ROWS
from ..verifier.families import family_for
from .kv_split import generator_bytes, kv_split
from .own_config import OwnConfig
from .pools.build import at_largest, beside, elastic, to_whole_units
from .prefill_graphs import prefill_graphs
from .rendering import Renderer, SharedTokens, TextRenderer

logger = logging.getLogger(__name__)

MAX_ROWS = VERIFIER_ROWS  # sequences per forward


class VerifierWorker(TpModelWorker):
    """A prefill-only second model beside the generator.

    `is_draft_worker` is SGLang's own way to build a second runner in a scheduler process: it
    skips torch.distributed and other process-global set-up. Only the model config differs.
    """

    def __init__(self, scheduler: Any, config: FastTTSConfig) -> None:
        self._fasttts = config
        self._generator = scheduler.model_config
        self._published: OwnConfig | None = None  # until the args are as they stay
        self.args = deepcopy(scheduler.server_args)
        self.args.override(
            "fasttts.verifier",
            model_path=config.verifier_path,
            is_embedding=True,
            context_length=None,
            quantization=None,
            json_model_override_args="{}",
            disable_cuda_graph=True,
            max_running_requests=MAX_ROWS,
            speculative_draft_model_path=config.verifier_path,
            **_attention_backend(scheduler.server_args),
        )
        with self.own_config(), _own_input_buffers():
            super().__init__(
                server_args=self.args,
                gpu_id=scheduler.ps.gpu_id,
                ps=scheduler.ps,
                nccl_port=scheduler.nccl_port,
                is_draft_worker=True,
            )
        self.renderer = self._renderer(scheduler.tokenizer)
        self.split = kv_split(scheduler, self, config)
        other = generator_bytes(scheduler, self)
        self._allocate(self.split.verifier_tokens, beside(scheduler, config.kv_resize, other))
        self._published = OwnConfig(self.args)
        runner = self.model_runner
        self.tree = RadixCache(
            CacheInitParams(
                disable=False,
                req_to_token_pool=runner.req_to_token_pool,
                token_to_kv_pool_allocator=runner.token_to_kv_pool_allocator,
                page_size=1,
            )
        )
        logger.info(
            "FastTTS verifier %s: family %s, %d KV tokens",
            config.verifier_path,
            self.family.name,
            runner.max_total_num_tokens,
        )

    def _init_model_config(self) -> None:
        self.model_config = ModelConfig.from_server_args(
            self.server_args, model_path=self._fasttts.verifier_path
        )
        from . import prm_models  # pulls in SGLang's model code: only where a verifier is built

        checkpoint = self.model_config.hf_config
        self.family = family_for(checkpoint.to_dict(), self._fasttts.prm_family)
        if self.family.shares_tokens:
            check_vocabulary(self._generator.vocab_size, self.model_config.vocab_size)
        if self.family.labels and self.server_args.tp_size > 1:
            raise ConfigError(
                f"--tp-size {self.server_args.tp_size}: a verifier of family {self.family.name}"
                " reads its vocabulary on one rank only"
            )
        architecture, writes = checkpoint.architectures[0], self.family.verdict is not None
        checkpoint.architectures = [prm_models.register(architecture, generative=writes)]

    def _renderer(self, generator: Any) -> Renderer:
        """How steps are written for this model."""
        if self.family.shares_tokens:
            return SharedTokens()
        args = self.server_args
        tokenizer = get_tokenizer(
            self._fasttts.verifier_path, trust_remote_code=args.trust_remote_code
        )
        renderer = TextRenderer(self.family, tokenizer, generator)
        if self.family.labels:
            model = self.model_runner.model
            device = model.lm_head.weight.device
            model.labels = torch.tensor(renderer.labels(), device=device)
        return renderer

    def _allocate(self, num_tokens: int, beside_bytes: int | None) -> None:
        self.args.override("fasttts.verifier", max_total_tokens=num_tokens)
        with self.own_config(), _own_input_buffers():
            with elastic(beside_bytes) as build:
                self.alloc_memory_pool()
            self.backing = build.backing  # None: the pool has a fixed size
            self.spare_bytes = 0  # of its memory that fill no unit
            if self.backing is not None:
                self.spare_bytes = to_whole_units(self.model_runner, self.backing)
            with at_largest(self.model_runner, self.backing):
                self.init_attention_backends()
                self.init_cuda_graphs(capture_decode_cuda_graph=False)
                self.graphs = prefill_graphs(self)

    def values(self, batch: ScheduleBatch) -> torch.Tensor:
        """What the model's head makes of the batch: by a captured CUDA graph where one fits."""
        found = None if self.graphs is None else self.graphs.replay(batch)
        if found is not None:
            return found
        output, _ = self.forward_batch_embedding(batch)
        return output.embeddings

    def own_config(self) -> AbstractContextManager[None]:
        """Publish the verifier's server args while its code runs."""
        return (self._published or OwnConfig(self.args)).published()


@contextmanager
def _own_input_buffers() -> Iterator[None]:
    """Let no input buffer of the verifier be one of the generator's.

    SGLang lets runners of one process share buffers of equal size, since only one of them runs at
    a time. Ours run at the same time: shared indices ended in illegal memory accesses.
    """
    shared = input_buffers._forward_input_buffer_pool
    others = dict(shared)
    shared.clear()
    try:
        yield
    finally:
        shared.clear()
        shared.update(others)


def _attention_backend(generator: Any) -> dict[str, str]:
    """The verifier's attention backend.

    flashinfer keeps one workspace per process, and the verifier's prefill may run beside the
    generator's decode on another stream, so the verifier must not share it.
    """
    backends = {
        generator.attention_backend,
        generator.prefill_attention_backend,
        generator.decode_attention_backend,
    }
    if "flashinfer" not in backends:
        return {}
    names = ("attention_backend", "prefill_attention_backend", "decode_attention_backend")
    return dict.fromkeys(names, "triton")
