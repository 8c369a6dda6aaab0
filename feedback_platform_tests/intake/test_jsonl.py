"""JSON Lines: good lines arrive whatever stands between them; every refused one is explained in the dead letters."""

import gzip
import json
import tracemalloc
from collections import Counter
from datetime import UTC, datetime
from itertools import chain

import msgspec
import pytest

from feedback_platform.errors import NotFoundError
from feedback_platform.intake.door import Door
from feedback_platform.intake.importers import runner
from feedback_platform.intake.importers.jsonl import import_jsonl
from feedback_platform.intake.importers.runner import ImportIncomplete
from feedback_platform.intake.log import MAX_DEAD_LETTER_BYTES
from feedback_platform.intake.sqlite_log import open_log

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def log(tmp_path):
    with open_log(tmp_path / "log" / "events.sqlite") as opened:
        yield opened


def run(log, inferences=(), feedback=(), **more):
    return import_jsonl(Door(log, "t", lambda: NOW), inferences, feedback, **more)


def inference(n, **more):
    return {
        "request_id": f"r-{n}", "timestamp": "2026-01-01T00:00:00Z", "model": "m", "model_version": "1",
        "input": f"question {n}", "output": f"answer {n}",
    } | more  # fmt: skip


def thumb(n, **more):
    return {
        "feedback_id": f"f-{n}",
        "feedback_type": "thumbs",
        "feedback_value": {"up": True},
        "request_id": f"r-{n}",
    } | more


def line(body):
    return json.dumps(body).encode()


def written(path, lines, opener=open):
    with opener(path, "wb") as file:
        file.write(b"".join(text + b"\n" for text in lines))
    return path


def rows(log, stream):
    batches = log.read_range(stream, 0, log.head(stream))
    return [{"log_seq": seq} | msgspec.json.decode(row) for seq, row in chain.from_iterable(batches)]


# Each kind of broken line: the reason it must get, and how it is made from a number.
BROKEN = {
    "cut short": ("json_invalid", lambda n: line(inference(n))[:-9]),
    "trailing garbage": ("json_invalid", lambda n: line(inference(n)) + b" }"),
    "not json": ("json_invalid", lambda n: b"request_id,model"),
    "a list": ("not_an_object", lambda n: b"[%d]" % n),
    "a number as text": ("wrong_type", lambda n: line(inference(n, model_version=n))),
    "a list as text": ("wrong_type", lambda n: line(inference(n, user_id=["u"]))),
    "unknown field": ("field_unknown", lambda n: line(inference(n, modelversion="1"))),
    "missing field": ("field_missing", lambda n: b'{"request_id": "m-%d"}' % n),
    "NaN": ("number_not_finite", lambda n: line(inference(n, confidence=float("nan")))),
    "Infinity": ("number_not_finite", lambda n: line(inference(n, logprob=float("-inf")))),
    "huge integer": ("number_out_of_range", lambda n: line(inference(n, input=2**64 + n))),
    "probability": ("value_out_of_range", lambda n: line(inference(n, confidence=1.01))),
    "5 MB string": ("event_too_large", lambda n: line(inference(n, input="x" * 5_000_000))),
    "2 MB string": ("string_too_long", lambda n: line(inference(n, output="x" * 2_000_000))),
    "bad UTF-8": ("not_utf8", lambda n: line(inference(n)).replace(b"question", b"\xff\xfe")),
    "lone surrogate": ("not_utf8", lambda n: line(inference(n, input="\udc00"))),
    "duplicate key": ("duplicate_key", lambda n: b'{"model":"x",' + line(inference(n))[1:]),
    "naive time": ("timestamp_naive", lambda n: line(inference(n, timestamp="2026-01-01T00:00:00"))),
    "no time": ("timestamp_invalid", lambda n: line(inference(n, timestamp="soon"))),
    "bad id": ("id_invalid", lambda n: line(inference(n, request_id=f"r {n}"))),
    "deep": ("nesting_too_deep", lambda n: line(inference(n)).replace(b'"m"', b"[" * 5000 + b"]" * 5000)),
    "many segments": ("too_many_entries", lambda n: line(inference(n, segments={f"s{i}": "" for i in range(99)}))),
    "reused id": ("id_conflict", lambda n: line(inference(0, output=f"another {n}"))),
}  # fmt: skip


def test_a_hundred_broken_lines_are_explained_and_the_good_ones_between_them_arrive(log, tmp_path):
    broken = [(reason, make(n)) for n in range(1, 6) for reason, make in BROKEN.values()]
    assert len(broken) >= 100
    lines = [line(inference(0))]
    for n, (_, text) in enumerate(broken):
        lines += [text, line(inference(1000 + n))]
    path = written(tmp_path / "a.jsonl", lines)

    summary = run(log, [path])

    assert summary.inferences_accepted == len(broken) + 1 == log.head("inference")
    assert summary.refused == len(broken)
    assert summary.by_reason == Counter(reason for reason, _ in broken)
    letters = {letter["line"]: letter for letter in rows(log, "dead_letter")}
    for n, (reason, text) in enumerate(broken):
        letter = letters[2 * n + 2]
        assert (letter["reason"], letter["origin"], letter["kind"]) == (reason, "a.jsonl", "inference")
        assert letter["message"].startswith(reason)
        assert letter["size_bytes"] == len(text)
        assert len(letter["body"]) <= MAX_DEAD_LETTER_BYTES
    good = [f"r-{1000 + n}" for n in range(len(broken))]
    assert [row["request_id"] for row in rows(log, "inference")] == ["r-0", *good]


