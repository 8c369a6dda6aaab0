"""Table contracts: SQL row checks find what Pandera finds, every column is explained, all type systems agree."""

import math
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import duckdb
import pandera.polars as pa
import polars as pl
import pyarrow as pya
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.errors import SchemaErrors

from feedback_platform.contracts.raw_tables import RAW_TABLES
from feedback_platform.contracts.stage_tables import ENRICHED_RECORDS, STAGE_TABLES
from feedback_platform.contracts.table import CHANGE_COLUMNS, ChangeRow, Column, TableContract
from feedback_platform.engines.duckdb import scan_sql

CONTRACTS = [*RAW_TABLES, *STAGE_TABLES]
HEX = "0123456789abcdef" * 4
GOOD = {
    "Int64": 1, "Float64": 0.5, "String": "x", "Boolean": True, "Datetime": datetime(2026, 3, 2, tzinfo=UTC), "List": [],
}  # fmt: skip
ANY = {
    "Int64": st.sampled_from([-(2**62), -1, 0, 1, 2, 7, 8, 23, 24, 1_000_000, 1_000_001, 2**53]),
    "Float64": st.sampled_from([-0.1, 0.0, 0.5, 1.0, 1.1, math.inf, -math.inf, math.nan]),
    "String": st.sampled_from(["", "x", "it's", HEX, HEX.upper(), HEX + "\n", "x" + HEX]),
    "Boolean": st.booleans(),
    "Datetime": st.just(GOOD["Datetime"]),
    "List": st.sampled_from([[], ["a", "b"]]),
}


def rules(column: Column) -> dict[str, dict[str, Any]]:
    return {name: dict(arguments) for name, arguments in column.checks}


def good(column: Column) -> Any:
    """A value that keeps every rule of the column."""
    checks = rules(column)
    if "isin" in checks:
        return checks["isin"]["allowed_values"][0]
    return HEX if "str_matches" in checks else GOOD[column.kind]


def broken(column: Column, rule: str) -> Any:
    """A value that breaks one rule of the column and no other."""
    checks = rules(column)
    if rule == "not null":
        return None
    if rule in ("isin", "str_matches"):
        return "never heard of"
    bound = checks[rule]["min_value" if rule == "greater_than_or_equal_to" else "max_value"]
    return bound - 1 if rule == "greater_than_or_equal_to" else bound + 1


def frame_of(contract: TableContract, rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=contract.polars_schema())


def found_by_sql(contract: TableContract, frame: pl.DataFrame) -> Counter[str]:
    faults = contract.row_faults_sql()
    with duckdb.connect() as connection:
        connection.register("rows", frame.to_arrow())
        counts = ", ".join(f"count(*) FILTER (WHERE {sql})" for sql in faults.values())
        [numbers] = connection.execute(f"SELECT {counts} FROM rows").fetchall()
    return Counter({fault: n for fault, n in zip(faults, numbers, strict=True) if n})


def found_by_pandera(contract: TableContract, frame: pl.DataFrame) -> Counter[str]:
    models: list[tuple[type[pa.DataFrameModel], tuple[str, ...]]] = [(contract.model, contract.names())]
    if contract.derived:
        models.append((ChangeRow, CHANGE_COLUMNS))
    found: Counter[str] = Counter()
    for model, columns in models:
        try:
            model.validate(frame.select(columns), lazy=True)
        except SchemaErrors as error:
            for case in error.failure_cases.iter_rows(named=True):
                rule = str(case["check"]).split("(")[0]
                found[f"{case['column']}: {'not null' if rule == 'not_nullable' else rule}"] += 1
    return found


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: c.name)
def test_a_good_row_breaks_nothing(contract):
    frame = frame_of(contract, [{c.name: good(c) for c in contract.columns()}])
    assert found_by_sql(contract, frame) == found_by_pandera(contract, frame) == Counter()


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: c.name)
def test_null_is_no_fault_where_it_may_stand(contract):
    frame = frame_of(contract, [{c.name: None if c.nullable else good(c) for c in contract.columns()}])
    assert found_by_sql(contract, frame) == found_by_pandera(contract, frame) == Counter()


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: c.name)
def test_one_broken_rule_at_a_time_is_found_by_both(contract):
    fine = {c.name: good(c) for c in contract.columns()}
    faults = list(contract.row_faults_sql())
    assert faults
    columns = {c.name: c for c in contract.columns()}
    for fault in faults:
        name, rule = fault.split(": ")
        frame = frame_of(contract, [fine, {**fine, name: broken(columns[name], rule)}, fine])
        assert found_by_sql(contract, frame) == Counter([fault])
        assert found_by_pandera(contract, frame) == Counter([fault])


@settings(max_examples=8)
@given(data=st.data())
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: c.name)
def test_any_rows_are_judged_alike(contract, data):
    def value(column: Column) -> st.SearchStrategy[Any]:
        return st.none() | st.just(good(column)) | ANY[column.kind]

    row = st.fixed_dictionaries({c.name: value(c) for c in contract.columns()})
    frame = frame_of(contract, data.draw(st.lists(row, min_size=1, max_size=3)))
    assert found_by_sql(contract, frame) == found_by_pandera(contract, frame)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: c.name)
def test_every_table_and_column_is_explained(contract):
    assert contract.description.endswith(".")
    assert [c.name for c in contract.columns() if len(c.description) < 3] == []
    assert set(contract.key) <= set(contract.names())
    assert set(contract.stats) <= {c.name for c in contract.columns()}
    assert contract.derived == (contract.scope == "dataset")


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: c.name)
def test_all_type_systems_agree(contract):
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        table = connection.sql(scan_sql([], contract.columns())).to_arrow_table()
    nullable = pya.schema([f.with_nullable(True) for f in contract.arrow_schema()])
    assert table.schema.equals(nullable)
    assert pl.DataFrame(table).schema == pl.Schema(contract.polars_schema())


def test_statistics_columns_hold_no_personal_data():
    personal = {"user_id", "session_id", "rater", "source_id", "input", "output", "last_user", "segments", "metadata"}
    assert not {column for contract in CONTRACTS for column in contract.stats} & personal


def test_enrichments_say_as_of_when_they_are_known():
    inherited = {c.name for c in STAGE_TABLES[1].content()}
    known = {c.name: c.as_of for c in ENRICHED_RECORDS.content() if c.name not in inherited}
    assert None not in known.values()
    assert set(known.values()) == {"inference", "feedback", "label"}
    assert known["uncertainty_ppm"] == "inference"


def test_a_rule_without_sql_is_refused():
    class Odd(pa.DataFrameModel):
        """A table with a rule that SQL does not know."""

        text: str = pa.Field(str_length={"max_value": 3}, description="short")

    with pytest.raises(NotImplementedError, match=r"'str_length' on 'text': add it to contracts/table\.py"):
        TableContract("odd", Odd, ("text",), "shared").row_faults_sql()
