"""The event log: durable before acknowledged, one position per id, no gaps, whoever writes and whatever is killed."""

import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_platform.contracts.raw_tables import DEAD_LETTERS
from feedback_platform.errors import LogError, LogGapError
from feedback_platform.intake.log import MAX_DEAD_LETTER_BYTES, Conflict, DeadLetter, Receipt, Record
from feedback_platform.intake.log_files import check_sqlite
from feedback_platform.intake.sqlite_log import SqliteEventLog, open_log
from feedback_platform_tests.intake import log_writer

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def record(n, body=None, at=T0):
    text = f"{n}:{body or ''}".encode()
    return Record(f"id-{n}", text, b'{"n":"%s"}' % text, at)


@pytest.fixture
def log(tmp_path):
    with open_log(tmp_path / "t" / "log" / "events.sqlite") as opened:
        yield opened


def entries(log, stream="inference"):
    return list(chain.from_iterable(log.read_range(stream, 0, log.head(stream))))


def letter(n=1, body=b"x"):
    return DeadLetter("a.jsonl", n, "feedback", None, "json_invalid", "why", body, len(body))


def test_each_stream_counts_for_itself(log):
    assert log.append("inference", [record(1), record(2)]) == [Receipt("id-1", 1, T0), Receipt("id-2", 2, T0)]
    assert log.append("feedback", [record(1)]) == [Receipt("id-1", 1, T0)]
    assert (log.head("inference"), log.head("feedback"), log.head("dead_letter")) == (2, 1, 0)
    assert log.read("inference", 0, 10) == [(1, record(1).row), (2, record(2).row)]
    assert log.read("inference", 1, 1) == [(2, record(2).row)]
    assert log.integrity_check() == []


def test_a_repetition_gets_the_first_receipt_and_another_body_a_conflict(log):
    log.append("inference", [record(1)])
    later = T0 + timedelta(hours=1)
    answers = log.append("inference", [record(1, at=later), record(1, "other"), record(2, at=later), record(2)])
    assert answers == [
        Receipt("id-1", 1, T0, duplicate=True),
        Conflict("id-1", 1),
        Receipt("id-2", 2, later),
        Receipt("id-2", 2, later, duplicate=True),
    ]
    assert entries(log) == [(1, record(1).row), (2, record(2).row)]


@settings(max_examples=25)
@given(st.lists(st.lists(st.tuples(st.integers(0, 8), st.sampled_from("ab")), max_size=6), max_size=8))
def test_any_grouping_of_retries_gives_the_log_of_the_first_times(batches):
    with TemporaryDirectory() as folder, SqliteEventLog(Path(folder) / "e.sqlite") as log:
        first: dict[str, tuple[str, int]] = {}
        for batch in batches:
            answers = log.append("feedback", [record(n, body) for n, body in batch])
            for (n, body), answer in zip(batch, answers, strict=True):
                known = first.setdefault(f"id-{n}", (body, len(first) + 1))
                assert isinstance(answer, Receipt) == (known[0] == body)
                assert answer.log_seq == known[1]
        assert [row for _, row in entries(log, "feedback")] == [
            record(event_id[3:], body).row for event_id, (body, _) in first.items()
        ]


def test_everything_is_there_after_reopening(tmp_path):
    path = tmp_path / "events.sqlite"
    with open_log(path) as log:
        log.append("inference", [record(n) for n in range(100)])
        key = log.key
    with open_log(path) as log:
        assert log.key == key
        assert len(entries(log)) == 100
        assert log.append("inference", [record(0)]) == [Receipt("id-0", 1, T0, duplicate=True)]
        assert log.append("inference", [record(100)]) == [Receipt("id-100", 101, T0)]


def test_a_failed_append_leaves_nothing_behind(log):
    with pytest.raises(TypeError):
        log.append("inference", [record(1), Record("id-2", b"", object(), T0)])  # type: ignore[arg-type]
    assert (log.head("inference"), entries(log)) == (0, [])
    assert log.append("inference", [record(2)]) == [Receipt("id-2", 1, T0)]


def test_pruning_keeps_ids_and_never_reuses_positions(log):
    log.append("inference", [record(n, at=T0 + timedelta(days=n)) for n in range(1, 6)])
    assert log.prune("inference", 4, T0 + timedelta(days=3)) == 2
    assert log.first("inference") == 3
    assert log.prune("inference", 10, T0 + timedelta(days=99)) == 3
    assert (log.first("inference"), log.head("inference")) == (None, 5)
    assert log.append("inference", [record(1)])[0] == Receipt("id-1", 1, T0 + timedelta(days=1), duplicate=True)
    assert log.append("inference", [record(6)]) == [Receipt("id-6", 6, T0)]
    assert log.integrity_check() == []


