"""`feedback demo`: the whole line on the bundled sample, through the Dagster job, and what came of it.

Repeatable: on its own results it finds only duplicates, compiles nothing and tells the same.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from feedback_platform.cli.finding import compiler_for
from feedback_platform.cli.incoming import import_files, land_all
from feedback_platform.cli.screen import say, working
from feedback_platform.errors import CompileError, NotFoundError
from feedback_platform.settings import Settings

if TYPE_CHECKING:
    from feedback_platform.intake.importers.runner import ImportSummary

DATASET = "translation_quality"
SLICES = (1, 2)


@click.command("demo")
@click.pass_obj
def demo_command(settings: Settings) -> None:
    """Compile real data to the end: import, land, run the Dagster job, publish two versions, export, report."""
    from feedback_platform.cli.demo_summary import show_summary

    folder = sample_folder()
    imports = [_slice(settings, folder, number) for number in SLICES]
    show_summary(settings, DATASET, imports)


def sample_folder() -> Path:
    """The bundled sample of a checkout.

    Raises:
        NotFoundError: the package was installed without it.
    """
    import feedback_platform

    folder = Path(feedback_platform.__file__).resolve().parent.parent / "data" / "sample"
    if not (folder / "inferences-1.jsonl.gz").is_file():
        raise NotFoundError(
            f"the bundled sample is not at {folder}: it comes with a checkout, not with an installed package. "
            "Clone the repository and run `make demo` there, or start with `feedback init DIR`."
        )
    return folder


def _slice(settings: Settings, folder: Path, number: int) -> "ImportSummary":
    """Import and land one slice, and compile it unless that was done before."""
    from feedback_platform.compile.window import preview

    files = [(folder / f"{kind}-{number}.jsonl.gz",) for kind in ("inferences", "feedback")]
    say(f"Slice {number}: importing {files[0][0].name} and {files[1][0].name}")
    summary = import_files(settings, files[0], files[1])
    accepted = summary.inferences_accepted + summary.feedback_accepted
    say(f"  {accepted:,} events accepted, {summary.duplicates:,} known already, {summary.refused:,} refused")
    land_all(settings)
    compiler = compiler_for(settings, DATASET)
    if compiler.store.open_one() is None and preview(compiler, trigger="demo") is None:
        say("  nothing new to compile")
        return summary
    say(f"  running the Dagster job of {DATASET}")
    with working("compiling"):
        succeeded = _run_job(settings)
    if not succeeded:
        raise CompileError(f"the Dagster job of {DATASET} failed. See its run in `make dev`, then try again.")
    latest = compiler.store.versions()[-1]
    say(f"  published version {latest.version}: {sum(latest.rows.values()):,} examples", style="bold")
    return summary


def _run_job(settings: Settings) -> bool:
    from feedback_platform.defs.demo import run_dataset_job

    return run_dataset_job(DATASET, settings)
