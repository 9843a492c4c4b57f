"""The operator's own HTTP endpoints, apart from kopf: they answer even when kopf does not."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from finetune_operator.metrics import Metrics

Probe = Callable[[], str]
"""Says what is wrong; empty if nothing is."""


@asynccontextmanager
async def serve(port: int, *, healthy: Probe, ready: Probe, metrics: Metrics) -> AsyncIterator[None]:
    """Serve /healthz, /readyz and /metrics while the context is open.

    Raises:
        OSError: the port is taken.
    """
    app = web.Application()
    app.router.add_get("/healthz", lambda _: _answer(healthy()))
    app.router.add_get("/readyz", lambda _: _answer(ready()))
    app.router.add_get("/metrics", lambda _: _metrics(metrics))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()


async def _answer(fault: str) -> web.Response:
    return web.Response(text=fault or "ok", status=503 if fault else 200)


async def _metrics(metrics: Metrics) -> web.Response:
    return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})
