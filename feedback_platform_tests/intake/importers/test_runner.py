"""Running an importer: batches are bounded by what they hold, and what came before a fault is taken in."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from feedback_platform.errors import ImportFormatError
from feedback_platform.intake.door import Door
from feedback_platform.intake.importers import runner
from feedback_platform.intake.importers.foreign import Found, Misunderstood, Skipped, UnreadableRest
from feedback_platform.intake.importers.runner import ImportIncomplete, ImportSummary, run_import
from feedback_platform.intake.sqlite_log import open_log
from feedback_platform_tests.builders import inference

MIB = 2**20


@pytest.fixture
def door(tmp_path):
    with open_log(tmp_path / "log" / "events.sqlite") as log:
        yield Door(log, "default", lambda: datetime(2026, 6, 1, tzinfo=UTC))


def found(numbers, text="short"):
    return (Found("inference", inference(f"r{n}", text=text), Path("a.json"), n) for n in numbers)


def counts_after_each_batch(door, items):
    counts: list[int] = []
    run_import(door, items, progress=lambda _, summary: counts.append(summary.records))
    return counts


def test_decoded_records_count_with_their_size(door, monkeypatch):
    monkeypatch.setattr(runner, "BATCH_BYTES", MIB)
    assert len(msgspec.json.encode(inference(text="x" * 50_000))) == pytest.approx(100_000, rel=0.01)
    counts = counts_after_each_batch(door, found(range(60), "x" * 50_000))
    sizes = [after - before for before, after in zip([0, *counts], counts, strict=False)]
    assert counts[-1] == 60
    assert sizes == [11, 11, 11, 11, 11, 5], "the record of 100 KB that reaches a MiB ends the batch"
    monkeypatch.setattr(runner, "BATCH_EVENTS", 25)
    assert counts_after_each_batch(door, found(range(100, 160))) == [25, 50, 60]


def test_only_a_batch_is_held_of_what_an_importer_yields(door, monkeypatch):
    monkeypatch.setattr(runner, "BATCH_BYTES", MIB)
    read = 0
    ahead = []

    def items():
        nonlocal read
        for item in found(range(100), "x" * 100_000):
            read += 1
            yield item

    run_import(door, items(), progress=lambda _, summary: ahead.append(read - summary.records))
    assert ahead
    assert not any(ahead), "each batch is durable before the next is read"


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (ImportFormatError("b.json is not of the format"), ImportFormatError),
        (UnreadableRest("b.json is cut short"), ImportIncomplete),
    ],
)
def test_what_came_before_a_fault_is_taken_in_and_counted(door, fault, raised):
    def items():
        yield from found(range(100))
        yield Misunderstood("unknown", "what is this", b"?", Path("a.json"), 101)
        yield Skipped("blank_line")
        raise fault

    summary = ImportSummary()
    with pytest.raises(raised, match=r"b\.json is") as caught:
        run_import(door, items(), summary=summary)
    assert (summary.inferences_accepted, summary.refused, summary.skipped, summary.records) == (100, 1, 1, 102)
    assert (door.log.head("inference"), door.log.head("dead_letter")) == (100, 1)
    if isinstance(caught.value, ImportIncomplete):
        assert caught.value.summary is summary
