"""What an export reads: one version through one DuckDB connection, and how many examples of what it has."""

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from feedback_platform.compile.manifest import Manifest
from feedback_platform.compile.reading import dataset_sql, training_sql
from feedback_platform.errors import ExportError
from feedback_platform.lake.store import Lake


@dataclass(frozen=True, slots=True)
class Source:
    """A version to export."""

    lake: Lake
    manifest: Manifest
    connection: duckdb.DuckDBPyConnection

    @property
    def title(self) -> str:
        """The version in words."""
        return f"version {self.manifest.version} of {self.manifest.dataset}"

    def rows_sql(self) -> str:
        """SELECT of the version's rows, all columns."""
        return dataset_sql(self.lake, self.manifest.dataset, self.manifest)

    def view_sql(self, objective: str, extra: tuple[str, ...] = ()) -> str:
        """SELECT of an objective's training view."""
        return training_sql(self.lake, self.manifest, objective, self.connection, extra=extra)

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Objective -> split -> examples, both by name."""
        sql = f"SELECT objective, split, count(*) FROM ({self.rows_sql()}) GROUP BY ALL ORDER BY ALL"
        counts: dict[str, dict[str, int]] = {}
        for objective, split, n in self.connection.execute(sql).fetchall():
            counts.setdefault(str(objective), {})[str(split)] = int(n)
        return counts

    def require(self, objective: str, format_name: str) -> int:
        """Examples of an objective.

        Raises:
            ExportError: there are none; it names the objectives there are.
        """
        counts = {name: sum(splits.values()) for name, splits in self.counts().items()}
        if objective not in counts:
            has = ", ".join(f"{name} ({n})" for name, n in counts.items()) or "no examples at all"
            raise ExportError(
                f"{self.title} has no examples for the objective {objective!r}, which format {format_name!r} needs. "
                f"It has: {has}. Choose a format for one of those, or add {objective!r} to the dataset's `objectives` "
                "and compile again."
            )
        return counts[objective]

    def facts(self, format_name: str) -> dict[str, object]:
        """What every export's manifest says of the version; nothing that could differ between two exports of it."""
        m = self.manifest
        return {
            "format": format_name,
            "dataset": m.dataset,
            "version": m.version,
            "window": m.window,
            "watermark": m.watermark,
            "config_hash": m.config_hash,
            "change_hash": m.change_hash,
            "state_hash": m.state_hash,
        }
