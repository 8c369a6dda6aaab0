"""Records of exported files, one at a time: Parquet, CSV, JSON and JSON Lines alike, each as an object with its place.

Knows files, not what is in them; `line_files` reads those of text. A record that cannot be read is `Misunderstood`
and the next one follows; of a file that is cut short, what came before is read. A few hundred records are held at most.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from feedback_platform.errors import ImportFormatError
from feedback_platform.intake.importers.foreign import Misunderstood
from feedback_platform.intake.importers.line_files import Raw, beginning, decoded, lines, listed, opened

SUFFIXES = (".parquet", ".csv", ".json", ".jsonl", ".ndjson")
_MAX_CELL = 64 * 2**20
_ROWS = 500
_UNREADABLE = (EOFError, gzip.BadGzipFile, zlib.error, csv.Error, UnicodeDecodeError, pa.ArrowInvalid, OSError)


@dataclass(frozen=True, slots=True)
class Record:
    """An object of a file and its line, row or place in the list (from 1)."""

    body: Mapping[str, object]
    path: Path
    line: int

    def misunderstood(self, kind: Literal["inference", "feedback", "unknown"], message: str) -> Misunderstood:
        """This record as one that should have become an event and did not."""
        return Misunderstood(kind, message, msgspec.json.encode(self.body, enc_hook=str), self.path, self.line)


def read_records(path: Path, damage: list[str], page: str | None = None) -> Iterator[Record | Misunderstood]:
    """Every record of a file, told by its first bytes and its suffix.

    Args:
        path: the file, plain or gzip.
        damage: gets the words about a file that cannot be read to its end.
        page: field that holds the records where a JSON file is a page of an HTTP API's answer.

    Raises:
        ImportFormatError: the file is none of the formats of this module.
    """
    number = 0
    try:
        for item in _reader(path, damage, page)(path):
            number = item.line or number
            yield item
    except _UNREADABLE as error:
        damage.append(f"{path} cannot be read beyond record {number}: {error}")


def first_record(path: Path, expected: str, page: str | None = None) -> Record | None:
    """The first readable record; nothing for an empty file.

    Raises:
        ImportFormatError: nothing in the file can be read; names the file and what was `expected`.
    """
    problems: list[str] = []
    for item in read_records(path, problems, page):
        if isinstance(item, Record):
            return item
        if not problems:
            problems.append(item.message)
    if not problems:
        return None
    raise ImportFormatError(f"{path} has no readable record: {problems[0]}. Expected {expected}.")


def _reader(path: Path, damage: list[str], page: str | None) -> Callable[[Path], Iterator[Record | Misunderstood]]:
    first = beginning(path)
    name = path.name.lower().removesuffix(".gz")
    with opened(path) as file:
        magic = file.read(4)
    if magic == b"PAR1":
        return _parquet_rows
    if name.endswith(".csv"):
        return _csv_rows
    if first == b"[" or (first == b"{" and not name.endswith((".jsonl", ".ndjson"))):
        return lambda path: _json(decoded(listed(path), path, damage), path, page)
    if first in (b"", b"{") or name.endswith((".jsonl", ".ndjson")):
        return lambda path: _json(decoded(lines(path), path, damage), path, page)
    raise ImportFormatError(f"{path} is not Parquet, CSV, JSON or JSON Lines. Check what it was exported as.")


_Decoded = Iterator[tuple[Raw, dict[str, object]] | Misunderstood]


def _json(items: _Decoded, path: Path, page: str | None) -> Iterator[Record | Misunderstood]:
    for item in items:
        if isinstance(item, Misunderstood):
            yield item
            continue
        raw, body = item
        inside = body.get(page) if page else None
        if not isinstance(inside, list):
            yield Record(body, path, raw.line)
            continue
        for place, inner in enumerate(inside, start=1):
            if isinstance(inner, dict):
                yield Record(inner, path, place)
            else:
                yield Misunderstood("unknown", "not an object", msgspec.json.encode(inner), path, place)


def _parquet_rows(path: Path) -> Iterator[Record]:
    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS):
            columns = [_in_microseconds(column) for column in batch.columns]
            for row in pa.table(columns, names=batch.schema.names).to_pylist():
                number += 1
                yield Record({key: _plain(value) for key, value in row.items()}, path, number)


def _in_microseconds(column: pa.Array) -> pa.Array:
    """Python's times end at microseconds, and Arrow refuses to round for us."""
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        return column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column


def _plain(value: object) -> object:
    """Parquet's own types as JSON has them; a map arrives as a list of pairs."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(inner, tuple) for inner in value):
            return {str(_plain(key)): _plain(inner) for key, inner in value}
        return [_plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | None) else str(value)


def _csv_rows(path: Path) -> Iterator[Record | Misunderstood]:
    csv.field_size_limit(_MAX_CELL)  # the module's own limit of 128 KB is below a long prompt
    with io.TextIOWrapper(opened(path), "utf-8-sig", newline="") as text:
        rows = csv.reader(text, strict=True)
        names = next(rows, [])
        for cells in rows:
            if len(cells) == len(names):
                yield Record(dict(zip(names, cells, strict=True)), path, rows.line_num)
            elif cells:
                message = f"the row has {len(cells)} cells and the heading {len(names)}"
                yield Misunderstood("unknown", message, ",".join(cells).encode(), path, rows.line_num)
