"""The DuckDB engine: relations on demand, parameters, batch functions, parts, and nothing left behind."""

from datetime import UTC, datetime

import duckdb
import polars as pl
import pytest

from feedback_platform.contracts.stage_tables import SAMPLED_DATASET
from feedback_platform.engines.duckdb import BATCH_ROWS, DuckEngine, open_database, quoted, scan_sql


@pytest.fixture
def engine():
    with DuckEngine("256MB", 1, {"n": 7, "text": "it's"}) as made:
        yield made


def test_a_relation_is_made_when_it_is_named_and_only_once(engine):
    made = []

    def sql() -> str:
        made.append("b")
        return "SELECT x + 1 AS x FROM a"

    def never() -> str:
        made.append("never")
        return "SELECT 1"

    engine.define("a", "SELECT 1 AS x")
    engine.define("b", sql)
    engine.define("never", never)
    assert made == []
    assert engine.one("SELECT x FROM b") == engine.one("SELECT x FROM b") == (2,)
    assert made == ["b"]
    assert engine.one("SELECT 'never', 1 -- never\n") == ("never", 1)
    assert made == ["b"]


def test_parameters_are_literals_but_not_within_text_or_comments(engine):
    assert engine.one("SELECT @n, @text, '@n', /* */ 1 -- @unknown") == (7, "it's", "@n", 1)
    with pytest.raises(KeyError, match="missing"):
        engine.one("SELECT @missing")


def test_text_is_quoted(engine):
    for text in ("", "'", "a''b", "x'; DROP TABLE t; --", "\\"):
        assert engine.one(f"SELECT {quoted(text)}") == (text,)


@pytest.mark.parametrize("rows", [0, 1, BATCH_ROWS + 1])
def test_a_batch_function_sees_every_row_once(engine, rows):
    n = engine.create("steps", f"SELECT range AS x FROM range({rows})", lambda f: f.with_columns(y=pl.col("x") * 2))
    assert n == rows == engine.count("steps")
    assert engine.one("SELECT coalesce(sum(y), 0) FROM steps") == (rows * (rows - 1),)
    assert [c[0] for c in engine.connection.execute("DESCRIBE steps").fetchall()] == ["x", "y"]


def test_a_streamed_batch_is_mapped_while_it_is_read(engine):
    engine.stream_into("mapped", "SELECT range AS x FROM range(5)", lambda f: f.with_columns(y=pl.col("x") * 2))
    assert engine.one("SELECT sum(y) FROM mapped") == (20,)


def test_a_failing_batch_function_fails_the_step(engine):
    def bad(frame: pl.DataFrame) -> pl.DataFrame:
        if frame.height:
            raise ValueError("a bad row")
        return frame

    with pytest.raises(Exception, match="a bad row"):
        engine.create("steps", "SELECT 1 AS x", bad)


def test_a_part_has_the_rows_and_an_empty_one_is_no_file(engine, tmp_path):
    part = tmp_path / "it's.parquet"
    assert engine.copy("t", "SELECT range AS x FROM range(3)", part) == 3
    assert pl.read_parquet(part)["x"].sum() == 3
    assert engine.copy("t", "SELECT 1 AS x WHERE false", tmp_path / "none.parquet") == 0
    assert not (tmp_path / "none.parquet").exists()
    assert [c.rows for c in engine.costs] == [3, 0]


def test_files_are_read_in_the_declared_order_and_none_is_typed(engine, tmp_path):
    columns = [c for c in SAMPLED_DATASET.content() if c.name in ("example_id", "event_at", "dup_count")]
    frame = pl.DataFrame({"dup_count": [1], "event_at": [datetime(2026, 3, 2, tzinfo=UTC)], "example_id": ["e"]})
    frame.write_parquet(tmp_path / "p.parquet")
    engine.define_files("filled", [tmp_path / "p.parquet"], columns)
    engine.define_files("bare", [], columns)
    some, none = engine.frame("SELECT * FROM filled"), engine.frame("SELECT * FROM bare")
    assert some.columns == none.columns == [c.name for c in columns]
    assert none.is_empty()
    assert none.schema == some.schema
    assert "read_parquet" not in scan_sql([], columns)


def test_a_file_that_lacks_a_newer_column_reads_as_null(engine, tmp_path):
    columns = [c for c in SAMPLED_DATASET.content() if c.name in ("example_id", "label")]
    pl.DataFrame({"example_id": ["old"]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({"example_id": ["new"], "label": ["x"]}).write_parquet(tmp_path / "2.parquet")
    engine.define_files("t", [tmp_path / "1.parquet", tmp_path / "2.parquet"], columns)
    assert engine.rows("SELECT example_id, label FROM t ORDER BY 1") == [("new", "x"), ("old", None)]


def test_times_are_utc_whatever_the_machine_says(engine):
    assert engine.one("SELECT timestamp_micros(0)::VARCHAR") == ("1970-01-01 00:00:00+00",)
    assert engine.one("SELECT unix_micros(TIMESTAMPTZ '1970-01-01 00:00:01+00')") == (1_000_000,)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("int_div(7, 2)", 3), ("shiftright(8, 2)", 2), ("to_int('12')", 12), ("to_int('x')", None),
        ("text_of(-5)", "-5"), ("null_text()", None), ("null_int()", None), ("null_time()", None), ("no_texts()", []),
        ("sort_array(['b', 'a'])", ["a", "b"]), ("sha2('', 256)", "e3b0c44298fc1c149afbf4c8996fb924"
         "27ae41e4649b934ca495991b7852b855"), ("array_of(1)", [1]),
    ],
)  # fmt: skip
def test_macros_give_the_same_words_a_meaning(engine, sql, expected):
    assert engine.one(f"SELECT {sql}") == (expected,)


def test_memory_is_limited_and_the_spill_folder_goes(tmp_path):
    with DuckEngine("64MB", 1) as engine:
        spill = engine._spill
        assert spill.is_dir()
        assert engine.one("SELECT current_setting('memory_limit')") == ("61.0 MiB",)
        assert engine.one("SELECT current_setting('threads')") == (1,)
        assert engine.one("SELECT count(*) FROM (SELECT range, hash(range) FROM range(2000000) ORDER BY 2)") == (
            2_000_000,
        )
    assert not spill.exists()
    with pytest.raises(duckdb.ConnectionException):
        engine.rows("SELECT 1")


def test_two_engines_share_nothing(engine, tmp_path):
    engine.define_frame("mine", pl.DataFrame({"x": [1]}))
    other = open_database(":memory:", "64MB", 1, tmp_path)
    with pytest.raises(duckdb.CatalogException, match="mine"):
        other.execute("SELECT * FROM mine")
    other.close()
