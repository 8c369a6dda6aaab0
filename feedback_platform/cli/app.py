"""The command's front door: global options, the list of commands, and errors in words instead of tracebacks.

Exit codes: 0 done, or nothing to do; 1 lines were refused or a verification failed; 2 it could not be done.
"""

import errno
import os
from pathlib import Path
from typing import Any

import click

from feedback_platform import __version__
from feedback_platform.cli.building import compile_command, plan_command, rebuild_command
from feedback_platform.cli.dead_letters import dead_letters_group
from feedback_platform.cli.demo import demo_command
from feedback_platform.cli.explaining import explain_command
from feedback_platform.cli.facts import config_command, diff_command, status_command, versions_command
from feedback_platform.cli.health import doctor_command, upkeep_command
from feedback_platform.cli.importing import import_group
from feedback_platform.cli.incoming import land_command
from feedback_platform.cli.keys import keys_group
from feedback_platform.cli.outgoing import export_command, query_command, yank_command
from feedback_platform.cli.privacy import pseudonym_command
from feedback_platform.cli.project import init_command
from feedback_platform.cli.serving import serve_command
from feedback_platform.errors import FeedbackPlatformError
from feedback_platform.settings import load_settings

COULD_NOT = 2
# Of the operating system's errors these speak of the machine; any other is a fault of ours and keeps its traceback.
OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
EPILOG = "Exit codes: 0 done or nothing to do, 1 lines refused or a check failed, 2 could not be done."


class _Commands(click.Group):
    """A group whose own errors end in one line on stderr."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FeedbackPlatformError as error:
            click.echo(f"feedback: {error}", err=True)
            ctx.exit(COULD_NOT)
        except OSError as error:
            if error.errno not in OF_THE_DISK:
                raise
            click.echo(f"feedback: {error}. Mend the disk, then run the same command again.", err=True)
            ctx.exit(COULD_NOT)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of use, not of the alphabet


@click.group(cls=_Commands, epilog=EPILOG, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="feedback")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Root of all state. Default: FEEDBACK_HOME, else data/.",
)
@click.pass_context
def main(ctx: click.Context, home: Path | None) -> None:
    """Compile inference and feedback logs into versioned training datasets."""
    environ = dict(os.environ)
    if home is not None:
        environ["FEEDBACK_HOME"] = str(home)
    ctx.obj = load_settings(environ)


for _command in (
    demo_command, init_command, serve_command, import_group, land_command, compile_command, plan_command, status_command,
    versions_command, diff_command, explain_command, export_command, query_command, config_command, yank_command,
    rebuild_command, keys_group, dead_letters_group, pseudonym_command, doctor_command, upkeep_command,
):  # fmt: skip
    main.add_command(_command)
