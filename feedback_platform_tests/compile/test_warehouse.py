"""The analysts' warehouse: documented views over the lake, every version by number, replaced under open readers."""

import json
import subprocess
import sys

import duckdb
import pytest

from feedback_platform.compile.reading import load_dataset
from feedback_platform.compile.warehouse import rebuild_warehouse
from feedback_platform_tests.publish.builders import NOON, Book, pair, sft, thumb


@pytest.fixture
def book(tmp_path):
    return Book(tmp_path / "home")


def ask(book: Book, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(book.settings.warehouse), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_views_show_the_newest_version_and_any_other_by_number(book):
    book.publish([sft("a"), sft("b")])
    book.publish([sft("a", target="2"), pair("p"), thumb("t", True)])
    rebuild_warehouse(book.settings, book.lake)
    assert ask(book, "SELECT example_id FROM bot.sampled_dataset ORDER BY 1") == [("a",), ("p",), ("t",)]
    assert ask(book, "SELECT example_id FROM bot.at(1) ORDER BY 1") == [("a",), ("b",)]
    assert ask(book, "SELECT example_id, row_hash FROM bot_at(2) ORDER BY 1") == [
        tuple(r) for r in load_dataset("bot", 2, settings=book.settings).collect()[["example_id", "row_hash"]].rows()
    ]
    assert ask(book, "SELECT * FROM bot.at(9)") == []
    changes = "SELECT version, op, op_reason FROM bot.sampled_dataset_changes WHERE example_id = 'b' ORDER BY version"
    assert ask(book, changes) == [
        (1, "add", "new"),
        (2, "remove", "retracted"),
    ]
    assert ask(book, "SELECT prompt, completion, sample_weight FROM bot.train_sft") == [('"Hi"', '"2"', 1.0)]
    assert ask(book, "SELECT label FROM bot.train_kto") == [(True,)]
    assert ask(book, "SELECT chosen FROM bot.train_dpo") == [('"Hello"',)]
    assert ask(book, "SELECT * FROM bot.train_classification") == []


def test_versions_are_listed_and_yanked_ones_passed_over(book):
    book.publish([sft("a")])
    book.publish([sft("a"), sft("blocked")], status="blocked")
    book.yank(book.publish([sft("bad")]))
    book.publish([sft("open")], status="open")
    rebuild_warehouse(book.settings, book.lake)
    listed = ask(book, 'SELECT version, "window", trigger, yanked, state_hash FROM bot.dataset_versions ORDER BY 1')
    assert listed == [(1, 1, "manual", None, "5" * 64), (2, 3, "manual", "a bad day", "5" * 64)]
    assert ask(book, "SELECT example_id FROM bot.sampled_dataset") == [("a",)]
    assert ask(book, 'SELECT max("window") FROM bot.sampled_dataset_changes') == [(3,)]


def test_attribution_and_doubt_have_views_of_their_own(book):
    book.put("attributed_pairs", [judged("p1"), judged("p2", status="expired", reason="expired")])
    doubtful = {"verdict": "requires_human_review", "reasons": "burst", "decided_by": "rule", "trust_ppm": 0}
    clean = {"verdict": "valid", "reasons": "", "decided_by": "rule", "trust_ppm": 1}
    book.put("validated_pairs", [judged("p1", **clean), judged("p3", **doubtful)])
    unsure = {"state": "in_review", "reason": "disagreement", "unit": "inference", "unit_key": "r1", "evidence": []}
    example = {"example_id": "e1", "objective": "sft", "criterion": "overall", "request_id": "r1"}
    book.put(
        "resolved_examples", [{**example, **unsure}, {**example, **unsure, "example_id": "e2", "state": "resolved"}]
    )
    book.publish([sft("a")])
    rebuild_warehouse(book.settings, book.lake)
    assert ask(book, "SELECT pair_id FROM bot.attributed_pairs") == [("p1",)]
    assert ask(book, "SELECT pair_id, reason FROM bot.unattributed_feedback") == [("p2", "expired")]
    assert ask(book, "SELECT pair_id FROM bot.attributed_pairs_changes ORDER BY 1") == [("p1",), ("p2",)]
    assert ask(book, "SELECT subject, subject_id, reasons FROM bot.review_queue ORDER BY 2") == [
        ("example", "e1", "disagreement"),
        ("feedback", "p3", "burst"),
    ]


def judged(pair_id: str, **columns: object) -> dict[str, object]:
    return {
        "pair_id": pair_id, "feedback_id": pair_id, "request_id": "r1", "status": "attributed", "flags": "",
        "target_kind": "request", "target_key": "r:r1/request:",
        "weight_ppm": 1_000_000, "feedback_type": "thumbs", "name": "overall", "source_kind": "human",
        "can_review": False, "feedback_at": NOON, **columns,
    }  # fmt: skip


def test_a_lake_without_versions_has_empty_typed_views(book):
    book.publish([sft("a")], status="open")
    rebuild_warehouse(book.settings, book.lake)
    for view in ("sampled_dataset", "train_sft", "dataset_versions", "review_queue", "unattributed_feedback"):
        assert ask(book, f"SELECT * FROM bot.{view}") == []
    assert ask(book, "SELECT * FROM raw_feedback") == []
    assert not (book.settings.lake / "raw_feedback").exists()  # looking makes no table


def test_every_view_and_column_is_documented_and_no_data_is_inside(book):
    book.publish([sft("a")])
    path = rebuild_warehouse(book.settings, book.lake)
    undocumented = (
        "SELECT schema_name, {} FROM {} WHERE comment IS NULL AND NOT internal AND database_name = 'warehouse'"
    )
    assert ask(book, undocumented.format("view_name", "duckdb_views()")) == []
    assert ask(book, undocumented.format("table_name || '.' || column_name", "duckdb_columns()")) == []
    assert ask(book, "SELECT count(*) FROM duckdb_tables()") == [(0,)]
    [(label,)] = ask(
        book, "SELECT comment FROM duckdb_columns() WHERE table_name = 'train_kto' AND column_name = 'label'"
    )
    assert "boolean" in str(label)
    assert sorted(p.name for p in path.parent.iterdir()) == [".warehouse.lock", "lake", "warehouse.duckdb"]


READER = """
import json, subprocess, sys, time, duckdb
path, stop = sys.argv[1], float(sys.argv[2])
held = duckdb.connect(path, read_only=True)
print("ready", flush=True)
newcomer = '''
import duckdb, sys
c = duckdb.connect(sys.argv[1], read_only=True)
newest = "SELECT max(version) FROM bot.dataset_versions"
print(*c.execute(f"SELECT ({newest}), count(*) FROM bot.sampled_dataset").fetchone())
'''
end, seen = time.monotonic() + stop, []
while time.monotonic() < end:
    assert held.execute("SELECT max(version) FROM bot.dataset_versions").fetchall() == [(1,)]
    assert held.execute("SELECT count(*) FROM bot.sampled_dataset").fetchall() == [(1,)]
    run = subprocess.run([sys.executable, "-c", newcomer, path], check=True, capture_output=True, text=True)
    seen.append([int(n) for n in run.stdout.split()])
print(json.dumps(seen), flush=True)
"""


def test_an_open_handle_keeps_the_bytes_it_opened(book):
    book.publish([sft("a")])
    path = rebuild_warehouse(book.settings, book.lake)
    with path.open("rb") as held:
        before = path.read_bytes()
        book.publish([sft("b")])
        rebuild_warehouse(book.settings, book.lake)
        assert held.read() == before
    assert path.read_bytes() != before


def test_readers_go_on_while_it_is_replaced_and_new_ones_see_the_new(book):
    book.publish([sft("0")])
    path = rebuild_warehouse(book.settings, book.lake)
    command = [sys.executable, "-c", READER, str(path), "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        version = 1
        while reader.poll() is None and version < 40:
            version += 1
            book.publish([sft(str(i)) for i in range(version)])
            rebuild_warehouse(book.settings, book.lake)
        out, err = reader.communicate(timeout=60)
    assert reader.returncode == 0, err
    seen = json.loads(out)
    assert len({number for number, _ in seen}) > 1, "no new reader met a rebuild"
    assert seen == sorted(seen), "a later reader saw an earlier version"
    assert all(number == rows for number, rows in seen), "a reader saw views of two versions in one file"
    assert ask(book, "SELECT max(version) FROM bot.dataset_versions") == [(version,)]
