"""Runs a dataset's job in this process, with its history where the UI looks for it. Defines nothing for Dagster."""

from pathlib import Path

import dagster as dg

import feedback_platform
from feedback_platform.components.platform import RESOURCE, Platform
from feedback_platform.errors import NotFoundError
from feedback_platform.lake.files import write_atomically
from feedback_platform.settings import Settings

_FALLBACK = "storage:\n  sqlite:\n    base_dir: data/dagster\ntelemetry:\n  enabled: false\n"
_QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


def run_dataset_job(dataset: str, settings: Settings) -> bool:
    """Run `compile_<dataset>` to its end and say whether it succeeded; only errors go to the terminal.

    Raises:
        NotFoundError: Dagster knows no such dataset.
    """
    definitions = dg.load_from_defs_folder(path_within_project=Path(feedback_platform.__file__).parent)
    name = f"compile_{dataset}"
    known = [job.name for job in definitions.resolve_all_job_defs()]
    if name not in known:
        listed = ", ".join(sorted(k.removeprefix("compile_") for k in known if k.startswith("compile_")))
        raise NotFoundError(f"no dataset {dataset!r} in Dagster. Known: {listed}. `feedback init DIR` makes one.")
    platform = Platform(home=str(settings.home), tenant=settings.tenant)
    with dg.DagsterInstance.from_config(str(dagster_home(settings))) as instance:
        job = definitions.resolve_job_def(name).with_top_level_resources({RESOURCE: platform.get_resource_definition()})
        return job.execute_in_process(instance=instance, run_config=_QUIET, raise_on_error=False).success


def dagster_home(settings: Settings) -> Path:
    """`FEEDBACK_HOME/dagster` with a `dagster.yaml` that keeps all history there, as `make dev` writes it."""
    home = settings.home.absolute() / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        checkout = Path(feedback_platform.__file__).parent.parent / "dagster.yaml"
        text = checkout.read_text(encoding="utf-8") if checkout.exists() else _FALLBACK
        write_atomically(config, text.replace("data/dagster", str(home)).encode())
    return home
