"""`feedback import FORMAT`: other people's files into the event log, each format a command of its own."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from feedback_platform.cli.incoming import import_jsonl_command, shown
from feedback_platform.cli.screen import json_option, working
from feedback_platform.settings import Settings

if TYPE_CHECKING:
    from feedback_platform.intake.importers.foreign import Options
    from feedback_platform.intake.importers.runner import ImportSummary

_path = click.Path(path_type=Path)


class _Formats(click.Group):
    """`jsonl` and every format of the registry; a format's help is made when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from feedback_platform.intake.importers.registry import FORMATS

        return ["jsonl", *FORMATS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from feedback_platform.intake.importers.registry import FORMATS

        if cmd_name == "jsonl":
            return import_jsonl_command
        return _command(cmd_name, FORMATS[cmd_name][2]) if cmd_name in FORMATS else None


@click.group("import", cls=_Formats)
def import_group() -> None:
    """Bring events from files into the event log: our own JSON Lines, or what another system exports."""


def _command(name: str, summary: str) -> click.Command:
    @click.command(name, short_help=summary, help=f"{summary}.\n\nFiles or folders. Known events count once.")
    @click.argument("paths", nargs=-1, required=True, type=_path)
    @click.option("--model", help="Model of records that name none.")
    @click.option("--model-version", help="Version of records that name none.")
    @click.option("--task", help="Task of all records.")
    @click.option("--environment", help="Environment of all records.")
    @click.option("--mapping", type=_path, help="YAML file that maps columns to fields (parquet, csv, label-studio).")
    @json_option
    @click.pass_obj
    def command(
        settings: Settings, paths: tuple[Path, ...], model: str | None, model_version: str | None, task: str | None,
        environment: str | None, mapping: Path | None, as_json: bool,
    ) -> None:  # fmt: skip
        from feedback_platform.intake.importers.foreign import Options

        options = Options(model, model_version, task, environment, mapping)
        with shown(as_json) as summary:
            import_foreign(settings, name, paths, options, summary)

    return command


def import_foreign(
    settings: Settings, name: str, paths: tuple[Path, ...], options: "Options", summary: "ImportSummary"
) -> None:
    """Import files of a foreign format into the tenant's log, with a spinner; counts into the summary."""
    from feedback_platform.errors import NotFoundError
    from feedback_platform.intake.importers.registry import importer
    from feedback_platform.intake.importers.runner import run_import
    from feedback_platform.intake.tenants import open_tenant

    for path in paths:
        if not path.exists():
            raise NotFoundError(f"{path} does not exist; nothing was imported. Check the path.")
    with open_tenant(settings) as tenant, working(f"importing {name}") as progress:

        def told(path: Path, so_far: "ImportSummary") -> None:
            progress(f"{path.name}, {so_far.records:,} records")

        run_import(tenant.door, importer(name).read(list(paths), options), progress=told, summary=summary)