def test_pruning_stops_at_the_first_young_entry_even_when_a_clock_stepped_back(log):
    log.append("inference", [record(n, at=T0 + timedelta(days=day)) for n, day in enumerate([1, 9, 2, 3])])
    assert log.prune("inference", 4, T0 + timedelta(days=5)) == 1
    assert [seq for seq, _ in log.read("inference", 0, 9)] == [2, 3, 4]


def test_reading_a_pruned_range_is_refused(log):
    log.append("inference", [record(n) for n in range(10)])
    log.prune("inference", 4, T0 + timedelta(days=1))
    assert [len(rows) for rows in log.read_range("inference", 4, 10, batch=4)] == [4, 2]
    with pytest.raises(LogGapError, match="from 1 to 10"):
        list(log.read_range("inference", 0, 10))
    with pytest.raises(LogGapError, match="from 11 to 12"):
        list(log.read_range("inference", 8, 12))


def test_a_batch_is_bounded_by_bytes_too_and_holds_one_entry_at_least(log):
    sizes = [10, 10, 10, 500, 10, 200, 200, 10]
    log.append("inference", [Record(f"id-{n}", b"", b"x" * size, T0) for n, size in enumerate(sizes)])
    batches = list(log.read_range("inference", 0, 8, batch_bytes=100))
    assert [[len(row) for _, row in rows] for rows in batches] == [[10, 10, 10, 500], [10, 200], [200], [10]]
    assert [seq for rows in batches for seq, _ in rows] == list(range(1, 9))
    assert [len(rows) for rows in log.read_range("inference", 0, 8, batch=3, batch_bytes=100)] == [3, 1, 2, 1, 1]
    # No statement is left in the middle of its rows: the write-ahead log can be emptied.
    next(log.read_range("inference", 0, 8, batch_bytes=1))
    assert log.rows("PRAGMA wal_checkpoint(TRUNCATE)", ()) == [(0, 0, 0)]


def test_the_oldest_unlanded_entry_has_its_receipt_time(log):
    times = [T0 + timedelta(microseconds=n) for n in range(3)]
    log.append("inference", [record(n, at=at) for n, at in enumerate(times)])
    assert [log.oldest_unlanded_at("inference", n) for n in range(4)] == [*times, None]


def test_dead_letters_are_rows_of_their_table_cut_to_size(log):
    body = b"\xff" + b"x" * (2 * MAX_DEAD_LETTER_BYTES)
    assert log.append_dead_letters([letter(7, body)], T0) == 1
    [(seq, row)] = log.read("dead_letter", 0, 9)
    kept = {"log_seq": seq} | msgspec.json.decode(row)
    assert tuple(kept) == DEAD_LETTERS.names()
    assert (kept["line"], kept["size_bytes"], len(kept["body"])) == (7, len(body), MAX_DEAD_LETTER_BYTES)


def test_dead_letters_beyond_the_bound_are_counted(tmp_path):
    with SqliteEventLog(tmp_path / "e.sqlite", keep_dead_letters=3) as log:
        assert log.append_dead_letters([letter(n) for n in range(1, 3)], T0) == 2
        assert log.append_dead_letters([letter(n) for n in range(3, 6)], T0) == 1
        assert (log.head("dead_letter"), log.dropped_dead_letters()) == (3, 2)
        log.prune("dead_letter", 3, T0 + timedelta(days=1))
        assert log.append_dead_letters([letter(9)], T0) == 1
        assert [seq for seq, _ in log.read("dead_letter", 0, 9)] == [4]


def test_the_key_is_secret_and_belongs_to_the_log(tmp_path):
    path = tmp_path / "events.sqlite"
    open_log(path).close()
    key = tmp_path / "hmac.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.write_bytes(os.urandom(32))
    with pytest.raises(LogError, match="not the key that this log was written with"):
        open_log(path)
    key.write_bytes(b"short")
    with pytest.raises(LogError, match="5 bytes instead of 32"):
        open_log(path)
    key.unlink()
    with pytest.raises(LogError, match=r"hmac\.key is gone.*Restore it from the backup"):
        open_log(path)
    assert not key.exists(), "no other key takes its place"


def test_a_key_of_ones_own_is_made_once_and_never_anew(tmp_path):
    path, key = tmp_path / "events.sqlite", tmp_path / "some.key"
    with open_log(path) as log:
        first = log.own_key("some.key", "all would be lost")
        assert log.own_key("some.key", "") == first == key.read_bytes()
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert log.own_key("other.key", "") != first
    key.unlink()
    with open_log(path) as log:
        with pytest.raises(LogError, match=r"some\.key is gone, and with a new key all would be lost\. Restore it"):
            log.own_key("some.key", "all would be lost")
        assert not key.exists()
        key.write_bytes(os.urandom(32))
        with pytest.raises(LogError, match=r"some\.key is not the key .*: all would be lost\. Restore it"):
            log.own_key("some.key", "all would be lost")
        key.write_bytes(first)
        assert log.own_key("some.key", "") == first


