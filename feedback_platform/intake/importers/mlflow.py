"""MLflow traces with their assessments: `Trace.to_json`, or rows of `search_traces`, in JSON, JSON Lines or Parquet.

The spans of a trace that call a model become inferences; a trace without such a span is one inference, its root.
Ids are those of the same spans sent over OpenTelemetry. Assessments become feedback:

- One on a span judges that span. One on the trace, or on its root, judges the model call that ended last, once.
- An expectation `expected_response`, and any other `expected_...`, is a corrected output; MLflow's own
  `expected_facts`, `expected_retrieved_context` and `guidelines` are no outputs and become comments.
- Overridden assessments (`valid: false`), failed ones and references to issues are skipped.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from feedback_platform.errors import ImportFormatError
from feedback_platform.intake.importers.foreign import Found, Item, Misunderstood, Options, Skipped, UnreadableRest
from feedback_platform.intake.importers.line_files import files
from feedback_platform.intake.importers.mlflow_assessments import feedback
from feedback_platform.intake.importers.mlflow_spans import Call, Trace, inference, is_model_call, trace_of
from feedback_platform.intake.importers.record_files import SUFFIXES, Record, first_record, read_records

NAME = "mlflow"
SUMMARY = "MLflow traces with assessments: Trace.to_json() or search_traces() in JSON, JSON Lines or Parquet"

_EXPECTED = "MLflow traces (schema 3): objects with `info` and `data`, or rows of search_traces()"
_PAGE = "traces"


def read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    """Trace by trace: its inferences, then its feedback.

    Raises:
        ImportFormatError: a file holds no MLflow traces.
        NotFoundError: a path does not exist.
        UnreadableRest: at the end, when some files could not be read to theirs.
    """
    found = files(paths, SUFFIXES)
    for path in found:
        first = first_record(path, _EXPECTED, _PAGE)
        if first is not None and trace_of(first.body) is None:
            raise ImportFormatError(f"{path} holds no MLflow traces. Expected {_EXPECTED}.")
    damage: list[str] = []
    for path in found:
        for record in read_records(path, damage, _PAGE):
            yield from [record] if isinstance(record, Misunderstood) else _events(record, options)
    if damage:
        raise UnreadableRest("; ".join(damage))


def _events(record: Record, options: Options) -> Iterator[Item]:
    trace = trace_of(record.body)
    if trace is None:
        yield record.misunderstood("unknown", f"not a trace. Expected {_EXPECTED}")
        return
    if not trace.spans:
        yield record.misunderstood("inference", "the trace has no spans; export it with include_spans=True")
    calls = [span for span in trace.spans if is_model_call(span)] or trace.spans[:1]
    known: dict[str, Call] = {}
    for span in trace.spans:
        if span not in calls:
            yield Skipped("not_a_model_call")
            continue
        for item in inference(span, trace, record, options):
            # A call that cannot be mapped is judged all the same: imported again with what it lacks, it is there.
            if isinstance(item, Found | Misunderstood) and item.kind == "inference":
                known[span.span_id] = span
            yield item
    yield from (feedback(entry, _judged(trace, entry, known), record) for entry in trace.assessments)


def _judged(trace: Trace, assessment: dict[str, object], known: dict[str, Call]) -> str | None:
    """The request that an assessment judges; None for a span that is no inference."""
    span_id = assessment.get("span_id")
    if isinstance(span_id, str) and span_id in known:
        return known[span_id].request_id
    if span_id and trace.spans and span_id != trace.spans[0].span_id:
        return None
    last = max(known.values(), key=lambda span: (span.end_ns, span.span_id), default=None)
    return last.request_id if last else None
