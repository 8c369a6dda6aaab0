"""Langfuse's blob storage export: `observations_v2/` (or legacy `traces/` and `observations/`) and `scores/`.

Model calls become inferences, scores feedback. Field names follow Langfuse's export field reference, every field
group but `core` may be missing. What is told apart by folder name is read in that order, whatever the order of paths:

- Durations come from the times: the `latency` column is in seconds or in milliseconds, depending on when an
  integration was made, and nothing in the file says which.
- A score of a trace, or of its root, judges the trace's model call that ended last, and only that: joined on `trace_id`
  it would count once per call. When the files hold no call of the trace, it waits for the key `trace_id`. One on another
  step is skipped.
- A trace without model calls but with input and output of its own (legacy only) becomes an inference itself.
- Scores that come from annotators and through the API are people's (`API` is how applications send their users'
  votes), those of evaluators (`EVAL`) a model's. Scores of dataset runs judge experiments and are skipped.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from feedback_platform.errors import ImportFormatError
from feedback_platform.intake.importers.foreign import Item, Misunderstood, Options, Skipped, UnreadableRest
from feedback_platform.intake.importers.ids import safe_id
from feedback_platform.intake.importers.langfuse_records import (
    call,
    feedback,
    of_trace,
    request_id_of,
    step_key,
    target,
    trace_as_call,
)
from feedback_platform.intake.importers.line_files import files
from feedback_platform.intake.importers.record_files import SUFFIXES, Record, first_record, read_records
from feedback_platform.intake.importers.trace_index import TraceIndex

NAME = "langfuse"
SUMMARY = "Langfuse blob storage export: observations, traces and scores in Parquet, CSV, JSON or JSON Lines"

_EXPECTED = "rows of observations_v2/, observations/, traces/ or scores/ of a Langfuse blob storage export"
_TABLES = ("traces", "observations_v2", "observations", "scores")
_ASIDE = "manifests"


def read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    """Inferences, then feedback; see the module.

    Raises:
        ImportFormatError: a file holds other rows than those of this export.
        NotFoundError: a path does not exist.
        UnreadableRest: at the end, when some files could not be read to theirs.
    """
    tables = _sorted(files(paths, SUFFIXES))
    damage: list[str] = []
    with TraceIndex() as index:
        yield from _remember(tables["traces"], index, damage)
        for table in ("observations_v2", "observations"):
            yield from _calls(tables[table], table, index, options, damage)
        yield from _traces(tables["traces"], index, options)
        yield from _scores(tables["scores"], index, damage)
    if damage:
        raise UnreadableRest("; ".join(damage))


def _sorted(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """The files by table, told by what the first row holds; the folders' names only tell the two observations apart."""
    tables: dict[str, list[Path]] = {table: [] for table in _TABLES}
    for path in paths:
        if path.parent.name == _ASIDE:
            continue
        record = first_record(path, _EXPECTED)
        if record is None:
            continue  # a window without rows is exported as an empty file
        table = _table(record, path)
        if table is None:
            raise ImportFormatError(f"{path} is no Langfuse export. Expected {_EXPECTED}.")
        tables[table].append(path)
    return tables


def _table(record: Record, path: Path) -> str | None:
    row = record.body
    if {"id", "name", "value", "data_type"} <= row.keys():
        return "scores"
    if {"id", "trace_id", "type", "start_time"} <= row.keys():
        return "observations" if path.parent.name == "observations" else "observations_v2"
    if {"id", "timestamp"} <= row.keys() and "trace_id" not in row:
        return "traces"
    return None


def _remember(paths: Iterable[Path], index: TraceIndex, damage: list[str]) -> Iterator[Item]:
    """The context of every trace; a record that cannot be read is told here, and once."""
    for path in paths:
        for record in read_records(path, damage):
            if isinstance(record, Misunderstood):
                yield record
            elif trace := record.body.get("id"):
                index.put_context(str(trace), of_trace(record.body))


def _calls(paths: Iterable[Path], table: str, index: TraceIndex, options: Options, damage: list[str]) -> Iterator[Item]:
    for path in paths:
        for record in read_records(path, damage):
            if isinstance(record, Misunderstood):
                yield record
                continue
            trace = str(record.body.get("trace_id") or "")
            context = {} if table == "observations_v2" else index.context(trace)
            request_id = request_id_of(record.body, record.body.get("id"))
            if table == "observations" and index.has_call(request_id):
                yield Skipped("also_in_observations_v2")
                continue
            item, ended = call(record, request_id, context, options)
            if ended is not None:
                index.put_call(trace or request_id, request_id, _sortable(ended))
            elif isinstance(item, Skipped):
                index.put_context(step_key(request_id), {"is_root": not record.body.get("parent_observation_id")})
            yield item


def _traces(paths: Iterable[Path], index: TraceIndex, options: Options) -> Iterator[Item]:
    for path in paths:
        for record in read_records(path, []):
            if isinstance(record, Misunderstood):
                continue  # told by `_remember`, as is damage
            trace = str(record.body.get("id") or "")
            if index.last_call(trace) is not None:
                yield Skipped("trace_of_model_calls")
                continue
            item, ended = trace_as_call(record, options)
            if ended is not None:
                index.put_call(trace, safe_id(trace), _sortable(ended))
            yield item


def _scores(paths: Iterable[Path], index: TraceIndex, damage: list[str]) -> Iterator[Item]:
    for path in paths:
        for record in read_records(path, damage):
            if isinstance(record, Misunderstood):
                yield record
            else:
                yield feedback(record, target(record.body, index))


def _sortable(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")
