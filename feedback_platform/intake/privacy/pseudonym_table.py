"""A user table with pseudonyms in place of its ids, so that it joins with what the platform stores.

Files in, files out; the work behind `feedback pseudonym`. The table is streamed, so it may be larger than memory, and
the result appears whole or not at all.
"""

import os
import secrets
from pathlib import Path

import polars as pl

from feedback_platform.errors import ConfigError, ImportFormatError, NotFoundError
from feedback_platform.intake.privacy.pseudonyms import PURPOSES, Pseudonyms, Purpose
from feedback_platform.lake.files import fsync_dir, fsync_file, make_folder

_FORMATS = (".csv", ".parquet")


def map_table(
    source: Path, column: str, purpose: Purpose, pseudonyms: Pseudonyms, out: Path, *, into: str | None = None
) -> int:
    """Write a table again with the pseudonyms of one column.

    Args:
        source: CSV (UTF-8, with a header) or Parquet, told by the ending.
        column: the column with the ids; text or integers, empty cells stay empty.
        purpose: `person` for users and raters, `session` for sessions.
        pseudonyms: those of the tenant.
        out: CSV or Parquet, told by the ending; replaced if it is there, may be `source` itself.
        into: name of a new column; without it the ids are replaced. With it the file says who is who, so it is
            readable by its owner only.

    Returns:
        The number of rows.

    Raises:
        NotFoundError: `source` is no file.
        ImportFormatError: another ending, not readable, no such column, or ids of a type that has several spellings.
        ConfigError: an unknown purpose, or `into` is there already.
    """
    if purpose not in PURPOSES:
        raise ConfigError(f"purpose {purpose!r} is not known. Use one of: {', '.join(PURPOSES)}.")
    if not source.is_file():
        raise NotFoundError(f"{source} is not a file. Check the path.")
    for path in (source, out):
        if path.suffix.lower() not in _FORMATS:
            raise ImportFormatError(f"{path.name} is neither .csv nor .parquet. Convert or rename it.")
    try:
        table = _opened(source)
        _check(table.collect_schema(), source, column, into)
        return _written(_mapped(table, column, purpose, pseudonyms, into or column), out, private=into is not None)
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0][:200]
        raise ImportFormatError(f"{source} cannot be read to its end: {reason}. Repair or convert it.") from None


def _opened(source: Path) -> pl.LazyFrame:
    if source.suffix.lower() == ".parquet":
        return pl.scan_parquet(source)
    return pl.scan_csv(source, infer_schema=False)  # all as text: numbers and dates are written as they were read


def _check(schema: pl.Schema, source: Path, column: str, into: str | None) -> None:
    columns = ", ".join(schema.names())
    if column not in schema:
        raise ImportFormatError(f"{source} has no column {column!r}. It has: {columns}.")
    kind = schema[column]
    if not (kind == pl.String or kind.is_integer() or kind == pl.Categorical):
        fix = "Cast it to text as it is sent in events: 42 and 42.0 are different ids."
        raise ImportFormatError(f"column {column!r} of {source} is {kind}, not text or integers. {fix}")
    if into is not None and into in schema:
        raise ConfigError(f"{source} has a column {into!r} already. Name another; it has: {columns}.")


def _mapped(table: pl.LazyFrame, column: str, purpose: Purpose, pseudonyms: Pseudonyms, into: str) -> pl.LazyFrame:
    ids = pl.col(column).cast(pl.String)
    replaced = ids.map_batches(
        lambda values: pseudonyms.series(purpose, values), return_dtype=pl.String, is_elementwise=True
    )
    return table.with_columns(replaced.alias(into))


def _written(table: pl.LazyFrame, out: Path, *, private: bool) -> int:
    out = out.absolute()
    make_folder(out.parent)
    draft = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666))
        if out.suffix.lower() == ".parquet":
            table.sink_parquet(draft, maintain_order=True)
            rows = pl.scan_parquet(draft).select(pl.len()).collect().item()
        else:
            table.sink_csv(draft, maintain_order=True)
            rows = pl.scan_csv(draft, infer_schema=False).select(pl.len()).collect().item()
        fsync_file(draft)
        draft.replace(out)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    fsync_dir(out.parent)
    return int(rows)
