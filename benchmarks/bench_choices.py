"""The measurements behind three choices of docs/architecture.md, each against its alternative in one run.

    python benchmarks/bench_choices.py

Prints CPU seconds and their ratio: row hashes, folding of text, edit distances. One thread each.
"""

import time
from collections.abc import Callable

import duckdb
import numpy as np
import polars as pl
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cpdist

from feedback_platform.stages.content import folded, row_hash

ROWS, PAIRS = 100_000, 2_000
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()


def cpu(act: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    started = time.process_time()
    act()
    return time.process_time() - started


def texts(count: int, words: int, step: int) -> list[str]:
    """Different ASCII texts, the same on every machine."""
    return [" ".join(WORDS[(i * step + k * k + i // 7) % len(WORDS)] for k in range(words)) for i in range(count)]


def whole_way(column: pl.Series) -> pl.Series:
    """The alternative: NFKC and the white-space expression for every text."""
    return column.str.normalize("NFKC").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()


def report(what: str, ours: float, other: float) -> None:
    """One line."""
    print(f"{what:<58} {ours:>7.2f} s against {other:>7.2f} s: {other / ours:>5.1f} times")


def main() -> None:
    """Measure the three."""
    database = duckdb.connect(config={"threads": 1})
    rows = pl.DataFrame({f"c{i:02}": [f"abcdefgh{i}"] * ROWS for i in range(30)}).with_columns(
        input=pl.Series(texts(ROWS, 60, 3)), output=pl.Series(texts(ROWS, 60, 7)), n=pl.int_range(ROWS, eager=True)
    )
    database.register("rows", rows.to_arrow())
    fields = ", ".join(f"'{c}', {c}" for c in sorted(rows.columns))
    in_engine = f"CREATE OR REPLACE TABLE h AS SELECT sha256(json_object({fields})) AS h FROM rows"
    report(
        "row hash: Polars against sha256(json_object()) in DuckDB",
        cpu(lambda: rows.select(row_hash(rows.columns, rows.schema))),
        cpu(lambda: database.execute(in_engine)),
    )
    column = pl.Series(texts(ROWS, 70, 3))
    report(
        "folding plain text: the short way against NFKC for all",
        cpu(lambda: folded(column)),
        cpu(lambda: whole_way(column)),
    )
    left, right = texts(PAIRS, 70, 3), texts(PAIRS, 70, 7)
    database.register("pairs", pl.DataFrame({"a": left, "b": right}).to_arrow())
    report(
        "edit distance: rapidfuzz against levenshtein() in DuckDB",
        cpu(lambda: cpdist(left, right, scorer=Levenshtein.normalized_distance, dtype=np.float64)),
        cpu(lambda: database.execute("CREATE OR REPLACE TABLE d AS SELECT levenshtein(a, b) AS d FROM pairs")),
    )


if __name__ == "__main__":
    main()
