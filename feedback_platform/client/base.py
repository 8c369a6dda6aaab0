"""What both clients share: the constructor, logging inferences and feedback, and the counters.

Nothing here waits for the network or raises because of it. `client` and `aio` add the two ways to wait.
"""

import contextlib
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Unpack

from feedback_platform.client.capture import Call, ObserveMixin
from feedback_platform.client.config import Config, MiB, from_environment
from feedback_platform.client.engine import Engine
from feedback_platform.client.feedback import FeedbackMixin
from feedback_platform.client.fields import FeedbackFields, InferenceFields
from feedback_platform.client.ids import uuid7
from feedback_platform.client.stats import Refusal, Stats
from feedback_platform.errors import ConfigError


class BaseClient(FeedbackMixin, ObserveMixin):
    """Takes events from the application; see `Client` for the arguments.

    Raises:
        ConfigError: an argument makes no sense, or the spill's folder cannot be used. Never for a server that is away.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        spill: str | os.PathLike[str] | None = None,
        max_queue_events: int = 10_000,
        max_queue_bytes: int = 64 * MiB,
        max_spill_bytes: int = 256 * MiB,
        batch_events: int = 500,
        batch_bytes: int = 4 * MiB,
        linger: float = 0.05,
        timeout: float = 10.0,
        max_backoff: float = 10.0,
        exit_timeout: float = 5.0,
        gzip_over: int | None = 8 * 1024,
        tls: ssl.SSLContext | None = None,
        on_refused: Callable[[Refusal], object] | None = None,
    ) -> None:
        address, key, file = from_environment(url, api_key, spill)
        self.config = Config(
            url=address,
            api_key=key,
            spill=file,
            max_queue_events=max_queue_events,
            max_queue_bytes=max_queue_bytes,
            max_spill_bytes=max_spill_bytes,
            batch_events=batch_events,
            batch_bytes=batch_bytes,
            linger=linger,
            timeout=timeout,
            max_backoff=max_backoff,
            exit_timeout=exit_timeout,
            gzip_over=gzip_over,
            tls=tls,
            on_refused=on_refused,
        )
        self._engine = Engine(self.config)
        try:
            self._engine.start()
        except OSError as error:
            self._engine.close(0.0)
            raise ConfigError(
                f"The spill file {file} cannot be used: {error}. Name one in a writable folder."
            ) from None

    def log_inference(
        self, *, model: str, model_version: str, input: object, output: object, **fields: Unpack[InferenceFields]
    ) -> str:
        """Log one answered request; returns its id, at once.

        The arguments are encoded before the call returns, so they may change afterwards.

        Args:
            model: which model answered.
            model_version: which version of it.
            input: what it was given: a text, `{"messages": [...]}`, a flat object of features, or any JSON.
            output: what it answered; None when there was no answer.
            fields: `InferenceFields`.
        """
        request_id = str(fields.get("request_id") or uuid7())
        event = {
            **_given(fields),
            "request_id": request_id,
            "timestamp": _time(fields.get("timestamp")),
            "model": model,
            "model_version": model_version,
            "input": input,
            "output": output,
        }
        self._engine.record(event)
        return request_id

    def send_feedback(
        self,
        *,
        request_id: str | None = None,
        feedback_type: str | None = None,
        feedback_value: object = None,
        thumbs: bool | None = None,
        label: str | None = None,
        correction: object = None,
        comment: str | None = None,
        **fields: Unpack[FeedbackFields],
    ) -> str:
        """Send one piece of feedback; returns its id, at once.

        Args:
            request_id: the inference that is judged; else give `target`.
            feedback_type: a type of the wire contract, with `feedback_value` in its form.
            feedback_value: what is said.
            thumbs, label, correction, comment: short for the type and value; give one of them instead of the two.
            fields: `FeedbackFields`.
        """
        if feedback_type is None:
            feedback_type, feedback_value = _short(thumbs, label, correction, comment)
        feedback_id = str(fields.get("feedback_id") or uuid7())
        event = {
            **_given(fields),
            "feedback_id": feedback_id,
            "timestamp": _time(fields.get("timestamp")),
            "feedback_type": feedback_type,
            "feedback_value": feedback_value,
        }
        if request_id is not None:
            event["request_id"] = request_id
        self._engine.record(event)
        return feedback_id

    def record(self, *, model: str, model_version: str, input: object, **fields: Unpack[InferenceFields]) -> Call:
        """Time a call of the model and log it at the end of the `with` block, errors included.

            with client.record(model="m", model_version="1", input=question) as call:
                call.output = ask(question)

        An exception is logged as `system.error` and goes on to the caller. `input` is taken as it is now.
        """
        return Call(self, model, model_version, input, fields)

    def freeze(self, value: object) -> object:
        """The value as it is now, as JSON that later logging copies unchanged."""
        return self._engine.freeze(value)

    def stats(self) -> Stats:
        """What became of the events so far."""
        return self._engine.stats()


def _given(fields: Mapping[str, Any]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _time(given: datetime | str | None) -> datetime | str:
    if given is None:
        return datetime.now(UTC)
    if isinstance(given, datetime) and given.tzinfo is None:
        with contextlib.suppress(OverflowError, ValueError, OSError):  # the first and last day of the calendar
            return given.astimezone(UTC)  # a time without an offset is local time
    return given


def _short(
    thumbs: bool | None, label: str | None, correction: object, comment: str | None
) -> tuple[str | None, object]:
    """Type and value of the short form that was given; (None, None), which the server refuses, when none was."""
    forms: Sequence[tuple[str, str, object]] = (
        ("thumbs", "up", thumbs),
        ("label", "label", label),
        ("explicit_correction", "output", correction),
        ("comment", "text", comment),
    )
    return next(((kind, {name: value}) for kind, name, value in forms if value is not None), (None, None))
