"""The client for threads and plain scripts."""

from types import TracebackType

from feedback_platform.client.base import BaseClient


class Client(BaseClient):
    """Logs inferences and feedback in the background.

    Safe to share between threads; a forked child begins with an empty queue of its own. Closed by itself at the end of
    the process; a process that is killed loses what is in memory: the last `linger` and whatever a request on the wire
    holds up, `timeout` at most. In an outage that is the last `linger` when there is a spill.

    Args:
        url: the server; FEEDBACK_URL, else http://127.0.0.1:8700.
        api_key: FEEDBACK_API_KEY, else none is sent.
        spill: a file in which events wait while the server is away (FEEDBACK_SPILL); further files get its name and a
            number. It outlives the process and is sent by the next that opens it. Local disks of Linux and macOS. An
            event holds what users wrote: the files are readable by their owner only.
        max_queue_events, max_queue_bytes: bounds of the queue in memory. What comes on top goes to the spill, else it
            is dropped and counted.
        max_spill_bytes: bound of all spill files of this name.
        batch_events, batch_bytes: bounds of one request, before compression.
        linger: seconds to wait for company before a request.
        timeout: seconds that a request may take to connect, to send and to answer.
        max_backoff: longest pause between attempts, in seconds; a longer one is made only when the server asks for it.
        exit_timeout: seconds that the end of the process may be held up by sending.
        gzip_over: compress requests above this size; None for never.
        tls: for https with certificates of one's own.
        on_refused: called in the background thread with each event that the server will never take.

    Raises:
        ConfigError: an argument makes no sense, or the spill's folder cannot be used.
    """

    def flush(self, timeout: float = 30.0) -> bool:
        """Send what was logged before this call; True when the server has answered for all of it.

        False: time ran out, and the rest is still in the queue or the spill.
        """
        return self._engine.flush(timeout)

    def close(self, timeout: float | None = None) -> None:
        """Send what is left (for `exit_timeout` seconds by default), keep the rest in the spill, take no more events."""
        self._engine.close(self.config.exit_timeout if timeout is None else timeout)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
