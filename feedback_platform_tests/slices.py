"""The bundled sample in 1, 2 or 20 slices, events shuffled over them: the same final state, or exit code 1.

`python -m feedback_platform_tests.slices --slices 1,2,20` prints a table of slices and state hashes.
"""

import gzip
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from feedback_platform_tests.builders import Event, Line, line

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample"
SEED = 20


def events(kind: str) -> list[Event]:
    """All events of the sample of one kind, in order of time."""
    found: list[Event] = []
    for path in sorted(SAMPLE.glob(f"{kind}-*.jsonl.gz")):
        found += [msgspec.json.decode(row) for row in gzip.decompress(path.read_bytes()).splitlines()]
    return found


def dealt(given: Sequence[Event], slices: int, draw: random.Random) -> list[list[Event]]:
    """Each event into some slice, in some order; one slice is the order of time."""
    if slices == 1:
        return [list(given)]
    hands: list[list[Event]] = [[] for _ in range(slices)]
    for event in draw.sample(list(given), len(given)):
        hands[draw.randrange(slices)].append(event)
    return hands


def compiled(home: Path, slices: int, share: float = 1.0) -> Line:
    """Import, land and compile the sample, or its first part, slice by slice; returns the line at its end."""
    draw = random.Random(SEED)
    one = line(home, objectives=["preference", "sft"])
    asked, judged = events("inferences"), events("feedback")
    kept = {e["request_id"] for e in asked[: round(len(asked) * share)]}
    asked = [e for e in asked if e["request_id"] in kept]
    judged = [e for e in judged if e["request_id"] in kept]
    for some, others in zip(dealt(asked, slices, draw), dealt(judged, slices, draw), strict=True):
        one.send(some, others)
        one.compile()
    return one


@click.command()
@click.option("--slices", default="1,2,20", show_default=True, help="Numbers of slices, separated by commas.")
@click.option("--share", default=1.0, show_default=True, help="Share of the sample to use, from its beginning.")
def main(slices: str, share: float) -> None:
    """Compile the sample in different numbers of slices and compare the final states."""
    hashes = set()
    click.echo(f"{'slices':>6}  {'versions':>8}  {'rows':>6}  {'bridged':>7}  {'seconds':>7}  state_hash")
    for number in (int(n) for n in slices.split(",")):
        with tempfile.TemporaryDirectory(prefix="slices-") as folder:
            started = time.perf_counter()
            one = compiled(Path(folder) / "home", number, share)
            seconds = time.perf_counter() - started
            last = one.compiler.store.versions()[-1]
            bridged = one.table("candidate_examples")["is_bridged"].sum()
        hashes.add(last.state_hash)
        rows = sum(last.rows.values())
        click.echo(f"{number:>6}  {last.version:>8}  {rows:>6}  {bridged:>7}  {seconds:>7.1f}  {last.state_hash}")
    click.echo("one state" if len(hashes) == 1 else f"{len(hashes)} different states")
    sys.exit(len(hashes) != 1)


if __name__ == "__main__":
    main()
