"""Golden histories: a stage that gives another result for the same events must say so by its `semantics` number.

`golden/` holds a history, compiled here in two windows under two policies, and the hash of every table's state that it
gives. The hashes do not depend on the engine's version; run this file on DuckDB 1.5 as well as 2.0 before a release.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from feedback_platform.compile.bias import STAGE
from feedback_platform.contracts.stage_tables import STAGE_TABLES
from feedback_platform.stages.graph import stages
from feedback_platform_tests.builders import Event, Line, line

FOLDER = Path(__file__).parent / "golden"
RECORD = "FEEDBACK_RECORD_GOLDEN"
POLICIES: dict[str, dict[str, Any]] = {
    "text": {"select": {"tasks": ["default"]}, "signals": {"toxic": {"better": "lower"}, "note": {"role": "evidence"}}},
    "classes": {
        "data": {"classes": ["no", "yes"]}, "objectives": ["classification", "unpaired"], "maturity": {"after": "1d"},
        "attribution": {"session": "discounted", "version_mismatch": "refuse"},
        "validation": {"action": "review", "burst_rate": 1, "burst_p": 0.01},
        "resolve": {"agreement": 0.6, "disagreement": "review"}, "dedup": {"conflict": "keep"},
        "sample": {"strategy": "stratified", "by": ["label", "task"], "budget": {"total": 12}},
        "split": {"by": "user", "parts": [60, 40]},
    },
}  # fmt: skip
SEMANTICS = {stage.table.name: stage.semantics for stage in (*stages(), STAGE)}
TABLES = [contract.name for contract in STAGE_TABLES]


def events(name: str) -> list[Event]:
    return [json.loads(text) for text in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def compiled(home: Path, policy: dict[str, Any]) -> Line:
    """The history in two windows: even lines first, odd ones later."""
    one = line(home, **policy)
    inferences, feedback = events("inferences"), events("feedback")
    for half in (0, 1):
        assert one.send(inferences[half::2], feedback[half::2]).refused == 0
        one.done()
    return one


def state_of(frame: pl.DataFrame, key: str) -> dict[str, Any]:
    """Rows and SHA-256 over canonical JSON lines in key order, times as microseconds."""
    plain = frame.with_columns(pl.selectors.datetime().dt.epoch("us")).sort(key)
    text = b"\n".join(msgspec.json.encode(row, order="sorted") for row in plain.iter_rows(named=True))
    return {"rows": frame.height, "sha256": hashlib.sha256(text).hexdigest()}


@pytest.fixture(scope="module", params=POLICIES)
def golden(request, tmp_path_factory):
    one = compiled(tmp_path_factory.mktemp(request.param) / "home", POLICIES[request.param])
    states = {c.name: state_of(one.table(c.name), c.key[0]) for c in STAGE_TABLES}
    path = FOLDER / f"{request.param}.json"
    if os.environ.get(RECORD):
        record = {table: {"semantics": SEMANTICS[table], **states[table]} for table in TABLES}
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return one, states, json.loads(path.read_text(encoding="utf-8"))


def complaint(states: dict[str, Any], recorded: dict[str, Any]) -> str | None:
    """What is wrong with the first table that differs, and what to do about it; None when all is well."""
    bumped = [t for t in TABLES if recorded[t]["semantics"] != SEMANTICS[t]]
    record = f"record the new states with {RECORD}=1 pytest {Path(__file__).name}, and commit them with the change"
    if bumped:
        return f"the semantics of {', '.join(bumped)} were bumped: {record}."
    for table in TABLES:
        known = {k: recorded[table][k] for k in ("rows", "sha256")}
        if states[table] != known:
            return (
                f"{table} gives another result for the golden history ({known} before, {states[table]} now), though its "
                f"semantics number is still {SEMANTICS[table]}. If that is not meant, undo it. If it is meant, raise "
                f"`semantics` in its stage by one, so that datasets are compiled anew, and {record}."
            )
    return None


def test_the_same_history_gives_the_recorded_state(golden):
    _, states, recorded = golden
    assert (problem := complaint(states, recorded)) is None, problem


def test_another_result_without_another_number_is_found_at_its_first_table(golden):
    _, states, _ = golden
    recorded = {t: {"semantics": SEMANTICS[t], **states[t]} for t in TABLES}
    assert complaint(states, recorded) is None
    for table in ("validated_pairs", "sampled_dataset"):
        recorded[table] = {**recorded[table], "sha256": "0" * 64}
    assert str(complaint(states, recorded)).startswith("validated_pairs gives another result")
    recorded["enriched_records"]["semantics"] -= 1
    assert str(complaint(states, recorded)).startswith("the semantics of enriched_records were bumped")


def test_the_history_reaches_every_kind_of_row(golden):
    """A golden history guards only what it contains."""
    one, states, _ = golden
    assert min(state["rows"] for state in states.values()) > 0
    assert one.ledger().unaccounted == 0
    held = {name: set(one.table(name)[column]) for name, column in (
        ("attributed_pairs", "status"), ("resolved_examples", "objective"), ("candidate_examples", "state"),
        ("feedback_events", "state"),
    )}  # fmt: skip
    assert held["attributed_pairs"] >= {
        "attributed",
        "retracted",
        "pending",
        "expired",
        "refused",
        "applied",
        "no_effect",
    }
    assert held["resolved_examples"] == set(one.compiler.policy.objectives)
    assert held["feedback_events"] >= {"used", "evidence", "superseded", "invalid", "pending", "refused"}
    assert held["candidate_examples"] >= {"candidate", "duplicate"}


def test_every_key_is_unique(golden):
    one, _, _ = golden
    for contract in STAGE_TABLES:
        frame = one.table(contract.name)
        assert frame.select(contract.key).is_unique().all(), contract.name
