"""How much the HTTP door takes in, against the least that a durable answer costs, in one run on one machine.

    python benchmarks/intake.py single          # single posts from 64 connections: ours, ours without durability, bare ASGI
    python benchmarks/intake.py batch           # NDJSON batches of 1 KB events
    python benchmarks/intake.py flat --events 2000000    # memory while events stream in
    python benchmarks/intake.py frameworks      # bare, Starlette, Litestar, FastAPI over the same durable append
    python benchmarks/peers.py                  # MLflow and Phoenix on the same events, stored and readable

Rounds of the compared servers alternate, each in a process of its own beside the load generator; the figures are medians of
the rounds, and the ones to quote are ratios.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvloop

SERVERS = Path(__file__).with_name("intake_servers.py")
CONNECTIONS = 64
WORDS = 6_000


class Maker:
    """Seeded inferences of about 1 KB, all ids different."""

    def __init__(self, seed: int = 7) -> None:
        chance = random.Random(seed)
        letters = "abcdefghijklmnopqrstuvwxyz"
        words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(WORDS)]
        self.texts = [" ".join(chance.choices(words, k=70)) for _ in range(500)]
        self.run = f"{chance.getrandbits(48) ^ time.time_ns() & 0xFFFFFFFFFFFF:012x}"
        self.n = 0

    def event(self) -> bytes:
        """The next one, as JSON."""
        self.n += 1
        n, texts = self.n, self.texts
        return msgspec.json.encode({
            "request_id": f"{n:08x}-0000-7000-8000-{self.run}",
            "timestamp": "2026-11-20T10:00:00Z", "model": "support-bot", "model_version": "v7",
            "input": {"messages": [{"role": "user", "content": texts[n * 7 % 500][:330]}]},
            "output": texts[n * 13 % 500][:400], "session_id": f"session-{n // 4}", "user_id": f"user-{n % 900}",
            "confidence": 0.71, "segments": {"region": "eu", "tier": "free"},
        })  # fmt: skip


@contextmanager
def server(which: str, home: Path) -> Iterator[tuple[int, int]]:
    """A server process; its port and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(SERVERS), which, str(port), str(home)])
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{which} did not start") from None
                time.sleep(0.05)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def request(path: str, body: bytes, kind: str = "application/json") -> bytes:
    """A whole HTTP request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection(asyncio.Protocol):
    """Sends one request after the other and times each from sending to the last byte of its answer."""

    def __init__(self, requests: Iterator[bytes], seconds: list[float], done: asyncio.Future[None]) -> None:
        self.requests, self.seconds, self.done = requests, seconds, done
        self.buffer = b""
        self.began = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.next()

    def next(self) -> None:
        """The next request, or the end."""
        message = next(self.requests, None)
        if message is None:
            self.transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        self.began = time.perf_counter()
        self.transport.write(message)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        if not head.startswith(b"HTTP/1.1 202"):
            self.done.set_exception(RuntimeError(self.buffer[:600].decode(errors="replace")))
            return
        self.seconds.append(time.perf_counter() - self.began)
        self.buffer = b""
        self.next()


async def load(port: int, requests: Iterator[bytes], connections: int) -> tuple[float, list[float]]:
    """Send all requests over so many connections; whole seconds, and the seconds of each."""
    loop = asyncio.get_running_loop()
    seconds: list[float] = []
    ends = [loop.create_future() for _ in range(connections)]
    began = time.perf_counter()
    for end in ends:
        await loop.create_connection(lambda end=end: Connection(requests, seconds, end), "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*ends)
    return time.perf_counter() - began, seconds


def measure(port: int, requests: list[bytes], connections: int) -> tuple[float, list[float]]:
    """`load` in a loop of its own."""
    return uvloop.run(load(port, iter(requests), connections))


def single(events: int, rounds: int, which: list[str]) -> None:
    """Single posts; ratios to the bare server."""
    maker = Maker()
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in which}
    with tempfile.TemporaryDirectory() as work:
        for number in range(rounds):
            for name in which:
                with server(name, Path(work) / f"{name}-{number}") as (port, process):
                    measure(port, [request("/v1/inferences", maker.event()) for _ in range(500)], CONNECTIONS)
                    posts = [request("/v1/inferences", maker.event()) for _ in range(events)]
                    before = cpu_seconds(process)
                    took, seconds = measure(port, posts, CONNECTIONS)
                    cpu = (cpu_seconds(process) - before) / events * 1e6
                    cuts = statistics.quantiles(seconds, n=100)
                    found[name].append((events / took, cuts[49] * 1e3, cuts[98] * 1e3, cpu))
    base = statistics.median(row[0] for row in found.get("bare", found[which[0]]))
    print(f"\nSingle durable posts of 1 KB, {CONNECTIONS} connections, {events:,} posts, median of {rounds} rounds")
    print(f"{'server':>12} {'posts/s':>9} {'of bare':>8} {'p50 ms':>7} {'p99 ms':>7} {'CPU us':>7}")
    for name, rows in found.items():
        rate, p50, p99, cpu = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:>12} {rate:9,.0f} {rate / base:8.2f} {p50:7.1f} {p99:7.1f} {cpu:7.0f}")


def batch(events: int, per_batch: int, connections: int, rounds: int) -> None:
    """NDJSON batches."""
    maker = Maker()
    rates, sizes = [], []
    with tempfile.TemporaryDirectory() as work:
        for number in range(rounds):
            with server("ours", Path(work) / f"{number}") as (port, _):
                posts = []
                for _ in range(events // per_batch):
                    lines = b"\n".join(maker.event() for _ in range(per_batch))
                    sizes.append(len(lines) / per_batch)
                    posts.append(request("/v1/batch", lines, "application/x-ndjson"))
                took, _ = measure(port, posts, connections)
                rates.append(events / took)
    print(
        f"\nBatches of {per_batch} events of {statistics.mean(sizes):.0f} bytes, {connections} connections, {events:,} events"
    )
    print(f"{statistics.median(rates):,.0f} durable events/s (rounds: {', '.join(f'{r:,.0f}' for r in rates)})")


def flat(events: int, per_batch: int) -> None:
    """Resident memory of the server while events stream in."""
    maker = Maker()
    points = []
    with tempfile.TemporaryDirectory() as work, server("ours", Path(work)) as (port, process):
        step = events // 10
        for _ in range(10):

            def posts() -> Iterator[bytes]:
                for _ in range(step // per_batch):
                    yield request(
                        "/v1/batch", b"\n".join(maker.event() for _ in range(per_batch)), "application/x-ndjson"
                    )

            uvloop.run(load(port, posts(), 4))
            points.append((maker.n, resident(process)))
            print(f"{points[-1][0]:>10,} events: {points[-1][1]:,.0f} MB resident", flush=True)
    first, last = points[1][1], points[-1][1]
    print(f"from {points[1][0]:,} to {points[-1][0]:,} events: {last / first:.2f} times the memory")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """Resident megabytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["single", "batch", "flat", "frameworks"])
    parser.add_argument("--events", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--per-batch", type=int, default=1_000)
    parser.add_argument("--connections", type=int, default=4)
    args = parser.parse_args()
    match args.what:
        case "single":
            single(args.events or 30_000, args.rounds, ["bare", "ours", "ours-async"])
        case "frameworks":
            single(args.events or 20_000, args.rounds, ["bare", "starlette", "litestar", "fastapi"])
        case "batch":
            batch(args.events or 200_000, args.per_batch, args.connections, args.rounds)
        case "flat":
            flat(args.events or 2_000_000, args.per_batch)
    print(json.dumps({"cores": os.cpu_count(), "python": sys.version.split()[0]}))


if __name__ == "__main__":
    main()
