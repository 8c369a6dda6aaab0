"""The tables page of the documentation, made from the contracts: `python -m feedback_platform.contracts.docs`.

A test holds `docs/tables.md` against it.
"""

import sys
from collections.abc import Iterator

from feedback_platform.contracts.raw_tables import RAW_TABLES
from feedback_platform.contracts.stage_tables import STAGE_TABLES
from feedback_platform.contracts.table import ChangeRow, Column, TableContract

_HEAD = """\
# The tables

Made from the contracts by `python -m feedback_platform.contracts.docs > docs/tables.md`; do not edit.

The three raw tables are shared by all datasets of a tenant. The others exist once per dataset, in the order in which a
compilation advances them. They are stored as change rows: `<dataset>.<table>` in the warehouse is the current state,
`<dataset>.<table>_changes` the history with the columns of the last section, `<dataset>_at(v)` the dataset at version
`v`. Columns that end in `_ppm` are whole millionths. Times are UTC.
"""


def tables_page() -> str:
    """The page as Markdown."""
    sections = [_section(contract) for contract in (*RAW_TABLES, *STAGE_TABLES)]
    bookkeeping = "\n".join(
        (
            "## Change rows\n",
            f"{(ChangeRow.__doc__ or '').strip()}\n",
            *_rows(TableContract("change_row", ChangeRow, (), "dataset").content()),
        )
    )
    return "\n".join([_HEAD, *sections, bookkeeping]) + "\n"


def _section(contract: TableContract) -> str:
    where = "shared" if contract.scope == "shared" else "per dataset"
    lines = (
        f"## {contract.name}\n",
        f"{contract.description} One row per {', '.join(f'`{k}`' for k in contract.key)}; {where}.\n",
        *_rows(contract.content()),
    )
    return "\n".join(lines) + "\n"


def _rows(columns: tuple[Column, ...]) -> Iterator[str]:
    yield "| column | type | null | meaning |"
    yield "|---|---|---|---|"
    for column in columns:
        known = f" (known as of the {column.as_of})" if column.as_of else ""
        null = "yes" if column.nullable else ""
        yield f"| `{column.name}` | {column.duckdb_type} | {null} | {column.description}{_allowed(column)}{known} |"


def _allowed(column: Column) -> str:
    for rule, arguments in column.checks:
        if rule == "isin":
            values = dict(arguments)["allowed_values"]
            assert isinstance(values, list | tuple | set | frozenset)
            return f": {', '.join(str(v) for v in values)}"
    return ""


if __name__ == "__main__":
    sys.stdout.write(tables_page())
