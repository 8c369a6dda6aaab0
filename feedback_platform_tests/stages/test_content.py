"""The hash of a row is the SHA-256 of its RFC 8785 JSON, whatever stands in it."""

import hashlib

import polars as pl
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.stages.content import row_hash

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "b": pl.String,
    "a": pl.Int64,
    "t": pl.Boolean,
    "l": pl.List(pl.String),
    "é": pl.String,
}
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
rows = st.fixed_dictionaries(
    {
        "b": st.none() | texts,
        "a": st.none() | st.integers(-(2**53) + 1, 2**53 - 1),
        "t": st.none() | st.booleans(),
        "l": st.lists(texts, max_size=3),
        "é": texts,
    }
)


@given(rows)
def test_a_row_hashes_as_its_canonical_json(row):
    frame = pl.DataFrame([row], schema=pl.Schema(SCHEMA))
    hashed = frame.select(row_hash(frame.columns, frame.schema)).item()
    assert hashed == hashlib.sha256(rfc8785.dumps(row)).hexdigest()
