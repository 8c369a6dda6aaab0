"""The real `feedback serve` in a process of its own, and a plain client for it."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from feedback_platform.intake.guards.key_rows import IssuedKey
from feedback_platform.intake.guards.keys import KeyStore, key_store_path
from feedback_platform.intake.log import Stream
from feedback_platform.intake.sqlite_log import open_log
from feedback_platform.settings import Settings

PATIENCE_SECONDS = 30
IDLE_SECONDS = 3  # the server closes connections that are idle for longer than 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (lower-case names) and body of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """The reason code of a problem."""
        assert self.headers["content-type"] == "application/problem+json", self
        return str(self.json["reason"])


@dataclass(slots=True)
class Served:
    """A server process and where it listens."""

    home: Path
    port: int
    process: "subprocess.Popen[str]"
    key: str | None = None
    _kept: http.client.HTTPConnection | None = field(default=None, repr=False)
    _used: float = 0.0

    @property
    def url(self) -> str:
        """Base address."""
        return f"http://127.0.0.1:{self.port}"

    def call(
        self,
        method: str,
        path: str,
        body: bytes | str | object = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request on a kept connection; objects go as JSON."""
        given = dict(headers or {})
        bearer = key if key is not None else self.key
        if bearer:
            given.setdefault("Authorization", f"Bearer {bearer}")
        if body is not None and not isinstance(body, bytes | str):
            body = json.dumps(body).encode()
            given.setdefault("Content-Type", "application/json")
        if time.monotonic() - self._used > IDLE_SECONDS:
            self.drop()
        if self._kept is None:
            self._kept = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            self._kept.request(method, path, body=body, headers=given)
            answer = self._kept.getresponse()
            content = answer.read()
        except BaseException:
            self.drop()
            raise
        self._used = time.monotonic()
        found = Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, content)
        if found.headers.get("connection") == "close":
            self.drop()
        return found

    def post(self, path: str, body: object, **more: Any) -> Answer:
        """POST."""
        return self.call("POST", path, body, **more)

    def get(self, path: str, **more: Any) -> Answer:
        """GET."""
        return self.call("GET", path, **more)

    def drop(self) -> None:
        """Close the kept connection."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def kill(self) -> None:
        """SIGKILL."""
        self.drop()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def start(home: Path, *options: str, port: int = 0, env: Mapping[str, str] | None = None) -> Served:
    """Start a server and wait until it listens; `options` as `feedback serve` takes them."""
    command = [
        sys.executable,
        "-m",
        "feedback_platform.cli",
        "--home",
        str(home),
        "serve",
        "--port",
        str(port),
        *options,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.search(r":(\d+)", line)
    if match is None:
        process.kill()
        raise AssertionError(f"the server did not start: {line!r}, exit code {process.wait()}")
    return Served(home, int(match[1]), process)


@contextmanager
def served(home: Path, *options: str, **more: Any) -> Iterator[Served]:
    """A server for the length of the block; it is asked to end, and must."""
    server = start(home, *options, **more)
    try:
        yield server
    finally:
        server.drop()
        if server.process.poll() is None:
            server.process.terminate()
            assert server.process.wait(timeout=30) in (0, -signal.SIGTERM), "the server did not end cleanly"
        if server.process.stdout is not None:
            server.process.stdout.close()


def make_key(home: Path, *scopes: str, tenant: str = "default", now: datetime | None = None, **more: Any) -> IssuedKey:
    """A key in the home's file, as `feedback keys create` makes it."""
    with KeyStore(key_store_path(Settings(home=home))) as store:
        return store.create(tenant, scopes, "test", now=now or datetime.now(UTC), **more)


def logged(home: Path, stream: Stream, tenant: str = "default") -> list[dict[str, Any]]:
    """The rows of a stream of a tenant's log, in their order, each with its position."""
    with open_log(Settings(home=home, tenant=tenant).log_path) as log:
        return [{**json.loads(row), "log_seq": seq} for seq, row in log.read(stream, 0, 1_000_000)]


def heads(home: Path, tenant: str = "default") -> tuple[int, int, int]:
    """Last positions: inferences, feedback, dead letters."""
    with open_log(Settings(home=home, tenant=tenant).log_path) as log:
        return log.head("inference"), log.head("feedback"), log.head("dead_letter")


def exchange(server: Served, sent: bytes, *, and_close: bool = False) -> bytes:
    """Bytes to the server as they are; what it answers until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(sent)
        if and_close:
            return b""
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def peak_bytes(server: Served) -> int:
    """The most memory that the server has had."""
    text = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0]) * 1024


def eventually(find: Callable[[], T | None], *, within: float = PATIENCE_SECONDS) -> T:
    """What `find` gives once it gives something true."""
    deadline = time.monotonic() + within
    while not (found := find()):
        assert time.monotonic() < deadline, f"not within {within} s: {found!r}"
        time.sleep(0.05)
    return found
