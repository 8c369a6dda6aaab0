"""Spans become events of the wire contract, or are counted by the reason why they do not.

Pure: the same spans give the same events, byte by byte, however often they are exported. The events are not validated
here; the door does that with the same rules as for every other way in.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from feedback_platform.contracts.events import Kind
from feedback_platform.intake.otlp.attributes import UnreadableAttribute, name, plain
from feedback_platform.intake.otlp.decode import decode_export
from feedback_platform.intake.otlp.exchange import all_attributes, exchange_of
from feedback_platform.intake.otlp.inferences import Defaults, NotMapped, inference_of
from feedback_platform.intake.otlp.judgements import Export, feedback_of
from feedback_platform.intake.otlp.kinds import MODEL_CALL, kind_of
from feedback_platform.intake.otlp.spans import Attributes, Decoded, Limits, Malformed, Span

CONTENT_NOT_CAPTURED = "content_not_captured"
FAILED_CALL = "failed_call"


@dataclass(frozen=True, slots=True)
class Mapped:
    """An event of the wire contract, not validated yet, and the place of its span in the export, from 0."""

    span: int
    kind: Kind
    event: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Misfit:
    """A span that should have become an event and did not: why, what to do, and the span as JSON or as it was sent."""

    span: int
    kind: Literal["inference", "feedback", "unknown"]
    message: str
    body: bytes


@dataclass(frozen=True, slots=True)
class ReadExport:
    """What one export holds for us.

    Attributes:
        spans: how many spans it has.
        mapped: the events, those of one span together, in order.
        misfits: what could not be turned into events.
        skipped: spans and judgements that hold nothing for us, by reason: `not_a_model_call`, `tool_span`,
            `chain_span`, `agent_span`, `retriever_span`, `embedding_span`, ... (see `kinds`), `content_not_captured`
            (nothing to train on: the instrumentation records texts only when told to), `failed_call`,
            `judges_no_model_call`, `evaluation_failed`.
    """

    spans: int
    mapped: tuple[Mapped, ...]
    misfits: tuple[Misfit, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)


def read_export(
    body: bytes, content_type: str, *, limits: Limits | None = None, defaults: Defaults | None = None
) -> ReadExport:
    """The events of an OTLP/HTTP trace export.

    Args:
        body: the request's body, not compressed (see `decode.unpacked`).
        content_type: its Content-Type header.
        limits: what it may cost.
        defaults: what its spans may lack.

    Raises:
        EventRejected: the body as a whole cannot be read (see `decode.decode_export`); never anything else.
    """
    return map_spans(decode_export(body, content_type, limits), defaults)


def map_spans(decoded: Decoded, defaults: Defaults | None = None) -> ReadExport:
    """The events of decoded spans."""
    attributes = [all_attributes(span) for span in decoded.spans]
    export = _export(decoded.spans, attributes)
    mapped: list[Mapped] = []
    misfits = [_malformed(one) for one in decoded.malformed]
    skipped: Counter[str] = Counter()
    for span, found in zip(decoded.spans, attributes, strict=True):
        inference = _inference(span, found, export, defaults or Defaults())
        if isinstance(inference, dict):
            mapped.append(Mapped(span.index, "inference", inference))
        elif isinstance(inference, Misfit):
            misfits.append(inference)
        judged = _judged(span, found, export, mapped, misfits, skipped)
        # A span that only carries judgements, such as an evaluator's, has given what it has; a call has not.
        if isinstance(inference, str) and (not judged or inference in (CONTENT_NOT_CAPTURED, FAILED_CALL)):
            skipped[inference] += 1
    misfits.sort(key=lambda misfit: misfit.span)
    return ReadExport(len(decoded.spans) + len(decoded.malformed), tuple(mapped), tuple(misfits), dict(skipped))


def _export(spans: Sequence[Span], attributes: Sequence[Attributes]) -> Export:
    kinds: dict[str, str] = {}
    responses: dict[str, str] = {}
    for span, found in zip(spans, attributes, strict=True):
        kinds[span.request_id] = kind_of(found)
        response = name(found.get("gen_ai.response.id"))
        if response is not None and kinds[span.request_id] == MODEL_CALL:
            responses.setdefault(response, span.request_id)
    return Export(kinds, responses)


def _inference(
    span: Span, attributes: Attributes, export: Export, defaults: Defaults
) -> dict[str, object] | Misfit | str:
    """The span's inference, what is wrong with it, or the reason why it is none."""
    kind = export.kinds[span.request_id]
    if kind != MODEL_CALL:
        return kind
    try:
        exchange = exchange_of(span, attributes)
        if span.is_error and exchange.output is None:
            return FAILED_CALL
        if exchange.input is None or exchange.output is None:
            return CONTENT_NOT_CAPTURED
        return inference_of(span, attributes, exchange, defaults)
    except (NotMapped, UnreadableAttribute) as error:
        return _misfit(span, "inference", str(error))


def _judged(
    span: Span,
    attributes: Attributes,
    export: Export,
    mapped: list[Mapped],
    misfits: list[Misfit],
    skipped: Counter[str],
) -> int:
    """Sort the judgements on a span into events, misfits and reasons; returns how many there were."""
    results = list(feedback_of(span, attributes, export))
    for result in results:
        if isinstance(result, dict):
            mapped.append(Mapped(span.index, "feedback", result))
        elif isinstance(result, str):
            skipped[result] += 1
        else:
            misfits.append(_misfit(span, "feedback", str(result)))
    return len(results)


def _misfit(span: Span, kind: Literal["inference", "feedback"], message: str) -> Misfit:
    body = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "attributes": plain(dict(span.attributes)),
        "events": [{"name": event.name, "attributes": plain(dict(event.attributes))} for event in span.events],
    }
    return Misfit(span.index, kind, f"Span {span.name!r} ({span.request_id}): {message}", msgspec.json.encode(body))


def _malformed(one: Malformed) -> Misfit:
    return Misfit(one.index, "unknown", f"Span {one.index} of the export: {one.message}", one.body)
