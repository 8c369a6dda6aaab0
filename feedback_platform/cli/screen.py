"""How the command shows things: tables, JSON, lines on stderr while long work goes on. Knows nothing of datasets."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 120
json_option = click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")


def console(*, err: bool = False) -> "Console":
    """A console that prints text as it is; 120 columns wide when nobody watches."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say(text: str = "", *, style: str | None = None, err: bool = False) -> None:
    """One line."""
    console(err=err).print(text, style=style)


def print_json(facts: object) -> None:
    """Facts as indented JSON; times in ISO 8601."""
    click.echo(json.dumps(facts, indent=1, default=plain, ensure_ascii=False))


def plain(value: object) -> str:
    """A value that JSON does not have, as text."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """A table; whole numbers are grouped and stand on the right, columns of nothing but numbers too."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for place, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[place], int | float) or row[place] is None for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    console().print(table)


def cell(value: object) -> str:
    """A value for people."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return str(value)


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr that tells how far the work is; nothing when stderr is no terminal."""
    screen = console(err=True)
    if not screen.is_terminal:
        yield lambda text: None
        return
    with screen.status(what) as status:
        yield lambda text: status.update(f"{what}: {text}")


def step_line(name: str, text: str, seconds: float) -> None:
    """A finished step of long work, on stderr."""
    say(f"  {name:<22}{text:<44}{seconds:6.1f} s", err=True, style="dim")


def program() -> str:
    """How to call this command from here: by name when it is on the path, else by its relative file."""
    called = Path(sys.argv[0])
    if shutil.which("feedback") or called.name != "feedback":
        return "feedback"
    here = Path.cwd()
    return str(called.absolute().relative_to(here)) if called.absolute().is_relative_to(here) else str(called)
