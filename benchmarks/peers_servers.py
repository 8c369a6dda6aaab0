"""The servers under measurement: how each is installed, started, fed and counted, and how all of them are stopped.

Counts are read from a server's own files, never asked of it. Only processes of sessions started here are ended.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from peers_load import JSON, PROTOBUF, Inference, Request

START_SECONDS = 120
QUIET_CPU, QUIET_SECONDS, QUIET_LIMIT = 0.15, 1.5, 40
TICKS = os.sysconf("SC_CLK_TCK")


class Peer(Protocol):
    """What the measurement needs to know of a server."""

    @property
    def name(self) -> str:
        """Ours for it."""
        ...

    @property
    def title(self) -> str:
        """Its column in the table."""
        ...

    @property
    def health(self) -> str:
        """Path that answers once it is up."""
        ...

    def command(self, port: int, folder: Path) -> tuple[list[str], dict[str, str]]:
        """How to start it with its state in `folder`, and the environment that it wants besides."""
        ...

    def otlp(self, body: bytes) -> Request:
        """The request that takes an OTLP export."""
        ...

    def feedback(self, event: Inference, number: int) -> Request:
        """The request that takes a thumb, with an id made of the number where it takes one."""
        ...

    def counts(self, folder: Path) -> tuple[int, int]:
        """Stored inferences and feedback, from its files."""
        ...


def _rows(path: Path, *tables: str) -> tuple[int, ...]:
    if not path.is_file():
        return (0,) * len(tables)
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as database:
        return tuple(int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) for table in tables)


@dataclass(frozen=True)
class Mlflow:
    """MLflow's tracking server on SQLite, one worker, no jobs: its leanest and, for one client, its quickest way."""

    venv: Path
    name: str = "mlflow"
    title: str = "MLflow"
    health: str = "/health"

    def command(self, port: int, folder: Path) -> tuple[list[str], dict[str, str]]:
        command = [str(self.venv / "bin" / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
        command += ["--default-artifact-root", str(folder / "artifacts")]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        # Its launcher starts `uvicorn` by name, so the venv comes first on the path.
        path = f"{self.venv / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        return command, {**quiet, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PATH": path}

    def otlp(self, body: bytes) -> Request:
        return Request("/v1/traces", {**PROTOBUF, "x-mlflow-experiment-id": "0"}, body)

    def feedback(self, event: Inference, number: int) -> Request:
        trace_id = f"tr-{event.trace_id.hex()}"
        assessment = {
            "assessment_name": "thumbs", "trace_id": trace_id, "feedback": {"value": number % 3 > 0},
            "source": {"source_type": "HUMAN", "source_id": f"rater-{number}"},
        }  # fmt: skip
        body = json.dumps({"assessment": assessment}).encode()
        return Request(f"/api/3.0/mlflow/traces/{trace_id}/assessments", JSON, body)

    def counts(self, folder: Path) -> tuple[int, int]:
        inferences, feedback = _rows(folder / "mlflow.db", "spans", "assessments")
        return inferences, feedback


@dataclass(frozen=True)
class Phoenix:
    """Phoenix on SQLite; `sync` waits for the transaction of a feedback, the default only queues it."""

    venv: Path
    sync: bool = False
    health: str = "/healthz"

    @property
    def name(self) -> str:
        """Ours for it."""
        return "phoenix_sync" if self.sync else "phoenix"

    @property
    def title(self) -> str:
        """Name in the table."""
        return "Phoenix, `sync=true`" if self.sync else "Phoenix, default"

    def command(self, port: int, folder: Path) -> tuple[list[str], dict[str, str]]:
        settings = {
            "HOST": "127.0.0.1", "PORT": str(port), "GRPC_PORT": str(free_port()), "WORKING_DIR": str(folder),
            "TELEMETRY_ENABLED": "false", "ALLOW_EXTERNAL_RESOURCES": "false",
        }  # fmt: skip
        return [str(self.venv / "bin" / "phoenix"), "serve"], {f"PHOENIX_{k}": v for k, v in settings.items()}

    def otlp(self, body: bytes) -> Request:
        return Request("/v1/traces", PROTOBUF, body)

    def feedback(self, event: Inference, number: int) -> Request:
        up = number % 3 > 0
        annotation = {
            "span_id": event.span_id.hex(), "name": "thumbs", "annotator_kind": "HUMAN",
            "identifier": f"rater-{number}",
            "result": {"label": "thumbs-up" if up else "thumbs-down", "score": float(up)},
        }  # fmt: skip
        path = "/v1/span_annotations" + ("?sync=true" if self.sync else "")
        return Request(path, JSON, json.dumps({"data": [annotation]}).encode())

    def counts(self, folder: Path) -> tuple[int, int]:
        inferences, feedback = _rows(folder / "phoenix.db", "spans", "span_annotations")
        return inferences, feedback


@dataclass(frozen=True)
class Ours:
    """`feedback serve`: stored is what its event log holds, landed what `feedback land` brought into the lake."""

    name: str = "ours"
    title: str = "feedback_platform"
    health: str = "/healthz"

    def command(self, port: int, folder: Path) -> tuple[list[str], dict[str, str]]:
        return [*self._cli(folder), "serve", "--dev", "--port", str(port)], {}

    def otlp(self, body: bytes) -> Request:
        return Request("/v1/traces", PROTOBUF, body)

    def feedback(self, event: Inference, number: int) -> Request:
        feedback = {
            "feedback_id": f"bench-{number}", "request_id": f"{event.trace_id.hex()}-{event.span_id.hex()}",
            "feedback_type": "thumbs", "feedback_value": {"up": number % 3 > 0}, "source": {"id": f"rater-{number}"},
        }  # fmt: skip
        return Request("/v1/feedback", JSON, json.dumps(feedback).encode())

    def counts(self, folder: Path) -> tuple[int, int]:
        """From the log, which is what landing reads."""
        inferences, feedback = _rows(folder / "default" / "log" / "events.sqlite", "inference", "feedback")
        return inferences, feedback

    def landed(self, folder: Path) -> tuple[int, int]:
        """Rows of the raw tables in the lake after `feedback land`, from their Delta logs."""
        from deltalake import DeltaTable

        subprocess.run([*self._cli(folder), "land"], check=True, capture_output=True, env=environment({}))
        lake = folder / "default" / "lake"
        files = [
            DeltaTable(lake / table).get_add_actions(flatten=True) for table in ("raw_inference_logs", "raw_feedback")
        ]
        inferences, feedback = (sum(actions["num_records"].to_pylist()) for actions in files)
        return inferences, feedback

    def _cli(self, folder: Path) -> list[str]:
        return [sys.executable, "-m", "feedback_platform.cli", "--home", str(folder)]


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Ours, with bytecode written: without it a start compiles everything again."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **more}


def installed(venv: Path, requirement: str, program: str) -> Path:
    """A venv with the requirement, made where there is none."""
    if not (venv / "bin" / program).exists():
        print(f"installing {requirement} into {venv}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "-q", "--compile", requirement]
        subprocess.run(pip, check=True, env=environment({}))
    return venv


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Running:
    """A started server; everything of its session ends with `kill`."""

    peer: Peer
    folder: Path
    port: int = field(default_factory=free_port)

    def __enter__(self) -> "Running":
        self.folder.mkdir(parents=True, exist_ok=True)
        command, more = self.peer.command(self.port, self.folder)
        self._log = (self.folder / "server.out").open("wb")
        self._process = subprocess.Popen(
            command, env=environment(more), cwd=self.folder if self.peer.name != "ours" else None,
            stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        began = time.perf_counter()
        try:
            self._wait_healthy()
            self.start_seconds = time.perf_counter() - began
            self._wait_quiet()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """SIGKILL to every process of the server's session."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        while self.pids():
            time.sleep(0.01)
        self._log.close()

    def pids(self) -> list[int]:
        """Processes of the session, zombies aside."""
        return [pid for pid, _ in self._processes()]

    def cpu_seconds(self) -> float:
        """User and system time of the session's processes."""
        return sum(ticks for _, ticks in self._processes()) / TICKS

    def _processes(self) -> list[tuple[int, int]]:
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[3]) == self._process.pid and fields[0] != "Z":
                    found.append((int(path.parent.name), int(fields[11]) + int(fields[12])))
        return found

    def _wait_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError, urllib.error.URLError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}{self.peer.health}", timeout=5).close()
                return
            time.sleep(0.02)
        tail = (self.folder / "server.out").read_bytes()[-1500:].decode(errors="replace")
        raise SystemExit(f"{self.peer.title} did not become healthy. Its last words:\n{tail}")

    def _wait_quiet(self) -> None:
        deadline = time.monotonic() + QUIET_LIMIT
        before = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(QUIET_SECONDS)
            now = self.cpu_seconds()
            if now - before < QUIET_CPU:
                return
            before = now


def tracer() -> str | None:
    """The path of strace, installed with apt where it is missing and that is allowed; None where it cannot be had."""
    if shutil.which("strace") is None and shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "install", "-y", "-q", "strace"], capture_output=True, check=False)
    return shutil.which("strace")
