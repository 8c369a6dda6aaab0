"""Phoenix's spans and annotations: data frames of its client (Parquet, JSON) and pages of its REST API.

Spans are mapped as if they had been sent over OpenTelemetry (`intake.otlp`), so their ids are the same. Annotations
name a span, a trace or a session; an annotation on the root of a trace, or on the trace, judges the model call that ended
last, once. One on another step is skipped, and so are those on retrieved documents. Annotations name a span without
its trace, so they are read together with their spans; those on a trace without spans wait for the key `trace_id`.

- `thumbs-up` and `thumbs-down` are thumbs whatever the score; else a score from 0 to 1 is a rating on that scale, a label a
  label, another score an outcome, and words alone a comment. Phoenix knows no corrections: an annotation with nothing
  but words and a name such as `correction` or `expected_response` is one.
- Phoenix overwrites an annotation with the same name, target and identifier, so these three make the feedback's id.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from feedback_platform.errors import ImportFormatError
from feedback_platform.intake.importers.foreign import Found, Item, Misunderstood, Options, Skipped, UnreadableRest
from feedback_platform.intake.importers.ids import short
from feedback_platform.intake.importers.line_files import files
from feedback_platform.intake.importers.mapped_values import named
from feedback_platform.intake.importers.phoenix_annotations import feedback
from feedback_platform.intake.importers.phoenix_spans import is_span, span_of
from feedback_platform.intake.importers.record_files import SUFFIXES, Record, first_record, read_records
from feedback_platform.intake.importers.trace_index import TraceIndex
from feedback_platform.intake.otlp.inferences import Defaults
from feedback_platform.intake.otlp.mapping import map_spans
from feedback_platform.intake.otlp.spans import Decoded, Span

NAME = "phoenix"
SUMMARY = "Arize Phoenix spans and annotations: get_spans_dataframe, get_span_annotations, REST pages"

_EXPECTED = "spans or annotations as Phoenix's client or its REST API returns them"
_PAGE = "data"
_JUDGED = ("span_id", "trace_id", "session_id")


def read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    """Inferences, then feedback; see the module.

    Raises:
        ImportFormatError: a file holds neither spans nor annotations.
        NotFoundError: a path does not exist.
        UnreadableRest: at the end, when some files could not be read to theirs.
    """
    spans, annotations = _sorted(files(paths, SUFFIXES))
    damage: list[str] = []
    defaults = Defaults(options.model, options.model_version, options.task, options.environment)
    with TraceIndex() as index:
        for path in spans:
            for record in read_records(path, damage, _PAGE):
                yield from [record] if isinstance(record, Misunderstood) else _span(record, index, defaults)
        for path in annotations:
            for record in read_records(path, damage, _PAGE):
                yield record if isinstance(record, Misunderstood) else _annotation(record, index)
    if damage:
        raise UnreadableRest("; ".join(damage))


def _sorted(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    spans: list[Path] = []
    annotations: list[Path] = []
    for path in paths:
        first = first_record(path, _EXPECTED, _PAGE)
        if first is None:
            continue
        if is_span(first.body):
            spans.append(path)
        elif "annotator_kind" in first.body:
            annotations.append(path)
        else:
            raise ImportFormatError(f"{path} is no Phoenix export. Expected {_EXPECTED}.")
    return spans, annotations


def _span(record: Record, index: TraceIndex, defaults: Defaults) -> Iterator[Item]:
    span = span_of(record.body, record.line - 1)
    if span is None:
        yield record.misunderstood("inference", "a span without readable ids and times")
        return
    found = map_spans(Decoded((span,)), defaults)
    # A call that cannot be mapped is judged all the same: imported again with what it lacks, it is there.
    is_call = "inference" in {*(event.kind for event in found.mapped), *(misfit.kind for misfit in found.misfits)}
    _remember(span, is_call, index)
    for mapped in found.mapped:
        yield Found(mapped.kind, mapped.event, record.path, record.line)
    for misfit in found.misfits:
        yield Misunderstood(misfit.kind, misfit.message, misfit.body, record.path, record.line)
    for reason, count in found.skipped.items():
        yield from [Skipped(reason)] * count


def _remember(span: Span, is_call: bool, index: TraceIndex) -> None:
    index.put_context(span.span_id, {"trace_id": span.trace_id, "is_call": is_call, "is_root": not span.parent_id})
    if is_call:
        index.put_call(span.trace_id, span.request_id, f"{span.end_ns:020}")


def _annotation(record: Record, index: TraceIndex) -> Item:
    row = record.body
    kind = next((name for name in _JUDGED if row.get(name)), None)
    if kind is None:
        return record.misunderstood("feedback", f"an annotation with none of {', '.join(_JUDGED)}")
    if row.get("document_position") is not None:
        return Skipped("judges_a_document")
    if kind == "span_id" and not index.context(str(row[kind])):
        problem = f"span {row[kind]} stands in no file: import annotations together with their spans"
        return record.misunderstood("feedback", problem)
    target = _target(kind, str(row[kind]), index)
    return Skipped("judges_no_model_call") if target is None else feedback(record, kind, target)


def _target(kind: str, judged: str, index: TraceIndex) -> dict[str, object] | None:
    """What an annotation judges; None for a step that is no model call."""
    if kind == "session_id":
        return {"session_id": named(judged)}
    trace_id = judged
    if kind == "span_id":
        span = index.context(judged)
        trace_id = str(span["trace_id"])
        if span["is_call"]:
            return {"request_id": f"{trace_id}-{judged}"}
        if not span["is_root"]:
            return None
    last = index.last_call(trace_id)
    return {"request_id": last} if last else {"keys": {"trace_id": short(trace_id)}}
