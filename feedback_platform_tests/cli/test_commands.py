"""The commands on a real home that holds an event in every state; what changes a home works on a copy of it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from feedback_platform.cli import main
from feedback_platform.compile.ledger import take_ledger
from feedback_platform.compile.window import Compiler, cut, run_table
from feedback_platform.contracts.policies import resolve_policy
from feedback_platform.settings import Settings
from feedback_platform_tests.builders import inference, thumbs
from feedback_platform_tests.cli.events import (
    POLICY,
    compiled_home,
    inferences,
    judgements,
    project,
    write_lines,
)

HEAVY = ("duckdb", "polars", "deltalake", "dagster", "pyarrow", "pandera", "rich", "apsw", "yaml")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    project(folder / "project")
    compiled_home(folder / "home")
    return folder


@pytest.fixture(autouse=True)
def environment(base, monkeypatch):
    monkeypatch.setenv("FEEDBACK_PROJECTS", str(base / "project"))
    monkeypatch.setenv("FEEDBACK_THREADS", "1")
    monkeypatch.delenv("FEEDBACK_TENANT", raising=False)


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    """A home of one's own, with the warehouse for it."""
    shutil.copytree(base / "home", tmp_path / "home")
    # The base was filled without pseudonyms, so that tests can name its raters.
    (tmp_path / "home" / "default" / "tenant.yaml").write_text("privacy: {pseudonymise: []}\n")
    assert run(tmp_path / "home", "upkeep").exit_code == 0
    return tmp_path / "home"


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments], catch_exceptions=False)


