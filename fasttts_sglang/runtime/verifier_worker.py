"""The verifier's model worker: weights, KV pool and radix cache of its own, in the same process."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from sglang.srt.configs.model_config import ModelConfig
from sglang.srt.managers.schedule_batch import ScheduleBatch
from sglang.srt.managers.tp_worker import TpModelWorker
from sglang.srt.mem_cache.cache_init_params import CacheInitParams
from sglang.srt.mem_cache.radix_cache import RadixCache
from sglang.srt.runtime_context import get_context
from sglang.srt.utils import get_available_gpu_memory
from sglang.srt.utils.hf_transformers_utils import get_tokenizer

from ..config import FastTTSConfig, check_vocabulary
from ..errors import ConfigError, InsufficientMemory
from ..verifier.families import family_for
from .pools.build import at_largest, beside, elastic
from .prefill_graphs import prefill_graphs
from .rendering import Renderer, SharedTokens, TextRenderer

logger = logging.getLogger(__name__)

MAX_ROWS = 256  # sequences per verifier forward
_GIB = 1 << 30


class VerifierWorker(TpModelWorker):
    """A prefill-only second model beside the generator.

    `is_draft_worker` is SGLang's own way to build a second runner in a scheduler process: it
    skips torch.distributed and other process-global set-up. Only the model config differs.
    """

    def __init__(self, scheduler: Any, config: FastTTSConfig) -> None:
        self._fasttts = config
        self._generator = scheduler.model_config
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
        with self.own_config():
            super().__init__(
                server_args=self.args,
                gpu_id=scheduler.ps.gpu_id,
                ps=scheduler.ps,
                nccl_port=scheduler.nccl_port,
                is_draft_worker=True,
            )
        self.renderer = self._renderer(scheduler.tokenizer)
        generator_bytes = _generator_bytes(scheduler, self.model_runner.dtype.itemsize)
        self._allocate(
            _kv_tokens(scheduler, self, config),
            beside(scheduler, config.kv_resize, generator_bytes),
        )
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
        with self.own_config():
            with elastic(beside_bytes) as build:
                self.alloc_memory_pool()
            self.backing = build.backing  # None: the pool has a fixed size
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

    @contextmanager
    def own_config(self) -> Iterator[None]:
        """Publish the verifier's server args while its code runs: SGLang reads them globally."""
        context = get_context()
        with context.preserve_config():
            context.set_server_args(self.args)
            yield


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


def kv_bytes_per_token(model: ModelConfig, tp_size: int, dtype_bytes: int) -> int:
    """Bytes of KV cache that one token takes on one rank."""
    heads = model.get_num_kv_heads(tp_size)
    return int(2 * model.num_hidden_layers * heads * model.head_dim * dtype_bytes)


def _generator_bytes(scheduler: Any, itemsize: int) -> int:
    """KV memory that the generator will have at most."""
    args = scheduler.server_args
    if args.max_total_tokens is not None:
        per_token = kv_bytes_per_token(scheduler.model_config, scheduler.ps.tp_size, itemsize)
        return int(args.max_total_tokens * per_token)
    return int(get_available_gpu_memory(args.device, scheduler.ps.gpu_id) * _GIB)


def _kv_tokens(scheduler: Any, worker: VerifierWorker, config: FastTTSConfig) -> int:
    """The verifier's KV capacity: as asked for, or its share of one budget with the generator."""
    if config.verifier_tokens is not None:
        return config.verifier_tokens
    args, tp_size = scheduler.server_args, scheduler.ps.tp_size
    itemsize = worker.model_runner.dtype.itemsize
    per_token = kv_bytes_per_token(worker.model_config, tp_size, itemsize)
    share = config.verifier_mem_fraction
    if args.max_total_tokens is not None:
        generator = kv_bytes_per_token(scheduler.model_config, tp_size, itemsize)
        budget = args.max_total_tokens * generator / (1 - share)
    else:
        runner = scheduler.tp_worker.model_runner
        reserve = runner.pre_model_load_memory * (1 - args.mem_fraction_static)
        free = get_available_gpu_memory(args.device, scheduler.ps.gpu_id)
        budget = (free - reserve) * _GIB
    tokens = int(budget * share / per_token)
    if tokens < 1:
        raise InsufficientMemory(
            f"no memory is left for the verifier's KV cache: {budget / _GIB:.2f} GiB for both"
            " models; lower --fasttts-verifier-mem-fraction or raise --mem-fraction-static",
            missing=int(per_token - budget * share),
        )
    return tokens
