"""Logging callables of the chat-completion shape: `create(model=..., messages=[...], tools=[...], **parameters)`.

Works by shape (mappings or objects with `choices[0].message`), so that no vendor's package is needed; a response of
another shape is returned all the same and logged without an output.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, Unpack, cast

from feedback_platform.client.capture import Call, ObserveMixin
from feedback_platform.client.chat_stream import Assembler, ObservedAsyncStream, ObservedStream
from feedback_platform.client.fields import InferenceFields
from feedback_platform.client.wrappers import named

P = ParamSpec("P")
R = TypeVar("R")

# How the request travels, not what was asked; headers may hold keys.
_TRANSPORT = frozenset({"extra_headers", "extra_query", "timeout", "api_key", "base_url"})
# Ids of people belong where the server makes pseudonyms of them, not among the parameters.
_PEOPLE = ("user", "safety_identifier")


def wrap_chat(
    client: ObserveMixin,
    create: Callable[P, R],
    *,
    model: str | None = None,
    model_version: str | None = None,
    on_logged: Callable[[str], object] | None = None,
    **fields: Unpack[InferenceFields],
) -> Callable[P, R]:
    """A callable like `create`, plain or async, that logs each call.

    The caller gets what `create` returned; only a stream comes in a shell that passes everything through. Logged are
    `{"messages": [...]}` as input, `tools` whole, the other parameters, the assistant's message with its tool calls as
    output (of several choices the first; all of them as `items`), latency, usage and finish reason. The id of the call
    is `last_request_id()` in the caller's thread or task.

    Args:
        client: where to log.
        create: for example `openai.OpenAI().chat.completions.create`.
        model: name to log; the one that is asked for by default.
        model_version: version to log; by default the model that the response names, else the one that was asked for.
        on_logged: called with the request id after a call was logged; its exceptions are swallowed.
        fields: `InferenceFields`, the same for every call.
    """

    @functools.wraps(create)
    def chat(*args: P.args, **kwargs: P.kwargs) -> R:
        asked = named(create, args, dict(kwargs)) if args else dict(kwargs)
        exchange = _Exchange(client, asked, model, model_version, on_logged, fields)
        try:
            value = create(*args, **kwargs)
        except BaseException as error:
            exchange.end(error)
            raise
        if inspect.isawaitable(value):
            return cast(R, exchange.awaited(value))
        return cast(R, exchange.passed_on(value))

    if inspect.iscoroutinefunction(create):
        return cast(Callable[P, R], _coroutine(chat, create))
    return chat


def _coroutine(chat: Callable[..., Any], create: Callable[..., Any]) -> Callable[..., Any]:
    """Frameworks ask whether a callable is async, so its twin says the same."""

    @functools.wraps(create)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        return await chat(*args, **kwargs)

    return awaited


class _Exchange:
    """One call from its arguments to its log entry."""

    def __init__(
        self,
        client: ObserveMixin,
        asked: dict[str, Any],
        model: str | None,
        model_version: str | None,
        on_logged: Callable[[str], object] | None,
        fields: InferenceFields,
    ) -> None:
        self._model_version, self._on_logged = model_version, on_logged
        name = model or str(asked.get("model") or "unknown")
        parameters = {k: v for k, v in asked.items() if k not in ("model", "messages", "tools", *_PEOPLE, *_TRANSPORT)}
        user = next((asked[name] for name in _PEOPLE if isinstance(asked.get(name), str)), None)
        given = cast(InferenceFields, {"user_id": user, "parameters": parameters or None, **fields})
        self._call = Call(client, name, model_version or name, {"messages": asked.get("messages")}, given)
        tools = asked.get("tools")
        if isinstance(tools, list | tuple) and tools:
            self._call.add(tools=[dict(tool) if isinstance(tool, Mapping) else plain(tool) for tool in tools])
        self._parts = Assembler()
        self._streaming = self._logged = False

    async def awaited(self, value: Any) -> Any:
        """Await the result; cancellation is logged like any error."""
        try:
            result = await value
        except BaseException as error:
            self.end(error)
            raise
        return self.passed_on(result)

    def passed_on(self, value: Any) -> Any:
        """Log a whole response and return it; put a stream into its shell."""
        if not _has(value, "choices") and not isinstance(value, str | bytes | Mapping):
            if hasattr(value, "__aiter__"):
                return ObservedAsyncStream(value, self._seen, self._ended)
            if hasattr(value, "__iter__"):
                return ObservedStream(value, self._seen, self._ended)
        self.end(None, value)
        return value

    def end(self, error: BaseException | None, response: object = None) -> None:
        """Log the call, once."""
        if self._logged:
            return
        self._logged = True
        with contextlib.suppress(Exception):  # a response of an unknown shape is logged without its parts
            self._fill(plain(response))
        self._call.finish(error)
        if self._on_logged is not None:
            with contextlib.suppress(Exception):  # the callback is the application's
                self._on_logged(self._call.request_id)

    def _seen(self, chunk: Any) -> None:
        if not self._streaming:
            self._streaming = True
            self._call.add(system={"first_chunk_ms": self._call.milliseconds()})
        with contextlib.suppress(Exception):  # a chunk of an unknown shape is for the caller, not for the log
            self._parts.take(plain(chunk))

    def _ended(self, error: BaseException | None, early: bool) -> None:
        if early and not self._logged:
            self._call.add(system={"stream": "closed_early"})
        self.end(error, self._parts.response())

    def _fill(self, response: Any) -> None:
        if not isinstance(response, dict):
            return
        version = response.get("model")
        if self._model_version is None and isinstance(version, str) and version:
            self._call.model_version = version
            if self._call.model == "unknown":
                self._call.model = version
        choices = response.get("choices") or []
        facts = {"response_id": response.get("id"), "usage": response.get("usage")}
        if choices:
            self._call.output = choices[0].get("message")
            facts["finish_reason"] = choices[0].get("finish_reason")
        self._call.add(system={name: value for name, value in facts.items() if value is not None})
        if len(choices) > 1:
            items = [{"item_id": str(n), "position": n, "output": c.get("message")} for n, c in enumerate(choices)]
            self._call.add(items=items)


def plain(value: Any) -> Any:
    """A vendor's response object as dicts and lists; what is plain already is returned as it is.

    Fields that a vendor's model leaves unset are left out, so that a message can be sent back as it was.
    """
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if callable(dump := getattr(value, "model_dump", None)):
        return dump(mode="json", exclude_unset=True)
    if hasattr(value, "__dict__"):
        return {name: plain(inner) for name, inner in vars(value).items() if not name.startswith("_")}
    return value


def _has(value: object, name: str) -> bool:
    return name in value if isinstance(value, Mapping) else hasattr(value, name)
