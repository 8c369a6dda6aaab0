"""A request to the application in this process, without a network: for what a server process cannot show."""

import asyncio

from starlette.types import Message

from feedback_platform.api.app import create_app
from feedback_platform.api.server import Server
from feedback_platform_tests.api.serving import Answer


async def ask(server: Server, url: str, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
    """The answer to a client on this machine."""
    path, _, query = url.partition("?")
    sent: list[Message] = []
    given = [(b"host", b"localhost"), *((k.lower().encode(), v.encode()) for k, v in (headers or {}).items())]
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
             "headers": given, "client": ("127.0.0.1", 1), "root_path": ""}  # fmt: skip
    asked = iter([{"type": "http.request", "body": b""}])

    async def receive() -> Message:
        found = next(asked, None)
        return found if found is not None else await asyncio.Event().wait()  # type: ignore[return-value]

    async def send(message: Message) -> None:
        sent.append(message)

    await create_app(server)(scope, receive, send)
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], told, b"".join(message["body"] for message in sent[1:]))
