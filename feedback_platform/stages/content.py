"""Hashes over content: what makes two texts the same, random choices by hash, and the hash of a whole row.

All are batch functions over frames. Keys use xxh3-64 (stable since xxHash 0.8, by `polars-hash`); rows use SHA-256 over
canonical JSON (RFC 8785). There is no random generator anywhere: a choice is a hash of (seed, salt, key).
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import polars as pl
import polars_hash  # noqa: F401  registers the `nchash` and `chash` namespaces

from feedback_platform.contracts.canonical import normalise_text


def xxh3(text: pl.Expr) -> pl.Expr:
    """Signed 64-bit xxh3 of a text expression; null stays null."""
    return _namespace(text, "nchash").xxh3_64().reinterpret(signed=True)  # type: ignore[no-any-return]


def folded(texts: pl.Series) -> pl.Series:
    """`contracts.canonical.normalise_text` of each text: texts that differ only so are the same; null stays null.

    Most texts are plain ASCII without runs of spaces and need lower case only; the rest go one by one.
    """
    plain = texts.str.to_lowercase().str.strip_chars()
    odd = texts.str.contains(r"[^\x20-\x7e]|  ").fill_null(False).arg_true()
    if odd.len() == 0:
        return plain
    return plain.scatter(odd, pl.Series([normalise_text(text) for text in texts.gather(odd)], dtype=pl.String))


def said(texts: pl.Series) -> pl.Series:
    """The text that each JSON string holds; other JSON stays as it is."""
    quoted = texts.str.starts_with('"').fill_null(False)
    bare = texts.str.strip_prefix('"').str.strip_suffix('"')
    escaped = (quoted & texts.str.contains("\\", literal=True).fill_null(False)).arg_true()
    decoded = pl.Series([msgspec.json.decode(text) for text in texts.gather(escaped)], dtype=pl.String)
    return bare.zip_with(quoted, texts).scatter(escaped, decoded) if escaped.len() else bare.zip_with(quoted, texts)


def unit_interval(*parts: pl.Expr | str | int) -> pl.Expr:
    """A number in [0, 1) for each row: the top 53 bits of the xxh3 of the parts joined by `|`."""
    texts = [p.cast(pl.String) if isinstance(p, pl.Expr) else pl.lit(str(p)) for p in parts]
    unsigned: pl.Expr = _namespace(pl.concat_str(texts, separator="|"), "nchash").xxh3_64()
    return (unsigned // 2048).cast(pl.Float64) / float(1 << 53)


def row_hash(columns: Sequence[str], schema: pl.Schema) -> pl.Expr:
    """SHA-256 (64 hex digits) of each row's canonical JSON: keys sorted, times as whole microseconds."""
    fields = [
        pl.col(c).dt.epoch("us").alias(c) if isinstance(schema[c], pl.Datetime) else pl.col(c) for c in sorted(columns)
    ]
    return _namespace(pl.struct(fields).struct.json_encode(), "chash").sha2_256()  # type: ignore[no-any-return]


def _namespace(expression: pl.Expr, name: str) -> Any:
    return getattr(expression, name)