def test_a_time_in_the_future_is_flagged_and_arrives(log, tmp_path):
    future = line(inference(1, timestamp="2031-01-01T00:00:00Z"))
    summary = run(log, [written(tmp_path / "a.jsonl", [future])])
    assert (summary.inferences_accepted, summary.refused) == (1, 0)
    assert [row["is_future"] for row in rows(log, "inference")] == [True]


def test_a_second_import_finds_only_duplicates(log, tmp_path):
    inferences = written(tmp_path / "i.jsonl.gz", [line(inference(n)) for n in range(50)], gzip.open)
    without_id = {k: v for k, v in thumb(7, metadata={"a": 1}).items() if k != "feedback_id"}
    feedback = written(tmp_path / "f.jsonl", [line(thumb(n)) for n in range(20)] + [line(without_id)])
    first = run(log, [inferences], [feedback])
    again = run(log, [inferences], [feedback])
    assert (first.inferences_accepted, first.feedback_accepted, first.duplicates, first.refused) == (50, 21, 0, 0)
    assert (again.inferences_accepted, again.feedback_accepted, again.duplicates, again.refused) == (0, 0, 71, 0)
    assert (log.head("inference"), log.head("feedback")) == (50, 21)


def test_an_import_killed_after_some_batches_is_finished_by_the_next(log, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "BATCH_EVENTS", 10)
    path = written(tmp_path / "i.jsonl", [line(inference(n)) for n in range(35)])
    seen = []

    def stop(_path, summary):
        seen.append(summary.inferences_accepted)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(log, [path], progress=stop)
    assert (seen, log.head("inference")) == ([10, 20], 20)
    summary = run(log, [path])
    assert (summary.inferences_accepted, summary.duplicates) == (15, 20)


def test_blank_lines_line_ends_and_a_byte_order_mark_do_no_harm(log, tmp_path):
    path = tmp_path / "a.jsonl"
    texts = [b"\xef\xbb\xbf" + line(inference(1)), b"", b"  \t", line(inference(2))]
    path.write_bytes(b"\r\n".join(texts) + b"\n\n" + line(inference(3)))
    summary = run(log, [path])
    assert (summary.inferences_accepted, summary.by_skip["blank_line"], summary.refused) == (3, 3, 0)


def test_a_truncated_gzip_file_is_named_and_everything_else_arrives(log, tmp_path):
    whole = written(
        tmp_path / "whole.gz", [line(inference(n, input=f"{n * 7919 % 1013}")) for n in range(4000)], gzip.open
    )
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(whole.read_bytes()[:-2000])
    feedback = written(tmp_path / "f.jsonl", [line(thumb(1))])
    with pytest.raises(ImportIncomplete, match=r"cut\.jsonl\.gz cannot be read beyond line \d+") as caught:
        run(log, [cut], [feedback])
    assert 0 < caught.value.summary.inferences_accepted < 4000
    assert caught.value.summary.inferences_accepted == log.head("inference")
    assert (log.head("feedback"), log.head("dead_letter")) == (1, 0)
    summary = run(log, [whole])
    assert summary.inferences_accepted + summary.duplicates == 4000


def test_a_damaged_gzip_file_is_named(log, tmp_path):
    whole = written(tmp_path / "a.gz", [line(inference(n)) for n in range(500)], gzip.open)
    data = bytearray(whole.read_bytes())
    data[-6] ^= 1  # the checksum
    whole.write_bytes(data)
    with pytest.raises(ImportIncomplete, match=r"a\.gz"):
        run(log, [whole])


def test_a_missing_file_is_refused_before_anything_is_imported(log, tmp_path):
    path = written(tmp_path / "i.jsonl", [line(inference(1))])
    with pytest.raises(NotFoundError, match="nothing was imported"):
        run(log, [path], [tmp_path / "no.jsonl"])
    assert log.head("inference") == 0


def test_an_endless_line_is_refused_without_being_held_in_memory(log, tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        for _ in range(200):
            file.write(b"x" * 2**20)
        file.write(b"\n" + line(inference(1)) + b"\n")
    tracemalloc.start()
    summary = run(log, [path])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (summary.inferences_accepted, dict(summary.by_reason)) == (1, {"event_too_large": 1})
    assert rows(log, "dead_letter")[0]["size_bytes"] == 200 * 2**20
    assert peak < 40 * 2**20


def test_review_scope_and_tenant_reach_the_rows(log, tmp_path):
    ruling = {"feedback_type": "adjudication", "feedback_value": {"verdict": "valid", "feedback_id": "f-1"}}
    path = written(tmp_path / "f.jsonl", [line(ruling)])
    run(log, [], [path], can_review=False)
    [row] = rows(log, "feedback")
    assert (row["can_review"], row["feedback_id"][:3]) == (False, "fb_")
