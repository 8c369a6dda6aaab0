"""Format `parquet`: all columns of a version by objective and split, in the folders that Hugging Face `datasets` reads.

`data/<objective>/<split>-00000.parquet` and a dataset card. Columns are those of `sampled_dataset`, then
`selection_prob`, `response_prob`, `sample_weight`, and for classifiers the typed `f_*`.
"""

from collections.abc import Mapping
from pathlib import Path

from feedback_platform.engines.duckdb import ROW_GROUP_ROWS, quoted
from feedback_platform.errors import ExportError
from feedback_platform.publish.source import Source

_ADDED = ("selection_prob", "response_prob", "sample_weight")


class Parquet:
    """The format that loses nothing."""

    name = "parquet"

    def write(self, source: Source, folder: Path) -> tuple[dict[str, int], dict[str, object]]:
        """Fill the folder; returns the rows of each file and what the manifest should say."""
        counts = source.counts()
        if not counts:
            raise ExportError(f"{source.title} has no examples. Export an earlier version, or compile more feedback.")
        rows: dict[str, int] = {}
        for objective, splits in counts.items():
            sql = _rows_sql(source, objective)
            for split, n in splits.items():
                name = f"data/{objective}/{split}-00000.parquet"
                _copy(source, f"SELECT * FROM ({sql}) WHERE split = {quoted(split)}", folder / name)
                rows[name] = n
        (folder / "README.md").write_text(_card(source, counts), encoding="utf-8")
        return rows, {"rows": counts}


def _rows_sql(source: Source, objective: str) -> str:
    """All columns of an objective's rows, with those of its training view that the rows lack."""
    view = source.view_sql(objective)
    described = source.connection.execute(f"DESCRIBE {view}").fetchall()
    features = [str(row[0]) for row in described if str(row[0]).startswith("f_")]
    added = ", ".join("v." + '"' + name.replace('"', '""') + '"' for name in (*_ADDED, *features))
    rows = f"SELECT * FROM ({source.rows_sql()}) WHERE objective = {quoted(objective)}"
    return f"SELECT r.*, {added} FROM ({rows}) AS r LEFT JOIN ({view}) AS v ON v.example_id = r.example_id"


def _copy(source: Source, sql: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS}"
    source.connection.execute(f"COPY ({sql} ORDER BY example_id) TO {quoted(str(target))} ({options})")


def _card(source: Source, counts: Mapping[str, Mapping[str, int]]) -> str:
    """The dataset card: where each part lies, how large it is and what identifies the version."""
    m = source.manifest
    configs = "\n".join(
        f"- config_name: {objective}\n  data_files:\n"
        + "\n".join(f"  - split: {split}\n    path: data/{objective}/{split}-*" for split in splits)
        for objective, splits in counts.items()
    )
    table = "\n".join(f"| {o} | {split} | {n:,} |" for o, splits in counts.items() for split, n in splits.items())
    return f"""---
configs:
{configs}
---

# {m.dataset}, version {m.version}

Compiled from feedback on {", ".join(m.dataset_policy().select.models) or "all models"}.

| Objective | Split | Examples |
|---|---|---:|
{table}

- State hash: `{m.state_hash}`
- Change hash: `{m.change_hash}`
- Configuration hash: `{m.config_hash}`

`manifest.json` has the SHA-256 of every file.
"""