def facts(home: Path, *arguments: str, code: int = 0):
    result = run(home, *arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def compiler(home: Path) -> Compiler:
    return Compiler(Settings(home=home, memory_limit="512MB", threads=1), resolve_policy(POLICY))


def test_help_loads_nothing_heavy():
    code = f"import sys, feedback_platform.cli; print([m for m in {HEAVY!r} if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_every_command_explains_itself():
    for name, command in main.commands.items():
        assert command.help, name
        assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0


def test_status_accounts_for_every_event(base):
    told = facts(base / "home", "status")
    one = told["datasets"]["d"]
    assert told["unaccounted"] == 0
    assert told["logs"]["feedback"] == {
        "accepted": len(judgements()) + 1,
        "landed": len(judgements()) + 1,
        "waiting": 0,
    }
    assert one["inference"]["sum"] == one["inference"]["accepted"] == len(inferences())
    assert one["feedback"]["states"]["no_effect"] == 1
    assert one["feedback"]["reasons"]["invalid"] == {"empty_correction": 1, "adjudicated_invalid": 1}
    table = run(base / "home", "status", "d").stdout
    assert "precedes_inference" in table
    assert "Unaccounted: 0." in table


def test_status_counts_what_waits(copy, tmp_path):
    write_lines(tmp_path / "more.jsonl", inference("later", text="later"))
    assert run(copy, "import", "jsonl", "--inferences", str(tmp_path / "more.jsonl")).exit_code == 0
    told = facts(copy, "status")
    assert told["logs"]["inference"]["waiting"] == 1
    assert told["datasets"]["d"]["inference"]["not_yet_compiled"] == 1
    assert told["unaccounted"] == 0


def test_status_looks_past_a_half_done_window(copy, tmp_path):
    """The ledger of the last closed window does not see rows that an open one has already written."""
    write_lines(tmp_path / "more.jsonl", thumbs("f-more", "silent", rater="ann"))
    run(copy, "import", "jsonl", "--feedback", str(tmp_path / "more.jsonl"))
    run(copy, "land")
    work = compiler(copy)
    manifest = cut(work, trigger="test")
    assert manifest is not None
    run_table(work, manifest, "attributed_pairs")
    told = facts(copy, "status", "d")
    assert (told["datasets"]["d"]["window"], told["datasets"]["d"]["open_window"]) == (1, 2)
    assert told["unaccounted"] == 0
    last = work.store.last_closed()
    assert last is not None
    with work.engine() as engine:
        assert take_ledger(work.lake, last, engine).unaccounted == 0
    assert "resumes it" in run(copy, "doctor").stdout
    assert facts(copy, "compile", "d", "--abandon") == {"abandoned": 2}
    assert "no open window" in run(copy, "compile", "d", "--abandon").stdout


def test_an_import_tells_what_it_refused_and_exits_with_one(tmp_path):
    good, bad = inference("r1"), json.dumps({**inference("r2"), "modl": "x"})
    path = write_lines(tmp_path / "i.jsonl", good, bad, "not json")
    result = run(tmp_path / "home", "import", "jsonl", "--inferences", str(path))
    assert result.exit_code == 1
    assert "field_unknown" in result.stdout
    assert "feedback dead-letters list" in result.stdout
    again = facts(tmp_path / "home", "import", "jsonl", "--inferences", str(path), code=1)
    assert (again["inferences_accepted"], again["duplicates"], again["refused"]) == (0, 1, 2)
    assert again["by_reason"] == {"field_unknown": 1, "json_invalid": 1}


def test_a_mistake_is_one_line_on_stderr_with_the_next_step(base, tmp_path):
    for arguments, words in (
        (("compile", "nope"), "no dataset 'nope'"),
        (("export", "d", "--format", "xml"), "Formats: parquet"),
        (("export", "d", "--format", "dpo"), "has no examples for the objective 'preference'"),
        (("diff", "d", "2", "1"), "Name the earlier version first"),
        (("diff", "d", "1", "9"), "Published versions: 1"),
        (("plan", "d", "--set", "resolve.agrement=0.8"), "agrement"),
        (("plan", "d", "--set", "nonsense"), "Write PATH=VALUE"),
        (("import", "jsonl", "--feedback", str(tmp_path / "missing")), "is not a file"),
    ):
        result = run(base / "home", *arguments)
        assert result.exit_code == 2, arguments
        assert words in result.stderr, arguments
        assert "Traceback" not in result.output


def test_a_second_compile_has_nothing_to_do(copy):
    result = run(copy, "compile", "d")
    assert (result.exit_code, "Nothing new to compile for d" in result.stdout) == (0, True)
    assert facts(copy, "compile", "d")["outcome"] == "nothing_new"
    assert facts(copy, "compile", "d", "--dry-run")["nothing_to_do"]
    assert "Nothing to land" in run(copy, "land").stdout


def test_late_feedback_makes_a_second_version_that_can_be_told_apart(copy, tmp_path):
    before = facts(copy, "versions", "d")
    write_lines(tmp_path / "late.jsonl", thumbs("f-change", "used", up=False, rater="ann", minute=200))
    assert run(copy, "import", "jsonl", "--feedback", str(tmp_path / "late.jsonl")).exit_code == 0
    assert "1 accepted events are not landed yet and not part of this." in run(copy, "plan", "d").stdout
    made = facts(copy, "compile", "d", "--trigger", "late")
    assert (made["outcome"], made["version"], made["trigger"]) == ("published", 2, "late")
    assert made["changes"] == {"add": 0, "update": 0, "remove": 1}
    after = facts(copy, "versions", "d")
    assert after[0] == before[0]
    diff = facts(copy, "diff", "d", "1", "2")
    assert [(c["change"], c["reason"], c["examples"]) for c in diff["counts"]] == [("remove", "disagreement", 1)]
    assert diff["samples"][0]["request_id"] == "used"
    assert (copy / "default" / "exports" / "d" / "v2" / "parquet" / "manifest.json").is_file()
    assert (copy / "default" / "reports" / "d" / "v2.html").is_file()
    yanked = facts(copy, "yank", "d", "2", "--why", "wrong thumbs")
    assert yanked["yanked"] == "wrong thumbs"
    assert facts(copy, "export", "d", "--format", "parquet", "--out", str(tmp_path / "x"))["version"] == 1
    assert facts(copy, "rebuild", "d", "--verify")["equal"]


def test_plan_tells_another_policy_and_writes_nothing(base):
    told = facts(base / "home", "plan", "d", "--set", "sample.budget=all", "--set", "maturity.after=0d")
    assert told["policy_changes"]["maturity.after"] == ["1d", "0d"]
    assert told["policy_changes"]["sample.budget"][1] == "all"
    assert told["changes"]["unpaired"]["add"] > 0
    assert facts(base / "home", "plan", "d")["nothing_to_do"]


def test_config_says_where_each_value_comes_from(base):
    told = facts(base / "home", "config", "d")
    assert told["policy"]["maturity"]["after"] == "1d"
    assert told["origins"]["maturity.after"] == f"given in {base / 'project' / 'defs.yaml'}"
    assert told["origins"]["maturity.absence"] == "default"
    import yaml

    assert yaml.safe_load(run(base / "home", "config", "d").stdout) == told["policy"]


def test_explain_follows_an_event_through_log_and_lake(copy, tmp_path):
    write_lines(tmp_path / "more.jsonl", thumbs("f-more", "silent", rater="ann"))
    run(copy, "import", "jsonl", "--feedback", str(tmp_path / "more.jsonl"))
    assert "not landed in the lake yet" in run(copy, "explain", "f-more").stdout
    run(copy, "land")
    assert "In d: not_compiled" in run(copy, "explain", "f-more", "--dataset", "d").stdout
    run(copy, "compile", "d")
    assert "In d: used" in run(copy, "explain", "f-more", "--dataset", "d").stdout
    assert facts(copy, "explain", "silent")["subjects"][0]["stories"][0]["state"] in ("in_dataset", "sampled_out")
    assert run(copy, "explain", "nobody-knows").exit_code == 2


def test_a_query_reads_the_lake_and_nothing_else(copy, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    rows = facts(
        copy, "query", "SELECT state, count(*) AS n FROM d.feedback_events GROUP BY ALL ORDER BY n DESC, state"
    )
    assert rows[0]["state"] == "used"
    assert run(copy, "query", "SELECT 1 AS a, TIMESTAMPTZ '2026-01-01 00:00:00Z' AS t", "--csv").stdout == (
        "a,t\n1,2026-01-01T00:00:00+00:00\n"
    )
    lake = copy / "default" / "lake"
    for sql in (
        f"SELECT * FROM '{tmp_path / 'secret.csv'}'",
        f"COPY (SELECT 1) TO '{lake / 'x.csv'}'",
        f"EXPLAIN ANALYZE COPY (SELECT 1) TO '{lake / 'x.csv'}'",
        "SET enable_external_access = true",
        "SELECT 1; SELECT 2",
        "DROP VIEW d.feedback_events",
        "SELECT nonsense",
    ):
        result = run(copy, "query", sql)
        assert result.exit_code == 2, sql
        assert result.stderr.startswith("feedback: "), sql
    assert not (lake / "x.csv").exists()
    assert run(tmp_path / "empty", "query", "SELECT 1").exit_code == 2


def test_doctor_finds_a_damaged_table_and_rebuild_mends_it(copy):
    assert facts(copy, "doctor")["ok"]
    victim = next((copy / "default" / "lake" / "d" / "resolved_examples" / "w000001").rglob("*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-10])
    told = facts(copy, "doctor", code=1)
    (wrong,) = [c for c in told["checks"] if c["status"] == "wrong"]
    assert wrong["name"] == "d/resolved_examples"
    assert "feedback rebuild d" in wrong["next_step"]
    assert facts(copy, "rebuild", "d")["replaced"]
    assert facts(copy, "doctor")["ok"]
    assert facts(copy, "status")["unaccounted"] == 0
    assert facts(copy, "compile", "d")["outcome"] == "nothing_new"


def test_doctor_sees_an_older_log(copy):
    for path in (copy / "default" / "log").iterdir():
        path.unlink()
    from feedback_platform.intake.sqlite_log import open_log

    open_log(copy / "default" / "log" / "events.sqlite").close()
    told = facts(copy, "doctor", code=1)
    assert "an older log was put back" in " ".join(c["found"] for c in told["checks"])


def test_commands_on_an_empty_home_create_nothing(tmp_path):
    home = tmp_path / "home"
    assert facts(home, "status")["logs"]["inference"] == {"accepted": 0, "landed": 0, "waiting": 0}
    assert facts(home, "versions", "d") == []
    assert facts(home, "doctor")["ok"]
    assert "Nothing to keep up" in run(home, "upkeep").stdout
    assert run(home, "explain", "x").exit_code == 2
    assert "never compiled" in run(home, "status", "d").stdout
    assert not home.exists()


def test_init_makes_a_dataset_that_is_found_and_never_overwrites(tmp_path, monkeypatch):
    monkeypatch.setenv("FEEDBACK_PROJECTS", "")
    home = tmp_path / "home"
    assert run(home, "init", str(tmp_path / "My-Bot")).exit_code == 0
    told = facts(home, "config", "my_bot")
    assert told["policy"]["select"]["models"] == ["my-bot"]
    again = run(home, "init", str(tmp_path / "My-Bot"))
    assert (again.exit_code, "not overwritten" in again.stderr) == (2, True)
    twice = run(home, "init", str(tmp_path / "other"), "--name", "my_bot")
    assert (twice.exit_code, "Choose another with --name" in twice.stderr) == (2, True)
    assert not (tmp_path / "other").exists()


def test_the_home_option_wins_over_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("FEEDBACK_HOME", str(tmp_path / "one"))
    assert facts(tmp_path / "two", "status")["home"] == str(tmp_path / "two")
    result = CliRunner().invoke(main, ["status", "--json"])
    assert json.loads(result.stdout)["home"] == str(tmp_path / "one")
    assert os.environ["FEEDBACK_HOME"] == str(tmp_path / "one")


def test_upkeep_merges_files_and_changes_nothing_else(copy, tmp_path, monkeypatch):
    monkeypatch.setattr("feedback_platform.compile.upkeep.MIN_FILES", 2)
    write_lines(tmp_path / "late.jsonl", thumbs("f-change", "used", up=False, rater="ann", minute=200))
    run(copy, "import", "jsonl", "--feedback", str(tmp_path / "late.jsonl"))
    run(copy, "compile", "d")
    before = [facts(copy, *c) for c in (("status", "d"), ("diff", "d", "1", "2"), ("explain", "used"))]
    done = facts(copy, "upkeep")
    assert done["files_merged"] > done["files_written"] > 0
    assert [facts(copy, *c) for c in (("status", "d"), ("diff", "d", "1", "2"), ("explain", "used"))] == before
    assert facts(copy, "query", "SELECT count(*) AS n FROM d_at(1)") != facts(
        copy, "query", "SELECT count(*) AS n FROM d_at(2)"
    )
    assert facts(copy, "doctor")["ok"]


@pytest.mark.slow
def test_the_demo_tells_the_same_twice(tmp_path):
    command = [sys.executable, "-c", "from feedback_platform.cli import main; main()", "--home", str(tmp_path), "demo"]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "published version 2" in first.stdout
    assert second.stdout.count("nothing new to compile") == 2
    for told in (first.stdout, second.stdout):
        assert "Unaccounted for: 0." in told
        assert "What changed from version 1 to version 2" in told
    told_twice = [text.split("What became of every event")[1] for text in (first.stdout, second.stdout)]
    assert told_twice[0] == told_twice[1]
