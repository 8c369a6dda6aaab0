"""MLflow, Phoenix and this project under the same events on this machine: rates, sync calls, and what survives a kill.

    python benchmarks/peers.py [--only mlflow,phoenix,ours] [--mlflow-venv DIR] [--phoenix-venv DIR] [--json FILE]

Prints a table and, with `--json`, writes the numbers. About five minutes, and a gigabyte of disk where the venvs must be
made first. Loopback only; client and server share the machine, which depresses every number. `acked` ends when the last
answer has come, `readable` when the server's own files show every event, so only `readable` compares alike. Phoenix is
measured twice for feedback: as its client sends it (queued), and with `sync=true`, which waits for the transaction.

A kill is SIGKILL to every process of the server right after the last answer; then its files are opened and counted. That
is a crash of processes, not of power: what was only handed to the operating system survives it. The sync calls per answer say
who would lose what in a power cut. They are counted by strace, one request at a time, and `n/a` where it cannot be had.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from peers_load import Load, Request, batches, inferences, otlp, send
from peers_servers import Mlflow, Ours, Peer, Phoenix, Running, installed, tracer

MLFLOW, PHOENIX = "mlflow==3.17.2", "arize-phoenix==20.26.1"
INFERENCES, PER_REQUEST = 2_000, 512
FEEDBACK, CLIENTS = 500, 32
TRACED = 10
SETTLE_SECONDS, POLL_SECONDS, UNCHANGED_SECONDS = 60, 0.05, 3.0
SYNC_CALLS = "fsync,fdatasync,sync_file_range,msync"
_CALLED = re.compile(rf"(?:{SYNC_CALLS.replace(',', '|')})\(")


@dataclass(frozen=True)
class Rate:
    """Events per second until the last answer, and until all of them were in the server's files."""

    acked: float
    readable: float | None
    p50_ms: float
    p99_ms: float
    stored: int
    sent: int


@dataclass
class Measured:
    """Everything about one server; None where it was not measured."""

    server: str
    machine_load: float  # processes that wanted to run in the last minute, before this server was started
    start_seconds: float | None = None
    inferences: Rate | None = None
    feedback: Rate | None = None
    feedback_clients: Rate | None = None
    syncs_inference: float | None = None
    syncs_feedback: float | None = None
    survived_feedback: int | None = None
    survived_inferences: int | None = None
    landed: tuple[int, int] | None = None
    land_seconds: float | None = None


