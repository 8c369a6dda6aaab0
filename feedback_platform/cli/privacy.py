"""`feedback pseudonym`: the pseudonyms of ids that one knows, for joins with what the platform stores."""

from pathlib import Path

import click

from feedback_platform.cli.screen import say
from feedback_platform.settings import Settings

_file = click.Path(path_type=Path, dir_okay=False)


@click.command("pseudonym")
@click.argument("ids", nargs=-1)
@click.option("--of", "purpose", type=click.Choice(["person", "session"]), default="person", show_default=True,
              help="Users and raters are persons.")  # fmt: skip
@click.option("--table", type=_file, help="CSV or Parquet file to map instead.")
@click.option("--column", help="With --table: the column that holds the ids.")
@click.option("--into", help="With --table: name of a new column; without it the ids are replaced.")
@click.option("--out", type=_file, help="With --table: file to write.")
@click.pass_obj
def pseudonym_command(
    settings: Settings, ids: tuple[str, ...], purpose: str, table: Path | None, column: str | None, into: str | None,
    out: Path | None,
) -> None:  # fmt: skip
    """Print the pseudonyms under which this tenant's events store IDS, or map a column of a table."""
    from typing import cast

    from feedback_platform.intake.privacy.pseudonym_table import map_table
    from feedback_platform.intake.privacy.pseudonyms import Pseudonyms, Purpose
    from feedback_platform.intake.tenants import pseudonym_key

    if (table is None) == (not ids):
        raise click.UsageError("Give ids, or a file with --table, --column and --out.")
    pseudonyms = Pseudonyms(pseudonym_key(settings))
    kind = cast(Purpose, purpose)
    if table is None:
        for pseudonym in pseudonyms.many(kind, ids):
            click.echo(pseudonym)
        return
    if column is None or out is None:
        raise click.UsageError("--table needs --column and --out.")
    rows = map_table(table, column, kind, pseudonyms, out, into=into)
    say(f"{rows:,} rows in {out}.")
