"""One kept-alive HTTP connection that posts batches. Knows HTTP, not events; used by one thread only.

Proxies named in the environment are not used.
"""

import gzip
import http.client
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from feedback_platform.client.config import Config

BATCH_PATH = "/v1/batch"
MAX_RETRY_AFTER = 300.0

TROUBLE = (OSError, http.client.HTTPException)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `retry_after` in seconds, None when the server named none."""

    status: int
    body: bytes
    retry_after: float | None = None


class Transport:
    """Posts bodies to one server, over one connection that is made when it is needed."""

    def __init__(self, config: Config) -> None:
        parts = urlsplit(config.url)
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._path = parts.path.rstrip("/") + BATCH_PATH
        self._tls, self._gzip_over = config.tls, config.gzip_over
        self._headers = {"Content-Type": "application/x-ndjson", "User-Agent": "feedback-platform-client/1"}
        if config.api_key is not None:
            self._headers["Authorization"] = f"Bearer {config.api_key}"
        self._connection: http.client.HTTPConnection | None = None

    def post(self, body: bytes, timeout: float) -> Answer:
        """Send one body and wait for the answer.

        Args:
            body: newline-delimited JSON.
            timeout: seconds that each step (connect, send, receive) may take.

        Raises:
            OSError, http.client.HTTPException: no answer; whether the server took the body is unknown.
        """
        headers = self._headers
        if self._gzip_over is not None and len(body) > self._gzip_over:
            body, headers = gzip.compress(body, compresslevel=1, mtime=0), {**headers, "Content-Encoding": "gzip"}
        if self._connection is not None:
            try:
                return self._exchange(self._connection, body, headers, timeout)
            except (ConnectionError, http.client.HTTPException):
                self.close()  # an idle connection may be closed by the server at any time: once more on a new one
        return self._exchange(self._connected(timeout), body, headers, timeout)

    def close(self) -> None:
        """Close the connection; the next `post` makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def abandon(self) -> None:
        """In a forked child: close its copy of the socket and nothing else, for the parent goes on using it."""
        if self._connection is not None and self._connection.sock is not None:
            os.close(self._connection.sock.detach())

    def _connected(self, timeout: float) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def _exchange(
        self, connection: http.client.HTTPConnection, body: bytes, headers: dict[str, str], timeout: float
    ) -> Answer:
        self._connection = connection
        try:
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            try:
                connection.request("POST", self._path, body=body, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                if connection.sock is None:
                    raise  # else: a server that refuses a large body may answer before it has read it all
            response = connection.getresponse()
            answer = Answer(response.status, response.read(), _seconds(response.getheader("Retry-After")))
            if response.will_close:
                self.close()
            return answer
        except BaseException:
            self.close()
            raise


def _seconds(text: str | None) -> float | None:
    """Retry-After in seconds, at most five minutes; None for a date or nonsense."""
    text = (text or "").strip()
    return min(float(text), MAX_RETRY_AFTER) if text.isascii() and text.isdigit() else None
