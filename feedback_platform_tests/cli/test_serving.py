"""`feedback serve` as operators run it: what it refuses to start with, how it ends, and its landing process beside it."""

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from feedback_platform.cli import main
from feedback_platform.intake.landing import land
from feedback_platform.intake.sqlite_log import open_log
from feedback_platform.lake import deltalog
from feedback_platform.lake.store import Lake
from feedback_platform.settings import Settings
from feedback_platform_tests.api.serving import Served, eventually, logged, make_key, served
from feedback_platform_tests.builders import inference, thumbs

LANDS = ("--dev", "--land")


def landed(home: Path, tenant: str = "default") -> tuple[list[str], list[str]]:
    """Request and feedback ids in the raw tables, by position."""
    lake = Lake(Settings(home=home, tenant=tenant).lake)
    found = []
    for name, column in (("raw_inference_logs", "request_id"), ("raw_feedback", "feedback_id")):
        table = lake.table(name)
        files = [f.path for f in table.snapshot().files] if deltalog.versions(table.folder) else []
        found.append(pl.read_parquet(files).sort("log_seq")[column].to_list() if files else [])
    return found[0], found[1]


def children(server: Served) -> list[int]:
    """Process ids of the server's children."""
    tasks = Path(f"/proc/{server.process.pid}/task")
    return [int(pid) for path in tasks.glob("*/children") for pid in path.read_text(encoding="ascii").split()]


def alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False


def refused(home: Path, *options: str) -> str:
    """What `feedback serve` says when it does not start; it exits with 2."""
    command = [sys.executable, "-m", "feedback_platform.cli", "--home", str(home), "serve", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_without_keys_it_listens_to_this_machine_only(tmp_path, host):
    found = CliRunner().invoke(main, ["--home", str(tmp_path), "serve", "--dev", "--host", host])
    assert found.exit_code == 2
    assert f"it may not listen on {host}" in found.stderr
    assert list(tmp_path.iterdir()) == [], "nothing was made"


def test_the_broken_configuration_of_one_tenant_stops_no_other(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "tenant.yaml").write_text("limits: {key: 5}", encoding="utf-8")
    make_key(tmp_path, "admin")
    assert said_from_start_to_end(tmp_path).startswith("Tenant shop cannot be opened: ")
    (tmp_path / "shop").rename(tmp_path / "default")
    assert "tenant.yaml" in refused(tmp_path, "--dev", "--port", "0"), "whom alone it serves is another matter"


def test_it_does_not_start_on_a_log_that_is_none(tmp_path):
    log = Settings(home=tmp_path).log_path
    log.parent.mkdir(parents=True)
    log.write_bytes(b"no database" * 1000)
    assert "not a SQLite database" in refused(tmp_path, "--dev", "--port", "0")


def test_a_taken_port_is_named(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"127.0.0.1:{port}" in refused(tmp_path, "--port", str(port))


def said_from_start_to_end(home: Path) -> str:
    """What a server that starts as it should, and is ended, writes to standard error."""
    command = [sys.executable, "-m", "feedback_platform.cli", "--home", str(home), "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "Serving on http://127.0.0.1:" in process.stdout.readline()
    process.terminate()
    return process.communicate(timeout=30)[1]


def test_it_warns_without_keys_and_not_with_one(tmp_path):
    assert "feedback keys create" in said_from_start_to_end(tmp_path)
    make_key(tmp_path, "admin")
    assert said_from_start_to_end(tmp_path) == ""


def test_what_was_sent_before_the_end_is_answered_and_kept(tmp_path):
    """SIGTERM while clients are sending: whoever has a receipt finds the event in the log."""
    receipts: list[str] = []
    with served(tmp_path, "--dev") as server:

        def send(client: int) -> None:
            own = Served(server.home, server.port, server.process)
            with suppress(OSError, HTTPException):  # the server ends somewhere in between
                for n in range(2_000):
                    answer = own.post("/v1/inferences", inference(f"c{client}-{n}"))
                    receipts.extend([answer.json["id"]] if answer.status == 202 else [])
            own.drop()

        clients = [threading.Thread(target=send, args=(n,)) for n in range(3)]
        for client in clients:
            client.start()
        eventually(lambda: len(receipts) > 50)
        server.process.terminate()
        assert server.process.wait(30) in (0, -signal.SIGTERM)
        for client in clients:
            client.join(30)
    assert set(receipts) <= {row["request_id"] for row in logged(tmp_path, "inference")}


def test_with_landing_events_reach_the_lake_within_seconds_and_each_once(tmp_path):
    """Though the landing process is killed, beside a landing by hand, and for a tenant that comes later."""
    key = make_key(tmp_path, "ingest:inference", tenant="later").plain
    stop = threading.Event()

    def by_hand() -> None:
        settings = Settings(home=tmp_path)
        with open_log(settings.log_path) as log:
            while not stop.wait(0.3):
                land(log, Lake(settings.lake))

    with served(tmp_path, *LANDS) as server:
        [killed] = eventually(lambda: children(server))
        os.kill(killed, signal.SIGKILL)
        server.post("/v1/inferences", inference("r0"))
        hand = threading.Thread(target=by_hand)
        hand.start()
        try:
            for n in range(1, 20):
                assert server.post("/v1/batch", [inference(f"r{n}"), thumbs(f"f{n}", f"r{n}")]).status == 202
            eventually(lambda: len(landed(tmp_path)[0]) >= 20)
        finally:
            stop.set()
            hand.join(30)
        server.post("/v1/inferences", inference("r0"), key=key)
        server.post("/v1/inferences", inference("alone"))
        eventually(lambda: landed(tmp_path, "later")[0] == ["r0"], within=20)
        eventually(lambda: landed(tmp_path)[0][-1] == "alone", within=20)
        assert server.get("/v1/events/alone").json["subjects"][0]["kind"] == "inference"
        [child] = children(server)
        assert child != killed, "another was started in its place"
    inferences, feedback = landed(tmp_path)
    assert inferences == [*(f"r{n}" for n in range(20)), "alone"]
    assert feedback == [f"f{n}" for n in range(1, 20)]
    eventually(lambda: not alive(child), within=10)


def test_a_killed_server_takes_its_landing_process_with_it_and_loses_nothing(tmp_path):
    with served(tmp_path, *LANDS) as server:
        for n in range(30):
            assert server.post("/v1/inferences", inference(f"r{n}")).status == 202
        [child] = children(server)
        assert alive(child)
        server.kill()
    eventually(lambda: not alive(child), within=15)
    with served(tmp_path, *LANDS) as again:
        again.post("/v1/inferences", inference("r30"))
        eventually(lambda: len(landed(tmp_path)[0]) >= 31, within=20)
    assert landed(tmp_path)[0] == [f"r{n}" for n in range(31)]
