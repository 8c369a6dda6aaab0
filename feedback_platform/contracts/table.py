"""What a table contract is, and what is derived from it: DuckDB, Arrow and Polars schemas, SQL row checks, the docs page.

A table is declared once as a Pandera model (see `raw_tables`, `stage_tables`). Nothing here reads or writes data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal

import pandera.polars as pa
import polars as pl
import pyarrow as pya

PPM = 1_000_000
UtcMicros = Annotated[pl.Datetime, "us", "UTC"]

_DUCKDB: Mapping[str, str] = {
    "Int64": "BIGINT",
    "Float64": "DOUBLE",
    "String": "VARCHAR",
    "Boolean": "BOOLEAN",
    "Datetime": "TIMESTAMPTZ",
    "List": "VARCHAR[]",
}
_ARROW: Mapping[str, pya.DataType] = {
    "Int64": pya.int64(),
    "Float64": pya.float64(),
    "String": pya.string(),
    "Boolean": pya.bool_(),
    "Datetime": pya.timestamp("us", tz="UTC"),
    "List": pya.list_(pya.string()),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its types, whether null may stand in it, what it means and as of when it is known."""

    name: str
    kind: str
    nullable: bool
    description: str
    as_of: str | None
    checks: tuple[tuple[str, tuple[tuple[str, object], ...]], ...]

    @property
    def duckdb_type(self) -> str:
        """The column's type in DuckDB SQL."""
        return _DUCKDB[self.kind]

    @property
    def arrow_type(self) -> pya.DataType:
        """The column's Arrow type; times are microseconds in UTC."""
        return _ARROW[self.kind]


@dataclass(frozen=True, slots=True)
class TableContract:
    """A table: its noun, its Pandera model, what identifies a row and where it lives.

    Attributes:
        name: asset key, Delta folder and analyst view in one.
        model: the Pandera model; its docstring is the table's description.
        key: columns that identify one row of the current state.
        scope: `shared` tables serve all datasets of a tenant, `dataset` tables live below their dataset.
        stats: columns whose minima and maxima go into the Delta log (never personal data).
        derived: True for change-row tables, which carry the bookkeeping columns of `CHANGE_COLUMNS` as well.
    """

    name: str
    model: type[pa.DataFrameModel]
    key: tuple[str, ...]
    scope: Literal["shared", "dataset"]
    stats: tuple[str, ...] = ()
    derived: bool = False

    @property
    def description(self) -> str:
        """First paragraph of the model's docstring on one line."""
        return " ".join((self.model.__doc__ or "").strip().split("\n\n")[0].split())

    def content(self) -> tuple[Column, ...]:
        """The declared columns, in order, without the bookkeeping of change rows."""
        return _columns(self.model)

    def columns(self) -> tuple[Column, ...]:
        """All stored columns, in order."""
        return (*_columns(ChangeRow), *self.content()) if self.derived else self.content()

    def names(self) -> tuple[str, ...]:
        """Names of the declared columns."""
        return tuple(c.name for c in self.content())

    def arrow_schema(self) -> pya.Schema:
        """The stored schema as Arrow, from which the Delta schema follows."""
        return pya.schema([pya.field(c.name, c.arrow_type, nullable=c.nullable) for c in self.columns()])

    def polars_schema(self) -> dict[str, pl.DataType]:
        """The stored schema as Polars types."""
        return {c.name: _polars_type(c.kind) for c in self.columns()}

    def row_faults_sql(self) -> dict[str, str]:
        """`column: rule` -> SQL condition that is true for a row that breaks the rule.

        The same rules as the Pandera model's, so that one aggregate query in the engine checks any number of rows;
        `feedback_platform_tests/contracts/test_tables.py` holds the two against each other.
        """
        faults: dict[str, str] = {}
        for column in self.columns():
            if not column.nullable:
                faults[f"{column.name}: not null"] = f'"{column.name}" IS NULL'
            for rule, arguments in column.checks:
                faults[f"{column.name}: {rule}"] = _fault(column.name, rule, dict(arguments))
        return faults


class ChangeRow(pa.DataFrameModel):
    """Bookkeeping of every change row in a derived table."""

    window: int = pa.Field(ge=1, description="compilation window that wrote the row")
    op: str = pa.Field(isin=["add", "update", "remove"], description="what happened to the row's key")
    op_reason: str = pa.Field(description="why the row changed")
    prev_window: int = pa.Field(nullable=True, description="window of the row that this one replaces; null for add")


CHANGE_COLUMNS: tuple[str, ...] = ("window", "op", "op_reason", "prev_window")


@cache
def _columns(model: type[pa.DataFrameModel]) -> tuple[Column, ...]:
    return tuple(
        Column(
            name=name,
            kind=str(spec.dtype.type).split("(")[0],
            nullable=bool(spec.nullable),
            description=spec.description or "",
            as_of=(spec.metadata or {}).get("as_of"),
            checks=tuple((str(c.name), tuple(sorted((c.statistics or {}).items()))) for c in spec.checks),
        )
        for name, spec in model.to_schema().columns.items()
    )


def _polars_type(kind: str) -> pl.DataType:
    types: Mapping[str, pl.DataType] = {
        "Int64": pl.Int64(),
        "Float64": pl.Float64(),
        "String": pl.String(),
        "Boolean": pl.Boolean(),
        "Datetime": pl.Datetime("us", "UTC"),
        "List": pl.List(pl.String),
    }
    return types[kind]


def _fault(column: str, rule: str, arguments: Mapping[str, object]) -> str:
    match rule:
        case "greater_than_or_equal_to":
            return f'"{column}" < {arguments["min_value"]}'
        case "less_than_or_equal_to":
            return f'"{column}" > {arguments["max_value"]}'
        case "isin":
            values = arguments["allowed_values"]
            assert isinstance(values, Sequence)
            return f'"{column}" NOT IN ({", ".join(_quoted(str(v)) for v in values)})'
        case "str_matches":
            return f'NOT regexp_matches("{column}", {_quoted(str(arguments["pattern"]))})'
    raise NotImplementedError(f"no SQL for the Pandera check {rule!r} on {column!r}: add it to contracts/table.py")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
