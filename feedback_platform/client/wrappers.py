"""A function of any kind (plain, async, generator, async generator) becomes one that is recorded and else the same.

Results, exceptions, and what is sent and thrown into generators pass through unchanged.
"""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feedback_platform.client.capture import Call


@dataclass(frozen=True, slots=True)
class Capture:
    """How a call is recorded.

    Attributes:
        opened: begins a recording, given the input.
        input: makes the logged input from the arguments, or None.
        output: makes the logged output from the result, or None.
    """

    opened: Callable[[object], "Call"]
    input: Callable[..., object] | None
    output: Callable[[Any], object] | None

    def begin(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Call":
        """Begin to record a call with these arguments."""
        if self.input is not None:
            try:
                return self.opened(self.input(*args, **kwargs))
            except Exception:  # noqa: BLE001  logging must not break the call; all arguments are logged instead
                pass
        return self.opened(named(function, args, kwargs))

    def result(self, value: object) -> object:
        """The output to be logged."""
        if self.output is None:
            return value
        try:
            return self.output(value)
        except Exception:  # noqa: BLE001  logging must not break the call; the result is logged as it is
            return value

    def pieces(self, yielded: list[object]) -> object:
        """The output to be logged, of a generator."""
        if self.output is None and yielded and all(isinstance(piece, str) for piece in yielded):
            return "".join(map(str, yielded))
        return self.result(yielded)


def named(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments by name, defaults included, `self` and `cls` left out, `**` arguments beside the others."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
        bound.apply_defaults()
    except (TypeError, ValueError):  # the call will fail likewise, or the function shows no signature
        return {**({"args": list(args)} if args else {}), **kwargs}
    arguments: dict[str, Any] = {}
    for place, (name, value) in enumerate(bound.arguments.items()):
        if place == 0 and name in ("self", "cls"):
            continue
        if bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            arguments |= value
        else:
            arguments[name] = value
    return arguments


def wrapped(function: Callable[..., Any], capture: Capture) -> Callable[..., Any]:
    """The recorded twin of a function, of the same kind."""
    if inspect.isasyncgenfunction(function):
        return _async_generator(function, capture)
    if inspect.isgeneratorfunction(function):
        return _generator(function, capture)
    if inspect.iscoroutinefunction(function):
        return _coroutine(function, capture)
    return _plain(function, capture)


def _plain(function: Callable[..., Any], capture: Capture) -> Callable[..., Any]:
    @functools.wraps(function)
    def observed(*args: Any, **kwargs: Any) -> Any:
        with capture.begin(function, args, kwargs) as call:
            value = function(*args, **kwargs)
            call.output = capture.result(value)
        return value

    return observed


def _coroutine(function: Callable[..., Any], capture: Capture) -> Callable[..., Any]:
    @functools.wraps(function)
    async def observed(*args: Any, **kwargs: Any) -> Any:
        with capture.begin(function, args, kwargs) as call:
            value = await function(*args, **kwargs)
            call.output = capture.result(value)
        return value

    return observed


def _generator(function: Callable[..., Any], capture: Capture) -> Callable[..., Any]:
    @functools.wraps(function)
    def observed(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        yielded: list[object] = []
        call = capture.begin(function, args, kwargs)
        with call:
            try:
                return (yield from _collected(function(*args, **kwargs), yielded))
            except GeneratorExit:
                call.add(system={"stream": "closed_early"})
                call.output = capture.pieces(yielded)
                call.finish()
                raise
            finally:
                call.output = capture.pieces(yielded)

    return observed


def _collected(generator: Generator[Any, Any, Any], yielded: list[object]) -> Generator[Any, Any, Any]:
    """`yield from` that keeps what passes (PEP 380)."""
    try:
        value = next(generator)
        while True:
            yielded.append(value)
            try:
                sent = yield value
            except GeneratorExit:
                generator.close()
                raise
            except BaseException as error:  # noqa: BLE001  whatever was thrown in is for the function
                value = generator.throw(error)
            else:
                value = generator.send(sent)
    except StopIteration as end:
        return end.value


def _async_generator(function: Callable[..., Any], capture: Capture) -> Callable[..., Any]:
    @functools.wraps(function)
    async def observed(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        yielded: list[object] = []
        call = capture.begin(function, args, kwargs)
        source = function(*args, **kwargs)
        with call:
            try:
                value = await anext(source)
                while True:
                    yielded.append(value)
                    try:
                        sent = yield value
                    except GeneratorExit:
                        await source.aclose()
                        raise
                    except BaseException as error:  # noqa: BLE001  whatever was thrown in is for the function
                        value = await source.athrow(error)
                    else:
                        value = await source.asend(sent)
            except StopAsyncIteration:
                return
            except GeneratorExit:
                call.add(system={"stream": "closed_early"})
                call.output = capture.pieces(yielded)
                call.finish()
                raise
            finally:
                call.output = capture.pieces(yielded)

    return observed