def main() -> None:
    """Measure what was asked for."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        work = Path(folder)
        venvs = {name: getattr(options, f"{name}_venv") or work / f"{name}-venv" for name in ("mlflow", "phoenix")}
        results: list[Measured] = []
        for name in options.only:
            results += [_measure(peer, work / peer.name) for peer in _peers(name, venvs)]
        print(_table(results))
        if options.json:
            options.json.write_text(json.dumps([asdict(one) for one in results], indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    known = ("mlflow", "phoenix", "ours")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(known), help="comma-separated")
    parser.add_argument("--mlflow-venv", type=Path, help=f"a venv with {MLFLOW}, made where there is none")
    parser.add_argument("--phoenix-venv", type=Path, help=f"a venv with {PHOENIX}, made where there is none")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    options = parser.parse_args()
    if unknown := set(options.only) - set(known):
        parser.error(f"--only knows {', '.join(known)}, not {', '.join(sorted(unknown))}")
    return options


def _peers(name: str, venvs: dict[str, Path]) -> list[Peer]:
    if name == "mlflow":
        return [Mlflow(installed(venvs[name].absolute(), MLFLOW, "mlflow"))]
    if name == "phoenix":
        venv = installed(venvs[name].absolute(), PHOENIX, "phoenix")
        return [Phoenix(venv), Phoenix(venv, sync=True)]
    return [Ours()]


def _measure(peer: Peer, folder: Path) -> Measured:
    """One server: a run for the rates that ends with a kill after feedback, and a fresh one killed after inferences."""
    result = Measured(peer.title, os.getloadavg()[0])
    events = inferences(INFERENCES)
    requests = [peer.otlp(otlp(batch)) for batch in batches(events, PER_REQUEST)]
    with Running(peer, folder / "rates") as server:
        _progress(peer, f"healthy after {server.start_seconds:.1f} s")
        result.start_seconds = server.start_seconds
        result.inferences = _rate(server, requests, INFERENCES, 0)
        _progress(peer, f"inferences {result.inferences}")
        numbers = iter(range(10**9))

        def thumbs(count: int) -> list[Request]:
            return [peer.feedback(events[n % len(events)], n) for _, n in zip(range(count), numbers, strict=False)]

        result.feedback = _rate(server, thumbs(FEEDBACK), FEEDBACK, 1)
        result.feedback_clients = _rate(server, thumbs(FEEDBACK), FEEDBACK, 1, CLIENTS)
        _progress(peer, f"feedback {result.feedback}, {CLIENTS} clients {result.feedback_clients}")
        others = inferences(TRACED, seed=11)
        result.syncs_inference = _syncs(server, [peer.otlp(otlp([event])) for event in others])
        result.syncs_feedback = _syncs(server, thumbs(TRACED))
        if isinstance(peer, Ours):
            began = time.perf_counter()
            result.landed = peer.landed(server.folder)
            result.land_seconds = time.perf_counter() - began
        before = _settled(server, 1)
        send(server.port, thumbs(FEEDBACK))
        server.kill()
        result.survived_feedback = peer.counts(server.folder)[1] - before
    if not (isinstance(peer, Phoenix) and peer.sync):  # `sync` says nothing about inferences
        with Running(peer, folder / "kill") as server:
            send(server.port, requests)
            server.kill()
            result.survived_inferences = peer.counts(server.folder)[0]
    _progress(peer, f"survived: {result.survived_feedback} feedback, {result.survived_inferences} inferences")
    return result


def _rate(server: Running, requests: Sequence[Request], events: int, place: int, clients: int = 1) -> Rate:
    before = server.peer.counts(server.folder)[place]
    began = time.perf_counter()
    load: Load = send(server.port, requests, clients)
    stored, seconds = _until(lambda: server.peer.counts(server.folder)[place] - before, events, began)
    readable = events / seconds if stored >= events else None
    return Rate(events / load.seconds, readable, load.p50_ms, load.p99_ms, stored, events)


def _until(stored: Callable[[], int], wanted: int, began: float) -> tuple[int, float]:
    """How many were stored in the end, and the seconds until then."""
    while (found := stored()) < wanted and time.perf_counter() - began < SETTLE_SECONDS:
        time.sleep(POLL_SECONDS)
    return found, time.perf_counter() - began


def _settled(server: Running, place: int) -> int:
    """The count, once it has stopped changing."""
    count, since = -1, time.monotonic()
    while time.monotonic() - since < UNCHANGED_SECONDS:
        found = server.peer.counts(server.folder)[place]
        if found != count:
            count, since = found, time.monotonic()
        time.sleep(POLL_SECONDS)
    return count


def _syncs(server: Running, requests: Sequence[Request]) -> float | None:
    """Sync calls per answer, background work within a second and a half of it included."""
    strace = tracer()
    if strace is None:
        return None
    output = server.folder / "strace.out"
    targets = [part for pid in server.pids() for part in ("-p", str(pid))]
    command = [strace, "-f", "-qq", "-e", f"trace={SYNC_CALLS}", "-o", str(output), *targets]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracing:
        time.sleep(1.5)
        if tracing.poll() is not None:  # the kernel may forbid it
            return None
        send(server.port, requests)
        time.sleep(1.5)
        os.kill(tracing.pid, signal.SIGINT)
    return len(_CALLED.findall(output.read_text(encoding="utf-8"))) / len(requests)


def _table(results: Sequence[Measured]) -> str:
    lines = [("", *(one.server for one in results))]
    lines += [
        (f"load of the machine before ({os.cpu_count()} cores)", *(_shown(one.machine_load) for one in results)),
        ("start to healthy, s", *(_shown(one.start_seconds) for one in results)),
        *_rates(f"inferences, OTLP, {PER_REQUEST} per request, {INFERENCES:,}", [one.inferences for one in results]),
        *_rates(f"feedback, 1 client, {FEEDBACK}", [one.feedback for one in results]),
        *_rates(f"feedback, {CLIENTS} clients, {FEEDBACK}", [one.feedback_clients for one in results]),
        ("sync calls per answer: 1 inference", *(_shown(one.syncs_inference) for one in results)),
        ("sync calls per answer: 1 feedback", *(_shown(one.syncs_feedback) for one in results)),
        (f"kill -9 after {FEEDBACK} feedbacks: left", *(_shown(one.survived_feedback) for one in results)),
        (f"kill -9 after {INFERENCES:,} inferences: left", *(_shown(one.survived_inferences) for one in results)),
        ("`feedback land`: s, inferences + feedback then in the lake", *(_landed(one) for one in results)),
    ]
    rule = ("---",) * len(lines[0])
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def _rates(what: str, rates: Sequence[Rate | None]) -> list[tuple[str, ...]]:
    return [
        (f"{what}: acked/s", *(_shown(rate.acked if rate else None) for rate in rates)),
        (f"{what}: **readable/s**", *(_readable(rate) for rate in rates)),
        (f"{what}: p50 / p99 ms", *(f"{rate.p50_ms:.1f} / {rate.p99_ms:.1f}" if rate else "n/a" for rate in rates)),
    ]


def _readable(rate: Rate | None) -> str:
    if rate is not None and rate.readable is None:
        return f"only {rate.stored} of {rate.sent}"
    return _shown(rate.readable if rate else None)


def _landed(one: Measured) -> str:
    if one.landed is None:
        return "n/a"
    return f"{_shown(one.land_seconds)}, {one.landed[0]:,} + {one.landed[1]:,}"


def _shown(value: float | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:,.0f}" if isinstance(value, int) or value >= 100 else f"{value:.1f}"


def _progress(peer: Peer, what: str) -> None:
    print(f"{peer.title}: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
