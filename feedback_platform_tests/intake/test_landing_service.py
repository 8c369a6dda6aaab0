"""Landing without end: whatever is accepted reaches the lake, exactly once, for every tenant, beside other landings."""

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import polars as pl
import pytest

from feedback_platform.contracts.events import Kind
from feedback_platform.intake.door import Arrival
from feedback_platform.intake.landing import land
from feedback_platform.intake.landing_service import keep_landing, tenants_with_logs
from feedback_platform.intake.sqlite_log import open_log
from feedback_platform.intake.tenants import open_tenant
from feedback_platform.lake import deltalog
from feedback_platform.lake.store import Lake
from feedback_platform.settings import Settings
from feedback_platform_tests.api.serving import eventually
from feedback_platform_tests.builders import inference, thumbs

TABLES = {"raw_inference_logs": "request_id", "raw_feedback": "feedback_id", "dead_letters": "event_id"}


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path, memory_limit="512MB", threads=1)


@contextmanager
def service(settings, seconds=0.0):
    """The service in a thread; gives what it told."""
    told, stop = [], threading.Event()
    errors = []

    def run():
        try:
            keep_landing(settings, seconds, stop, lambda tenant, landed: told.append((tenant, landed)))
        except BaseException as error:
            errors.append(error)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield told
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
        assert errors == []


def send(settings, *events, tenant="default"):
    with open_tenant(settings, tenant) as opened:
        kinds: list[Kind] = ["inference" if "input" in event else "feedback" for event in events]
        opened.door.admit([Arrival(k, msgspec.json.encode(e), "x") for k, e in zip(kinds, events, strict=True)])


def landed(settings, tenant="default"):
    """Table -> ids in it, in the order of their positions."""
    lake = Lake(replace(settings, tenant=tenant).lake)
    found = {}
    for name, column in TABLES.items():
        table = lake.table(name)
        files = [f.path for f in table.snapshot().files] if deltalog.versions(table.folder) else []
        frame = pl.read_parquet(files).sort("log_seq") if files else pl.DataFrame({column: []})
        found[name] = frame[column].to_list()
    return found


def test_what_is_accepted_is_landed_and_what_comes_later_too(settings):
    send(settings, inference("r1"), thumbs("f1"), {**thumbs("bad"), "wrong": 1})
    with service(settings) as told:
        eventually(
            lambda: landed(settings) == {"raw_inference_logs": ["r1"], "raw_feedback": ["f1"], "dead_letters": ["bad"]}
        )
        send(settings, inference("r2"))
        eventually(lambda: landed(settings)["raw_inference_logs"] == ["r1", "r2"])
    assert {tenant for tenant, _ in told} == {"default"}
    assert sum(table.rows for _, tables in told for table in tables) == 4


def test_it_waits_until_an_event_is_old_enough_or_there_are_many(settings):
    patient = replace(settings, land_events=5)
    send(patient, *(inference(f"r{n}") for n in range(4)))
    with service(patient, seconds=3600) as told:
        threading.Event().wait(1.5)
        assert told == []
        send(patient, inference("r4"))
        eventually(lambda: len(landed(patient)["raw_inference_logs"]) == 5)


def test_a_tenant_that_appears_later_is_found(settings):
    send(settings, inference("r1"))
    with service(settings):
        eventually(lambda: landed(settings)["raw_inference_logs"])
        send(settings, inference("r1", text="another's"), tenant="later")
        eventually(lambda: landed(settings, "later")["raw_inference_logs"] == ["r1"])
    assert landed(settings)["raw_inference_logs"] == ["r1"]
    assert [one.tenant for one in tenants_with_logs(settings)] == ["default", "later"]


@pytest.mark.parametrize("trouble", ["log", "lake"])
def test_the_trouble_of_one_tenant_is_not_that_of_another(settings, trouble, caplog):
    """A log that is no database, and a table whose newest commit is no JSON."""
    send(settings, inference("r1"), tenant="broken")
    own = replace(settings, tenant="broken")
    if trouble == "log":
        for path in own.log_path.parent.glob("events.sqlite*"):
            path.write_bytes(b"no database" * 1000)
    else:
        with open_log(own.log_path) as log:
            land(log, Lake(own.lake))
        commits = sorted((own.lake / "raw_inference_logs" / "_delta_log").glob("*.json"))
        commits[-1].write_text("{", encoding="utf-8")
        send(settings, inference("r2"), tenant="broken")
    send(settings, inference("good"), tenant="sound")
    with service(settings) as told:
        eventually(lambda: landed(settings, "sound")["raw_inference_logs"] == ["good"])
        eventually(lambda: "Landing of tenant broken failed" in caplog.text)
        send(settings, inference("later"), tenant="sound")
        eventually(lambda: landed(settings, "sound")["raw_inference_logs"] == ["good", "later"])
    assert {tenant for tenant, _ in told} == {"sound"}


def test_folders_that_are_no_tenants_are_left_alone(settings):
    send(settings, inference("r1"))
    odd = settings.home / "Not-A-Tenant" / "log"
    odd.mkdir(parents=True)
    (odd / "events.sqlite").write_bytes(b"whatever")
    assert [one.tenant for one in tenants_with_logs(settings)] == ["default"]


def test_several_landings_at_once_land_every_event_once(settings):
    """Two services and the command's own landing, while events come in."""
    stop = threading.Event()

    def by_hand(path: Path):
        with open_log(path) as log:
            while not stop.wait(0.05):
                land(log, Lake(settings.lake))

    send(settings, inference("r0"))
    hand = threading.Thread(target=by_hand, args=(settings.log_path,))
    with service(settings), service(settings):
        hand.start()
        for n in range(1, 60):
            send(settings, inference(f"r{n}"), thumbs(f"f{n}"))
        eventually(
            lambda: len(landed(settings)["raw_inference_logs"]) >= 60 <= len(landed(settings)["raw_feedback"]) + 1
        )
        stop.set()
        hand.join(30)
    found = landed(settings)
    assert found["raw_inference_logs"] == [f"r{n}" for n in range(60)]
    assert Counter(found["raw_feedback"]) == Counter(f"f{n}" for n in range(1, 60))


def test_it_ends_when_told_even_with_nothing_to_do(settings):
    began = datetime.now(UTC)
    with service(settings) as told:
        pass
    assert told == []
    assert (datetime.now(UTC) - began).total_seconds() < 10
