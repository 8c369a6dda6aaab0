"""Servers that `intake.py` compares: ours, ours without durability, and a bare ASGI app over the same durable append.

    python benchmarks/intake_servers.py ours|ours-async|bare|starlette|litestar|fastapi PORT HOME

`bare` reads a body, makes up nothing, checks nothing, and appends (id, body) to SQLite in group commits with
`synchronous=FULL`; it is the least that an honest acknowledgement costs on this machine. `litestar` and `fastapi` do the
same behind those frameworks and need them installed; they show what a framework adds.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import apsw
import msgspec
import uvicorn

from feedback_platform.cli.serving import prepare_interpreter


class Bodies:
    """Durable bodies: group commit into one table."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.db = apsw.Connection(str(path))
        for sql in (
            "PRAGMA page_size = 8192",
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "PRAGMA wal_autocheckpoint = 4000",
            "CREATE TABLE bodies (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, body BLOB)",
        ):
            self.db.execute(sql).fetchall()
        self.waiting: list[tuple[str, bytes, asyncio.Future[int]]] = []
        self.writer = ThreadPoolExecutor(1)
        self.pump: asyncio.Task[None] | None = None
        self.seq = 0

    async def append(self, body: bytes) -> int:
        """Position of a body, once it is durable."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[int] = loop.create_future()
        event_id = body[15:51].decode()
        self.waiting.append((event_id, body, done))
        if self.pump is None:
            self.pump = loop.create_task(self.run())
        return await done

    async def run(self) -> None:
        """Write groups while something waits."""
        loop = asyncio.get_running_loop()
        while self.waiting:
            await asyncio.sleep(0)
            group, self.waiting = self.waiting, []
            await loop.run_in_executor(self.writer, self.write, group)
            for n, (_, _, done) in enumerate(group, self.seq - len(group) + 1):
                if not done.done():
                    done.set_result(n)
        self.pump = None

    def write(self, group: list[tuple[str, bytes, Any]]) -> None:
        """One transaction, one statement."""
        places, start = [], 1
        for event_id, body, _ in group:
            places.append((event_id, start, len(body)))
            start += len(body)
        bodies = b"".join(body for _, body, _ in group)
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute(
            "INSERT INTO bodies (id, body) SELECT value ->> 0, substr(?, value ->> 1, value ->> 2) FROM json_each(?)",
            (bodies, msgspec.json.encode(places).decode()),
        )
        self.db.execute("COMMIT")
        self.seq += len(group)


Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def bare(bodies: Bodies) -> Asgi:
    """No framework."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        seq = await bodies.append(body)
        content = b'{"log_seq":%d,"durable":true}' % seq
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return app


def starlette(bodies: Bodies) -> Asgi:
    """Starlette's request and response."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def post(request: Request) -> Response:
        seq = await bodies.append(await request.body())
        return Response(b'{"log_seq":%d,"durable":true}' % seq, 202, media_type="application/json")

    return Starlette(routes=[Route("/v1/inferences", post, methods=["POST"])])


def litestar(bodies: Bodies) -> Asgi:
    """Litestar with a msgspec body of the same wire declaration."""
    from litestar import Litestar, post  # type: ignore[import-not-found,unused-ignore]

    from feedback_platform.contracts.wire import Inference

    @post("/v1/inferences", status_code=202)
    async def take(data: Inference) -> dict[str, Any]:
        return {"log_seq": await bodies.append(msgspec.json.encode(data)), "durable": True}

    return Litestar([take], openapi_config=None)  # type: ignore[no-any-return,unused-ignore]


def fastapi(bodies: Bodies) -> Asgi:
    """FastAPI with a pydantic body."""
    from fastapi import FastAPI  # type: ignore[import-not-found,unused-ignore]
    from pydantic import BaseModel

    class Inference(BaseModel, extra="allow"):
        request_id: str
        timestamp: str
        model: str
        model_version: str
        input: Any
        output: Any

    app = FastAPI()

    @app.post("/v1/inferences", status_code=202)  # type: ignore[untyped-decorator, misc, unused-ignore]
    async def take(data: Inference) -> dict[str, Any]:
        return {"log_seq": await bodies.append(data.model_dump_json().encode()), "durable": True}

    return app  # type: ignore[no-any-return,unused-ignore]


def ours(home: Path, durable: bool) -> Asgi:
    """The API itself."""
    from feedback_platform.api.app import create_app
    from feedback_platform.api.server import OpenTenant, Server
    from feedback_platform.settings import Settings

    class Undurable(Server):
        async def _open(self, name: str) -> OpenTenant:
            opened = await super()._open(name)
            opened.tenant.log.db.execute("PRAGMA synchronous = OFF")
            return opened

    return create_app((Server if durable else Undurable)(Settings(home=home), dev=True))


def main(which: str, port: str, home: str) -> None:
    """Serve until ended."""
    frameworks = {"bare": bare, "starlette": starlette, "litestar": litestar, "fastapi": fastapi}
    if which in frameworks:
        app = frameworks[which](Bodies(Path(home) / "bodies.sqlite"))
        lifespan: Literal["off", "on"] = "off"
    else:
        app, lifespan = ours(Path(home), which == "ours"), "on"
    prepare_interpreter()  # as `feedback serve` does, once everything is imported
    uvicorn.run(
        app,
        proxy_headers=False,
        server_header=False,
        host="127.0.0.1",
        port=int(port),
        log_level="error",
        access_log=False,
        lifespan=lifespan,
        backlog=4096,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
