"""Recording a call of the model: when it began, what went in, what came out or went wrong, and its request id.

Knows nothing of queues; it ends in one `log_inference`. Whatever fails in here, the application's call goes on.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, Unpack, cast

from feedback_platform.client.fields import InferenceFields
from feedback_platform.client.ids import uuid7
from feedback_platform.client.wrappers import Capture, wrapped

P = ParamSpec("P")
R = TypeVar("R")

MAX_ERROR = 2_000

_last: ContextVar[str | None] = ContextVar("feedback_last_request_id", default=None)


def last_request_id() -> str | None:
    """The id of the call that was recorded last in this thread or asyncio task; None before the first.

    Each task and thread sees its own calls only, so concurrent requests do not mix. After a nested call returns, the
    outer one is the last again.
    """
    return _last.get()


class ObserveMixin(ABC):
    """What recording needs from a client, and the decorator."""

    @abstractmethod
    def log_inference(
        self, *, model: str, model_version: str, input: object, output: object, **fields: Unpack[InferenceFields]
    ) -> str:
        """Log one answered request."""

    @abstractmethod
    def freeze(self, value: object) -> object:
        """The value as it is now, ready to be logged later."""

    def observe(
        self,
        *,
        model: str,
        model_version: str,
        input: Callable[..., object] | None = None,
        output: Callable[[Any], object] | None = None,
        **fields: Unpack[InferenceFields],
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function so that each call is logged: arguments, result, latency, exception.

        Plain and async functions, generators and async generators. A generator's output is the list of what it yields,
        or one text when all are texts; it is logged when it ends or is closed. The id is `last_request_id()`.

        Args:
            model: which model the function asks.
            model_version: which version of it.
            input: makes the logged input from the arguments; by default it is `{name: value}`, defaults included.
            output: makes the logged output from the result (of a generator: from the list).
            fields: `InferenceFields`, the same for every call.
        """

        def opened(arguments: object) -> Call:
            return Call(self, model, model_version, arguments, fields)

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            return cast(Callable[P, R], wrapped(function, Capture(opened, input, output)))

        return decorate


class Call:
    """One call of the model on its way; a context manager that logs at its end, once.

    Attributes:
        request_id: known from the start.
        model, model_version, output: what will be logged; may be set until the end.
    """

    def __init__(
        self, client: ObserveMixin, model: str, model_version: str, input: object, fields: InferenceFields
    ) -> None:
        self.request_id = str(fields.get("request_id") or uuid7())
        self.model, self.model_version = model, model_version
        self.output: object = None
        self._client = client
        self._input = client.freeze(input)
        self._fields: dict[str, Any] = {}
        self.add(**fields)
        self._open = True
        self._started = time.perf_counter()
        _last.set(self.request_id)

    def add(self, **fields: Unpack[InferenceFields]) -> None:
        """Set further fields; those of `system` are merged."""
        given = cast(dict[str, Any], fields)
        system = dict(self._fields.get("system") or {})
        more = given.pop("system", None)
        system |= dict(more) if isinstance(more, Mapping) else {} if more is None else {"value": more}
        for name, value in given.items():
            self._fields[name] = self._client.freeze(value) if isinstance(value, dict | list) else value
        if system:
            self._fields["system"] = system

    def milliseconds(self) -> float:
        """Since the call began."""
        return round((time.perf_counter() - self._started) * 1000, 3)

    def finish(self, error: BaseException | None = None) -> None:
        """Log the call; later calls of this do nothing."""
        if not self._open:
            return
        self._open = False
        facts: dict[str, Any] = {"latency_ms": self.milliseconds()}
        if error is not None:
            facts["error"] = described(error)
        self._fields["system"] = facts | dict(self._fields.get("system") or {})
        self._fields["request_id"] = self.request_id
        _last.set(self.request_id)
        self._client.log_inference(
            model=self.model, model_version=self.model_version, input=self._input, output=self.output,
            **cast(InferenceFields, self._fields),
        )  # fmt: skip

    def __enter__(self) -> "Call":
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(error)


def described(error: BaseException) -> str:
    """`Type: message`, cut to a sane length; never fails."""
    try:
        return f"{type(error).__name__}: {error}".removesuffix(": ")[:MAX_ERROR]
    except Exception:  # noqa: BLE001  an exception's text is the application's code
        return type(error).__name__
