"""A tenant's line driven by Dagster: the real component, an instance that forgets, state in a temporary folder."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from feedback_platform.components import FeedbackDataset
from feedback_platform.components.platform import Platform
from feedback_platform_tests.builders import Line, correction, inference, line, thumbs

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@functools.cache
def land_definitions() -> dg.Definitions:
    """Raw assets, their job and sensor."""
    from feedback_platform.defs.landing import land_events, landing_sensor, raw_checks, raw_tables

    return dg.Definitions(assets=[raw_tables], asset_checks=raw_checks, jobs=[land_events], sensors=[landing_sensor])


@dataclass
class DagsterLine:
    """A `Line` and what Dagster does with its dataset `d`."""

    line: Line
    instance: dg.DagsterInstance

    @property
    def platform(self) -> Platform:
        """The resource, on the line's folder."""
        return Platform(home=str(self.line.home))

    @property
    def definitions(self) -> dg.Definitions:
        """The dataset's definitions beside the raw ones, as the code location merges them."""
        mine = FeedbackDataset(self.line.compiler.policy).definitions()
        shared = dg.Definitions(resources={"platform": self.platform}, executor=dg.in_process_executor)
        return dg.Definitions.merge(mine, land_definitions(), shared)

    def run(self, job: str = "compile_d", **tags: str) -> dg.ExecuteInProcessResult:
        """Run a job to its end."""
        found = self.definitions.resolve_job_def(job)
        return found.execute_in_process(instance=self.instance, tags=tags, raise_on_error=False, run_config=QUIET)

    def materialize(self, *tables: str) -> dg.ExecuteInProcessResult:
        """What selecting assets in the UI does."""
        keys = [dg.AssetKey(["d", table]) for table in tables]
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance, asset_selection=keys, raise_on_error=False, run_config=QUIET
        )

    def tick(self, sensor: str, cursor: str | None = None) -> dg.SensorResult:
        """Evaluate a sensor as the daemon does."""
        repository = self.definitions.get_repository_def()
        context = dg.build_sensor_context(
            instance=self.instance, cursor=cursor, repository_def=repository, resources={"platform": self.platform}
        )
        result = repository.get_sensor_def(sensor)(context)
        assert isinstance(result, dg.SensorResult), "a sensor always answers with a SensorResult"
        return result


@contextmanager
def dagster_line(home: Path, **policy: Any) -> Iterator[DagsterLine]:
    """A line in a folder; keyword arguments are the dataset's policy."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield DagsterLine(line(home, **policy), instance)


def send_some(driven: DagsterLine, first: int = 0, count: int = 4) -> None:
    """Inferences `r<first>`.., each with a thumb and every other one with a correction."""
    numbers = range(first, first + count)
    judged = [thumbs(f"t{n}", f"r{n}", up=n % 3 > 0, rater="ann", minute=60 + n) for n in numbers]
    edits = [correction(f"c{n}", f"r{n}", output=f"better {n}", rater="bob", minute=70 + n) for n in numbers if n % 2]
    driven.line.send([inference(f"r{n}", minute=n, text=f"question {n}") for n in numbers], [*judged, *edits])


def metadata(result: dg.ExecuteInProcessResult, table: str, dataset: str = "d") -> dict[str, Any]:
    """Metadata of an asset's materialization in a run."""
    events = result.get_asset_materialization_events()
    found = [e.materialization for e in events if e.asset_key == dg.AssetKey([dataset, table])]
    assert len(found) == 1, f"{table} was materialized {len(found)} times"
    return {name: value.value for name, value in found[0].metadata.items()}


def checks(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    """(table, check) -> its evaluation in a run."""
    return {(e.asset_key.path[-1], e.check_name): e for e in result.get_asset_check_evaluations()}


def failures(result: dg.ExecuteInProcessResult) -> str:
    """What went wrong, with causes."""
    errors = [e.step_failure_data.error for e in result.all_node_events if e.is_step_failure]
    return "\n".join(error.to_string() for error in errors if error is not None)
