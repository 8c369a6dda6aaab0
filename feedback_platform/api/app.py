"""The ASGI application: which path does what, errors as problems, CORS for pages that hold a feedback token."""

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from feedback_platform.api.access import cors_origin
from feedback_platform.api.call import Call
from feedback_platform.api.health import healthz, metrics, problem_page, readyz
from feedback_platform.api.ingest import post_batch, post_feedback, post_inference
from feedback_platform.api.problems import Problem, of_error
from feedback_platform.api.server import Server
from feedback_platform.api.tokens import post_token
from feedback_platform.api.traces import post_traces
from feedback_platform.errors import FeedbackPlatformError

Handler = Callable[[Server, Call], Awaitable[None]]


def _on_demand(module: str, name: str) -> Handler:
    """A handler behind which the analytical libraries stand: imported, beside the requests, when first asked for.

    With them a start takes twice as long, and events are refused meanwhile.
    """

    path = f"feedback_platform.api.{module}"

    async def handler(server: Server, call: Call) -> None:
        found = sys.modules.get(path)
        if found is None or not hasattr(found, name):
            found = await asyncio.to_thread(import_module, path)
        await getattr(found, name)(server, call)

    return handler


# The paths, most frequent first. A path with a browser's page behind it answers CORS.
ROUTES: Mapping[str, Mapping[str, Handler]] = {
    "/v1/inferences": {"POST": post_inference},
    "/v1/feedback": {"POST": post_feedback},
    "/v1/batch": {"POST": post_batch},
    "/v1/traces": {"POST": post_traces},
    "/v1/events/{event_id}": {"GET": _on_demand("events", "get_event")},
    "/v1/feedback-tokens": {"POST": post_token},
    "/v1/datasets/{name}/versions": {"GET": _on_demand("datasets", "list_versions")},
    "/v1/datasets/{name}/versions/{version}/export": {"GET": _on_demand("datasets", "export_version")},
    "/healthz": {"GET": healthz},
    "/readyz": {"GET": readyz},
    "/metrics": {"GET": metrics},
    "/openapi.json": {"GET": _on_demand("openapi", "openapi_document")},
    "/docs": {"GET": _on_demand("openapi", "docs_page")},
    "/problems/{reason}": {"GET": problem_page},
}
FOR_PAGES = frozenset({"/v1/feedback"})
PREFLIGHT_SECONDS = 600

_log = logging.getLogger("feedback_platform.api")


class _Endpoint:
    """One path: chooses by method, turns errors into problems, counts."""

    def __init__(self, server: Server, path: str, handlers: Mapping[str, Handler]) -> None:
        self.server, self.path, self.handlers = server, path, handlers
        self.for_pages = path in FOR_PAGES
        self.seconds = server.metrics.seconds.labels(path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        call = Call(scope, receive, send, self.server.bodies)
        try:
            if self.for_pages and (origin := cors_origin(self.server, call)) is not None:
                call.always += [(b"access-control-allow-origin", origin.encode()), (b"vary", b"origin")]
            await self._handle(call)
        except Exception as error:  # noqa: BLE001
            await self._tell(call, error)
        finally:
            call.end()
        self.seconds.observe(time.perf_counter() - began)
        self.server.metrics.count_request(self.path, call.status)

    async def _handle(self, call: Call) -> None:
        method = call.scope["method"]
        if method == "OPTIONS" and self.for_pages:
            headers = [
                (b"access-control-allow-methods", ", ".join(self.handlers).encode()),
                (b"access-control-allow-headers", b"authorization, content-type"),
                (b"access-control-max-age", str(PREFLIGHT_SECONDS).encode()),
            ]
            await call.answer(204, b"", headers)
            return
        handler = self.handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            allow = ", ".join(self.handlers)
            raise Problem(
                405, "method_unknown", f"{self.path} takes {allow}.", extra_headers=((b"allow", allow.encode()),)
            )
        await handler(self.server, call)

    async def _tell(self, call: Call, error: Exception) -> None:
        problem = of_error(error)
        if call.status and isinstance(error, RuntimeError) and "the handler is closed" in str(error):
            return  # uvloop's words for a client that left between the event and its answer
        if problem.status >= 500:
            known = isinstance(error, FeedbackPlatformError)
            _log.error("%s: %s", call.endpoint, error, exc_info=None if known else error)
        if call.status:  # the answer has begun: cut the connection, so that nobody takes it for whole
            raise error
        await call.answer_problem(problem)


def create_app(server: Server) -> ASGIApp:
    """The application around a server's state."""

    async def nowhere(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            detail = f"There is nothing at {scope['path']!r}. GET /docs shows what there is."
            await Call(scope, receive, send, server.bodies).answer_problem(Problem(404, "path_unknown", detail))

    endpoints = {path: _Endpoint(server, path, handlers) for path, handlers in ROUTES.items()}
    routes = [Route(path, endpoint) for path, endpoint in endpoints.items()]
    literal = {path: endpoint for path, endpoint in endpoints.items() if "{" not in path}
    router = Router(routes, default=nowhere, redirect_slashes=False, lifespan=_lifespan(server))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Most requests name a path without parameters: they need no pattern to be matched.
        await (literal.get(scope.get("path", "")) or router)(scope, receive, send)

    return app


def _lifespan(server: Server) -> Callable[[ASGIApp], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: ASGIApp) -> AsyncIterator[None]:
        await server.start()
        try:
            yield
        finally:
            await server.stop()

    return lifespan
