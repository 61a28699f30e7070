"""FastTTSEngine: searches from a Python script, without a server."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from .config import ENV, FastTTSConfig
from .errors import ConfigError
from .runtime import arguments, cpu
from .search.params import SearchParams
from .search.result import SearchResult

if TYPE_CHECKING:
    from .frontend import EngineEndpoint

TINY = Path(__file__).parent / "models" / "tiny"
OnProgress = Callable[[dict[str, Any]], None]
T = TypeVar("T")


class FastTTSEngine:
    """An SGLang engine with a verifier beside its generator.

    Example:
        >>> with FastTTSEngine() as engine:  # doctest: +SKIP
        ...     print(engine.search("12*(34+5)-6").answer)

    Args:
        model_path: The generator; None takes the bundled tiny pair.
        verifier_path: The process reward model; None takes `config.verifier_path`. A generator
            without any verifier leaves best-of-n with a majority vote.
        config: Further `--fasttts-*` settings.
        server_args: Any argument of `sglang.Engine`.

    Raises:
        ConfigError: An argument is wrong.
        IncompatibleSGLang: The installed SGLang is not one we fit.
    """

    def __init__(
        self,
        model_path: str | None = None,
        verifier_path: str | None = None,
        *,
        config: FastTTSConfig | None = None,
        **server_args: Any,
    ) -> None:
        config = config or FastTTSConfig()
        if model_path is None:
            model_path = str(TINY / "generator")
            if not config.verifier_function:
                verifier_path = verifier_path or config.verifier_path or str(TINY / "verifier")
        config = config.replace(verifier_path=verifier_path or config.verifier_path)
        config.check_verifier(model_path)
        config.register_algorithms()
        if server_args.get("dp_size", 1) != 1 or server_args.get("pp_size", 1) != 1:
            raise ConfigError("dp_size and pp_size must be 1: a search lives in one scheduler")
        on_cpu = cpu.prepare(model_path, config.verifier_path or None)
        server_args |= arguments.for_this_machine(server_args, on_cpu=on_cpu)
        self._engine = _start({"model_path": model_path, **server_args}, config)
        self._client = self._engine.tokenizer_manager.fasttts
        self.model_path = model_path
        self._endpoint: EngineEndpoint | None = None
        self._thread: threading.Thread | None = None  # runs the event loop for `endpoint`

    @overload
    def search(
        self,
        prompt: str,
        params: SearchParams | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> SearchResult: ...

    @overload
    def search(
        self,
        prompt: list[str],
        params: SearchParams | Sequence[SearchParams] | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> list[SearchResult]: ...

    def search(
        self,
        prompt: str | list[str],
        params: SearchParams | Sequence[SearchParams] | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> SearchResult | list[SearchResult]:
        """Search an answer to one prompt, or to several at once.

        Args:
            prompt: The user's text (the model's chat template is applied), or several.
            params: Search parameters; one set for all prompts, or one each.
            on_progress: Called after every round with `telemetry.Progress` as a dict.

        Returns:
            One result, or a list in the order of the prompts.

        Raises:
            BadRequest: A field is wrong; of several searches the others are cancelled.
            SearchFailed: A search ended without a result, likewise.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        each = (
            list(params)
            if isinstance(params, Sequence)
            else [params or SearchParams()] * len(prompts)
        )

        async def everything() -> list[SearchResult]:
            pairs = zip(prompts, each, strict=True)
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(self._client.search(p, q, on_progress=on_progress))
                        for p, q in pairs
                    ]
            except BaseExceptionGroup as failed:
                raise failed.exceptions[0] from None
            return [task.result() for task in tasks]

        results = self.wait(everything())
        return results[0] if isinstance(prompt, str) else results

    def score(self, prompt: str, steps: Sequence[str], *, finished: bool = True) -> list[float]:
        """Scores that the verifier gives the steps of a response.

        Args:
            prompt: The user's text.
            steps: Texts, each with what separates it from the next.
            finished: Whether the last step ends the answer.

        Raises:
            BadRequest: A field is wrong, or there is no verifier.
            SearchFailed: The verifier failed.
        """
        return self.wait(self.async_score(prompt, steps, finished=finished))

    async def async_score(
        self, prompt: Any, steps: Sequence[str], *, finished: bool = True
    ) -> list[float]:
        """As `score`, from a running event loop; also takes messages or ids."""
        scores: list[float] = await self._client.score(prompt, steps, finished=finished)
        return scores

    async def async_search(
        self,
        prompt: Any,
        params: SearchParams | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> SearchResult:
        """As `search` for one prompt, from a running event loop; also takes messages or ids."""
        result: SearchResult = await self._client.search(
            prompt, params or SearchParams(), on_progress=on_progress
        )
        return result

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """An ordinary `sglang.Engine.generate` on the same generator."""
        if self._thread is None:
            return self._engine.generate(*args, **kwargs)
        return self._whole(self._engine.async_generate(*args, **kwargs))

    def generate_by(self, body: dict[str, Any]) -> Any:
        """The same, asked for as by SGLang's /generate route."""
        from .runtime.generate import generate

        return self._whole(generate(self._engine.tokenizer_manager, body))

    @property
    def endpoint(self) -> "EngineEndpoint":
        """This engine as a backend of `@sgl.function` programs, which ask from many threads."""
        if self._endpoint is None:
            from .frontend import EngineEndpoint

            self._thread = threading.Thread(target=self._engine.loop.run_forever, daemon=True)
            self._thread.start()
            self._endpoint = EngineEndpoint(self)
        return self._endpoint

    def flush_cache(self) -> Any:
        """Forget all cached KV of both models."""
        return self.wait(self._engine.tokenizer_manager.flush_cache())

    def shutdown(self) -> None:
        """Stop the engine and its processes."""
        self._engine.shutdown()
        cpu.boot.stop_importing()
        if self._thread is not None:
            self._engine.loop.call_soon_threadsafe(self._engine.loop.stop)
            self._thread.join()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine that runs on the engine's event loop."""
        if self._thread is None:
            result: T = self._engine.loop.run_until_complete(work)
            return result
        future = asyncio.run_coroutine_threadsafe(work, self._engine.loop)
        try:
            return future.result()
        finally:
            future.cancel()  # has an effect only where the wait was interrupted

    def _whole(self, work: Coroutine[Any, Any, Any]) -> Any:
        reply = self.wait(work)
        return self._chunks(reply) if isinstance(reply, AsyncIterator) else reply

    def _chunks(self, replies: AsyncIterator[Any]) -> Iterator[Any]:
        async def step() -> Any:
            return await anext(replies, None)

        while (chunk := self.wait(step())) is not None:
            yield chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()


def _start(server_args: dict[str, Any], config: FastTTSConfig) -> Any:
    """Boot SGLang with our plugin. The configuration reaches the children by environment."""
    before = os.environ.get(ENV)
    os.environ[ENV] = config.to_env()
    try:
        from .runtime.launch import start_engine

        return start_engine(server_args)
    finally:
        if before is None:
            del os.environ[ENV]
        else:
            os.environ[ENV] = before
