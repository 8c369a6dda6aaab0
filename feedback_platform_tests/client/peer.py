"""The other side of the wire: a real HTTP server that keeps what it accepts and answers by script.

Without a script it behaves as the contract says: 202, and the same id with the same body counts as a duplicate.
"""

import contextlib
import gzip
import json
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Request:
    """One request as it came, its body unpacked."""

    path: str
    headers: dict[str, str]
    lines: list[bytes]
    wire_bytes: int


@dataclass
class Reply:
    """An answer; `body` is sent as JSON."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


Script = Reply | Callable[[Request], Reply | None]


def event_id(event: dict[str, Any]) -> str:
    return str(event["feedback_id"] if "feedback_type" in event else event["request_id"])


def problem(status: int, reason: str, **more: Any) -> dict[str, Any]:
    return {"type": "about:blank", "title": reason, "status": status, "detail": f"detail of {reason}",
            "reason": reason, "fix": f"fix of {reason}", **more}  # fmt: skip


class Peer:
    """A server on 127.0.0.1; `stop` and `start` make an outage on the same port."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.requests: list[Request] = []
        self.accepted: dict[str, bytes] = {}
        self.order: list[str] = []
        self.script: deque[Script] = deque()
        self.always: Script | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def events(self) -> list[dict[str, Any]]:
        """What was accepted, in the order of arrival."""
        return [json.loads(self.accepted[key]) for key in self.order]

    def start(self) -> "Peer":
        self._server = _Server(("127.0.0.1", self.port), _handler(self))
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        with self._lock:
            connections, self._open = list(self._open), set()
        for connection in connections:
            with contextlib.suppress(OSError):  # the other side closed it
                connection.shutdown(socket.SHUT_RDWR)
        self._server = None

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            self._open.add(connection)

    def answer(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            step = self.script.popleft() if self.script else self.always
        reply = step(request) if callable(step) else step
        return reply or self.accept(request.lines)

    def accept(self, lines: list[bytes]) -> Reply:
        results = [self.keep(index, line) for index, line in enumerate(lines)]
        duplicates = sum(result["duplicate"] for result in results)
        accepted = len(lines) - duplicates
        return Reply(202, {"accepted": accepted, "duplicates": duplicates, "refused": 0, "results": results})

    def keep(self, index: int, line: bytes) -> dict[str, Any]:
        """Accept one event; the result for it."""
        key = event_id(json.loads(line))
        with self._lock:
            duplicate = key in self.accepted
            assert not duplicate or self.accepted[key] == line, "one id came with two bodies"
            self.accepted[key] = line
            if not duplicate:
                self.order.append(key)
            return {"index": index, "status": 202, "id": key, "log_seq": len(self.order), "durable": True,
                    "duplicate": duplicate}  # fmt: skip


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that the other side drops is part of the tests."""


def _handler(peer: Peer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def setup(self) -> None:
            peer.opened(self.request)
            super().setup()

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
            lines = [line for line in body.split(b"\n") if line]
            reply = peer.answer(Request(self.path, dict(self.headers), lines, len(raw)))
            data = json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    return Handler