def test_a_key_that_lay_there_before_the_log_is_taken(tmp_path):
    key = os.urandom(32)
    (tmp_path / "hmac.key").write_bytes(key)
    with open_log(tmp_path / "events.sqlite") as log:
        assert log.key == key


def test_opening_waits_for_no_writer_when_all_is_well(tmp_path, monkeypatch):
    path = tmp_path / "events.sqlite"
    open_log(path).close()
    monkeypatch.setattr("feedback_platform.intake.sqlite_file.BUSY_MS", 0)
    writer = apsw.Connection(str(path))
    writer.execute("BEGIN IMMEDIATE")
    with open_log(path) as log:
        assert log.head("inference") == 0
    writer.execute("ROLLBACK")
    writer.close()


def test_only_the_owner_can_read_the_files(tmp_path):
    before = os.umask(0)
    try:
        with open_log(tmp_path / "events.sqlite") as log:
            log.append("inference", [record(1)])
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("events.sqlite", "events.sqlite-wal", "events.sqlite-shm", "hmac.key"), 0o600)


def test_the_mode_of_a_file_that_is_there_is_left_alone(tmp_path):
    path = tmp_path / "events.sqlite"
    open_log(path).close()
    path.chmod(0o640)
    open_log(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "3.52.0"])
def test_unsafe_sqlite_releases_are_refused(version):
    with pytest.raises(LogError, match="WAL-reset"):
        check_sqlite(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.53.0", "3.54.1", apsw.sqlite_lib_version()])
def test_sound_sqlite_releases_are_used(version):
    check_sqlite(version)


def test_a_log_of_a_newer_release_is_refused(tmp_path):
    path = tmp_path / "events.sqlite"
    open_log(path).close()
    db = apsw.Connection(str(path))
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(LogError, match="log version 99"):
        open_log(path)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "events.sqlite"
    path.write_bytes(b"not a database " * 1000)
    with pytest.raises(LogError, match="not a SQLite database"):
        open_log(path)


def test_every_commit_is_synced(log):
    assert log.value("PRAGMA journal_mode") == "wal"
    assert log.value("PRAGMA synchronous") == 2


def test_lost_entries_are_noticed(log):
    log.append("inference", [record(n) for n in range(5)])
    log.db.execute("DELETE FROM inference WHERE seq IN (3, 5)")
    assert log.integrity_check() == [
        "inference: 3 entries between positions 1 and 4",
        "inference: the last entry is 4, the head says 5",
    ]


def start(path, name, count, batch):
    command = [sys.executable, log_writer.__file__, str(path), name, str(count), str(batch)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def receipts(text):
    return {line.split(" ")[1]: line.split(" ")[0] for line in text.splitlines()}


@pytest.mark.parametrize("lines", [1, 700])
def test_every_receipt_survives_a_kill(tmp_path, lines):
    path = tmp_path / "events.sqlite"
    with start(path, "w", 1_000_000, 7) as writer:
        assert writer.stdout is not None
        seen = "".join(writer.stdout.readline() for _ in range(lines))
        writer.send_signal(signal.SIGKILL)
        seen += writer.stdout.read()
    complete = receipts(seen if seen.endswith("\n") else seen[: seen.rfind("\n") + 1])
    with open_log(path) as log:
        assert log.integrity_check() == []
        logged = {str(seq): msgspec.json.decode(row)["id"] for seq, row in entries(log)}
    assert len(complete) >= lines
    assert complete.items() <= logged.items()


def test_a_log_can_be_created_by_many_at_once(tmp_path):
    def append(n):
        with open_log(tmp_path / "new" / "events.sqlite") as log:
            return log.key, log.append("inference", [record(n)])[0].log_seq

    with ThreadPoolExecutor(8) as pool:
        keys, positions = zip(*pool.map(append, range(40)), strict=True)
    assert len(set(keys)) == 1
    assert sorted(positions) == list(range(1, 41))


def test_processes_that_append_at_once_lose_and_reuse_nothing(tmp_path):
    path = tmp_path / "new" / "events.sqlite"
    with start(path, "a", 900, 3) as one, start(path, "b", 900, 5) as two:
        printed = [receipts(writer.communicate(timeout=120)[0]) for writer in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0)
    with open_log(path) as log:
        logged = {str(seq): msgspec.json.decode(row)["id"] for seq, row in entries(log)}
        assert log.integrity_check() == []
    assert printed[0] | printed[1] == logged
    assert len(logged) == 1800
