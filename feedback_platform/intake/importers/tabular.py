"""Tables whose columns mean whatever their owner says: Parquet and CSV rows become events by a mapping file.

The mapping is described, with a complete example, in `tabular_mapping`. Parquet is read in batches within row groups,
CSV row by row. Where the mapping gives no `request_id`, an inference's id is a hash of the file's name, the row's
number and its content, since rows of a table often repeat and are still different cases; feedback of the same row then
judges that inference. Feedback whose value is absent (an outcome that is not known yet) is skipped.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from feedback_platform.errors import ConfigError, ImportFormatError
from feedback_platform.intake.importers import line_files
from feedback_platform.intake.importers.foreign import Found, Item, Misunderstood, Options, UnreadableRest
from feedback_platform.intake.importers.ids import UNVERSIONED, content_id
from feedback_platform.intake.importers.tabular_mapping import Event, Mapped, read_mapping
from feedback_platform.intake.importers.tabular_values import Row, event_of, plain
from feedback_platform.intake.importers.values import JsonObject, Nothing, NotMapped

BATCH_ROWS = 1_000

_MAX_CELL = 64 * 2**20
_UNREADABLE = (EOFError, gzip.BadGzipFile, zlib.error, csv.Error, UnicodeDecodeError, pa.ArrowInvalid, OSError)
_Rows = Iterator[tuple[int, Row | list[str]]]


class Tabular:
    """The importer of one kind of table; `PARQUET` and `CSV` are the two."""

    def __init__(self, name: str, summary: str, suffixes: Sequence[str]) -> None:
        self.NAME = name
        self.SUMMARY = summary
        self._suffixes = suffixes

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Item]:
        """Each row's events, in the order of the mapping.

        Raises:
            ConfigError: no mapping, or it names what the file or the wire contract does not have.
            ImportFormatError: a file is no such table.
            UnreadableRest: at the end, when some files could not be read to theirs.
        """
        mapping = _with_model(read_mapping(options.mapping), options)
        damage: list[str] = []
        for path in line_files.files(paths, self._suffixes):
            is_csv = self.NAME == "csv"
            columns = _csv_columns(path, mapping) if is_csv else _parquet_columns(path)
            resolved = mapping.against(columns, path)
            rows = _csv_rows(path, mapping) if is_csv else _parquet_rows(path)
            number = 0
            try:
                for line, row in rows:
                    number += 1
                    if isinstance(row, list):
                        message = f"the row has {len(row)} cells, the heading {len(columns)}."
                        yield Misunderstood("unknown", message, ",".join(row).encode(), path, line)
                    else:
                        yield from _events(resolved, row, (number, line, path), options, untyped=is_csv)
            except _UNREADABLE as error:
                damage.append(f"{path} cannot be read beyond row {number}: {error}")
        if damage:
            raise UnreadableRest("; ".join(damage))


PARQUET = Tabular("parquet", "Parquet files, by a mapping of columns to wire fields", (".parquet", ".pq"))
CSV = Tabular("csv", "CSV files with a heading, by a mapping of columns to wire fields", (".csv", ".tsv"))


def _with_model(mapping: Mapped, options: Options) -> Mapped:
    for event in mapping.events:
        if event.kind == "inference" and not event.sets("model") and options.model is None:
            raise ConfigError(f"{mapping.path}: inference needs `model`. Map it, or give its name with --model.")
        is_alone = not any(other.kind == "inference" for other in mapping.events)
        if event.kind == "feedback" and is_alone and not event.sets("request_id") and not event.sets("target"):
            raise ConfigError(f"{mapping.path}: feedback needs `request_id` or `target`.")
    return mapping


def _parquet_columns(path: Path) -> list[str]:
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowInvalid, OSError) as error:
        raise ImportFormatError(f"{path} is no Parquet file: {error}") from None


def _parquet_rows(path: Path) -> _Rows:
    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS):
            columns = [_in_microseconds(column) for column in batch.columns]
            for row in pa.table(columns, names=batch.schema.names).to_pylist(maps_as_pydicts="strict"):
                number += 1
                yield number, row


def _in_microseconds(column: pa.Array) -> pa.Array:
    """Python's times end at microseconds, and Arrow refuses to round for us."""
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        return column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column


def _csv_columns(path: Path, mapping: Mapped) -> list[str]:
    if _is_binary(path):
        raise ImportFormatError(f"{path} is no CSV: it holds bytes that no text has.")
    try:
        return next((names for _, names in _cells(path, mapping)), [])
    except _UNREADABLE as error:
        raise ImportFormatError(f"{path} is no CSV: {error}") from None


def _csv_rows(path: Path, mapping: Mapped) -> _Rows:
    cells = _cells(path, mapping)
    _, names = next(cells, (0, list[str]()))
    for line, row in cells:
        if len(row) == len(names):
            yield line, {name: cell or None for name, cell in zip(names, row, strict=True)}
        elif row:
            yield line, row


def _cells(path: Path, mapping: Mapped) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(_MAX_CELL)  # the module's own limit of 128 KB is below a long prompt
    delimiter = mapping.csv.get("delimiter") or ("\t" if ".tsv" in path.suffixes else ",")
    quoting: Literal[0, 3] = csv.QUOTE_NONE if mapping.csv.get("quoting") is False else csv.QUOTE_MINIMAL
    with io.TextIOWrapper(line_files.opened(path), "utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, quoting=quoting)
        for cells in reader:
            yield reader.line_num, cells


def _is_binary(path: Path) -> bool:
    with line_files.opened(path) as file:
        return b"\x00" in file.read(4096)


def _events(
    mapping: Mapped, row: Row, place: tuple[int, int, Path], options: Options, *, untyped: bool
) -> Iterator[Item]:
    number, line, path = place
    of_row: str | None = None
    for event in mapping.events:
        try:
            told = event_of(event, row, untyped=untyped)
            if event.kind == "inference":
                told = _defaults(event, options) | told
                if "request_id" not in told:
                    told["request_id"] = content_id("row", path.name, number, _shown(row))
                of_row = str(told["request_id"])
            elif of_row is not None and not event.sets("request_id") and not event.sets("target"):
                told["request_id"] = of_row
        except Nothing as reason:
            yield reason.skipped()
        except NotMapped as problem:
            yield Misunderstood(event.kind, str(problem), msgspec.json.encode(_shown(row)), path, line)
        else:
            yield Found(event.kind, told, path, line)


def _defaults(event: Event, options: Options) -> JsonObject:
    given = {
        "model": options.model,
        "model_version": options.model_version or UNVERSIONED,
        "task": options.task,
        "environment": options.environment,
    }
    return {name: value for name, value in given.items() if value is not None and not event.sets(name)}


def _shown(row: Row) -> JsonObject:
    """The row as JSON, what JSON does not have as text."""
    told: JsonObject = {}
    for name, value in row.items():
        try:
            told[name] = plain(value)
        except NotMapped:
            told[name] = repr(value)
    return told
