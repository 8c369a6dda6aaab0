"""Files of OTLP JSON through the real door into a real log: everything arrives, is counted, or is kept with its reason."""

import gzip
import json
from datetime import UTC, datetime

import pytest

from feedback_platform.errors import ImportFormatError
from feedback_platform.intake.door import Door
from feedback_platform.intake.importers import otlp
from feedback_platform.intake.importers.foreign import Found, Misunderstood, Options, Skipped
from feedback_platform.intake.importers.runner import ImportIncomplete, run_import
from feedback_platform.intake.sqlite_log import open_log
from feedback_platform_tests.intake.otlp.exports import CHAT, as_json, evaluation, json_export, span


@pytest.fixture
def log(tmp_path):
    with open_log(tmp_path / "log" / "events.sqlite") as opened:
        yield opened


def load(log, *paths, options=None):
    door = Door(log, "t", lambda: datetime(2026, 1, 2, tzinfo=UTC))
    return run_import(door, otlp.read(paths, options or Options()))


def written(path, *lines):
    body = b"\n".join(lines) + b"\n"
    path.write_bytes(gzip.compress(body) if path.suffix == ".gz" else body)
    return path


def export(n, **more):
    return as_json(span(id=f"{n:016x}", events=[evaluation(name="good", score__value=1)], **more))


@pytest.mark.parametrize("name", ["traces.json", "traces.jsonl.gz"])
def test_one_export_per_line(log, tmp_path, name):
    path = written(tmp_path / name, export(1), b"", as_json(span({}), span(id="00000000000000bb")), export(2))
    found = load(log, path)
    assert (found.inferences_accepted, found.feedback_accepted, found.refused) == (3, 2, 0)
    assert found.by_skip == {"not_a_model_call": 1}
    again = load(log, path)
    assert (again.duplicates, again.inferences_accepted, again.feedback_accepted, again.refused) == (5, 0, 0, 0)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_file_that_is_one_value(log, tmp_path, indent):
    one = json_export(span(id="00000000000000cc"))
    path = written(tmp_path / "one.json", json.dumps(one, indent=indent).encode())
    listed = written(
        tmp_path / "list.json", json.dumps([json_export(span()), json_export(span({}))], indent=indent).encode()
    )
    found = load(log, path, listed)
    assert (found.inferences_accepted, found.skipped, found.refused) == (2, 1, 0)


def test_other_signals_in_the_same_file_are_skipped(tmp_path):
    path = written(tmp_path / "all.jsonl", b'{"resourceMetrics": []}', export(1), b'{"resourceLogs": []}')
    items = list(otlp.read([path], Options()))
    assert [item.reason for item in items if isinstance(item, Skipped)] == ["not_traces", "not_traces"]
    assert [(item.kind, item.line) for item in items if isinstance(item, Found)] == [("inference", 2), ("feedback", 2)]


def test_lines_and_spans_that_cannot_be_read_are_kept_with_their_reason(log, tmp_path):
    nameless = as_json(span({key: value for key, value in CHAT.items() if not key.endswith("model")}))
    path = written(tmp_path / "t.jsonl", export(1), export(2)[:-40], b'{"resourceSpans": 3}', nameless, export(4))
    items = list(otlp.read([path], Options()))
    bad = [item for item in items if isinstance(item, Misunderstood)]
    assert [(item.kind, item.line) for item in bad] == [("unknown", 2), ("unknown", 3), ("inference", 4)]
    assert "names no model" in bad[2].message
    found = load(log, path)
    assert (found.inferences_accepted, found.feedback_accepted) == (2, 2)
    assert (found.refused, found.by_reason) == (3, {"not_mapped": 3})
    named = load(log, path, options=Options(model="m", task="support"))
    assert named.inferences_accepted == 1, "the option helps the call that names no model"


def test_a_file_that_is_cut_short_gives_what_it_has(log, tmp_path):
    whole = written(tmp_path / "a.jsonl", export(1))
    packed = gzip.compress(b"\n".join(export(n) for n in range(2, 400)), compresslevel=1)
    (tmp_path / "b.jsonl.gz").write_bytes(packed[:-20])
    with pytest.raises(ImportIncomplete, match=r"b\.jsonl\.gz cannot be read beyond") as caught:
        load(log, tmp_path / "b.jsonl.gz", whole)
    assert caught.value.summary.inferences_accepted > 100


def test_files_of_another_format_are_refused_by_name(tmp_path):
    for body in (b'{"request_id": "r-1"}', b"\x0a\x05hello", b"not json at all", b"[1, 2]"):
        path = written(tmp_path / "x.json", body)
        with pytest.raises(ImportFormatError, match=r"x\.json"):
            list(otlp.read([path], Options()))
