"""What an OTLP export holds, in a form that no longer shows whether it came as protobuf or as JSON.

Plain frozen values; `protobuf_spans` and `json_spans` make them, `mapping` turns them into events.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from feedback_platform.errors import EventRejected

STATUS_ERROR = 2

Value = None | str | bool | int | float | list["Value"] | dict[str, "Value"]
Attributes = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one export may cost; the defaults suit an HTTP request.

    Attributes:
        body_bytes: size after decompression; OTLP recommends 20 MiB.
        span_bytes: size of one span (protobuf); decoded it takes up to thirty times as much memory.
        spans: spans in one export.
        values: attribute values in one span, nested ones counted.
        depth: nesting of lists and maps inside one attribute value.
    """

    body_bytes: int = 20 * 2**20
    span_bytes: int = 8 * 2**20
    spans: int = 50_000
    values: int = 50_000
    depth: int = 32


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened during a span; `time_ns` is Unix time in nanoseconds, 0 where unknown."""

    name: str
    time_ns: int
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Span:
    """One span; ids are lower-case hex, times Unix nanoseconds, `index` its place in the export from 0.

    `parent_id` is "" for a root. Of attributes with the same key the last one counts.
    """

    index: int
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Attributes
    events: tuple[SpanEvent, ...] = ()
    status_code: int = 0
    status_message: str = ""
    resource: Attributes = field(default_factory=dict)
    scope: str = ""
    scope_version: str = ""

    @property
    def request_id(self) -> str:
        """The inference's id: unique as long as trace ids are, the same at every repetition of the export."""
        return f"{self.trace_id}-{self.span_id}"

    @property
    def is_error(self) -> bool:
        """True where the instrumentation says that the operation failed."""
        return self.status_code == STATUS_ERROR


@dataclass(frozen=True, slots=True)
class Malformed:
    """A span that breaks OTLP or a limit: why, and the span as it was sent."""

    index: int
    message: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Decoded:
    """The spans of one export, and those that could not be read."""

    spans: tuple[Span, ...]
    malformed: tuple[Malformed, ...] = ()


class SpanError(ValueError):
    """This span cannot be read; its message says what is wrong and what to do."""


class Meter:
    """Counts the attribute values of one span, and how deep they lie."""

    __slots__ = ("left", "limits")

    def __init__(self, limits: Limits) -> None:
        self.limits, self.left = limits, limits.values

    def take(self, depth: int) -> None:
        """Count one value at this depth.

        Raises:
            SpanError: that is one too many, or one too deep.
        """
        self.left -= 1
        if self.left < 0:
            raise SpanError(f"It has more than {self.limits.values} attribute values. Record fewer on one span.")
        if depth > self.limits.depth:
            raise SpanError(f"An attribute is nested deeper than {self.limits.depth}. Record it as a JSON string.")


def check_ids(trace_id: str, span_id: str, parent_id: str) -> None:
    """Ids as OTLP wants them: 16 and 8 bytes in hex, not all zero; a parent may be absent.

    Raises:
        SpanError: an id is of another size or all zero.
    """
    for name, found, size in (("trace", trace_id, 32), ("span", span_id, 16)):
        if len(found) != size or not found.strip("0"):
            raise SpanError(f"Its {name} id {found[:40]!r} is not {size} hex digits with one that is not 0.")
    if parent_id and len(parent_id) != 16:
        raise SpanError(f"Its parent's id {parent_id[:40]!r} is not 16 hex digits.")


def too_many_spans(limits: Limits) -> EventRejected:
    """The refusal of an export with more spans than the limit."""
    return EventRejected("too_many_entries", field="spans", fix=f"Send at most {limits.spans} spans per export.")
