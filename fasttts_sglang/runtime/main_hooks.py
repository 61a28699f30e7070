"""What the main process gets: replies to clients that wait for a search, and routes."""

import os
from typing import Any

from ..config import ENV, FastTTSConfig


def route_replies(_none: None, manager: Any) -> None:
    """AFTER TokenizerManager.init_request_dispatcher: deliver results to waiting clients."""
    if ENV not in os.environ:  # a stock engine, in a process that has started one of ours
        return
    from sglang.utils import TypeBasedDispatcher

    from .client import SearchClient
    from .messages import MemoryDone, ScoreDone, SearchDone, SearchProgress
    from .metrics import SearchMetrics

    metrics = SearchMetrics(manager.served_model_name) if manager.enable_metrics else None
    manager.fasttts = SearchClient(manager, FastTTSConfig.from_env(), metrics)
    manager._result_dispatcher += TypeBasedDispatcher(
        [
            (SearchDone, manager.fasttts.on_done),
            (SearchProgress, manager.fasttts.on_progress),
            (ScoreDone, manager.fasttts.on_scores),
            (MemoryDone, manager.fasttts.on_memory),
        ]
    )


def add_routes(*_: Any, **__: Any) -> None:
    """BEFORE http_server._setup_and_run_http_server: our routes join SGLang's app."""
    from sglang.srt.entrypoints.http_server import app

    from .http.openai import take_over
    from .http.routes import router

    take_over(app)
    app.include_router(router)
