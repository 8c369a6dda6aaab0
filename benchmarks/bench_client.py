"""What logging costs the caller: `log_inference` in threads and in a busy asyncio app, against an empty call.

    python benchmarks/bench_client.py [EVENTS]

A real HTTP server runs in a process of its own. Events carry a chat of about 2 KB. Each loop works for a while between
two calls, as an application does, and pauses so that the whole makes RATE calls a second. Prints median, 90th and 99th
percentile of the time in the call, less the empty call's median, and what became of the events.
"""

import asyncio
import multiprocessing
import statistics
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection

from feedback_platform.client import AsyncClient, Client, Stats

EVENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 4_000
WORKERS, RATE = 4, 2_000
MESSAGES = [{"role": "user", "content": "Where is my parcel, and when does it arrive? " * 20}] * 2


class Handler(BaseHTTPRequestHandler):
    """Reads the body and says that all is durable."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        """Quiet."""


def serve(pipe: Connection) -> None:
    """The server's process: tells its port, serves until it is ended."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pipe.send(server.server_address[1])
    server.serve_forever()


def empty(**fields: object) -> str:
    """The call against which the other is held."""
    return ""


def work() -> int:
    """Some 100 microseconds of an application's own Python."""
    return sum(number * number for number in range(1_000))


def timed(call: Callable[..., str], number: int) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    call(model="m", model_version="1", input={"messages": MESSAGES}, output="Tomorrow, I think." * 10,
         session_id=f"s{number}", segments={"region": "eu", "device": "phone"})  # fmt: skip
    return time.perf_counter() - started


def in_threads(call: Callable[..., str]) -> list[float]:
    """Every worker a thread."""
    times: list[float] = []

    def worker() -> None:
        for number in range(EVENTS // WORKERS):
            work()
            times.append(timed(call, number))
            time.sleep(WORKERS / RATE)

    threads = [threading.Thread(target=worker) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


async def in_tasks(call: Callable[..., str]) -> list[float]:
    """Every worker a task; a fifth task never rests, so that the loop is busy."""
    times: list[float] = []
    done = asyncio.Event()

    async def worker() -> None:
        for number in range(EVENTS // WORKERS):
            work()
            times.append(timed(call, number))
            await asyncio.sleep(WORKERS / RATE)

    async def busy() -> None:
        while not done.is_set():
            work()
            await asyncio.sleep(0)

    background = asyncio.create_task(busy())
    await asyncio.gather(*(worker() for _ in range(WORKERS)))
    done.set()
    await background
    return times


def burst(call: Callable[..., str]) -> list[float]:
    """One thread that does nothing but log."""
    return [timed(call, number) for number in range(EVENTS)]


def report(what: str, ours: list[float], bare: list[float], stats: Stats) -> None:
    """One line, in microseconds."""
    base = statistics.median(bare)
    cuts = statistics.quantiles([1e6 * (seconds - base) for seconds in ours], n=100)
    lost = sum(stats.dropped.values()) + sum(stats.refused.values())
    print(f"{what:<8} added: median {cuts[49]:>6.1f}  p90 {cuts[89]:>6.1f}  p99 {cuts[98]:>8.1f} us   "
          f"(empty call {1e6 * base:.2f} us)   accepted {stats.accepted} of {stats.logged}, lost {lost}")  # fmt: skip


async def with_asyncio(url: str) -> None:
    """The asynchronous client."""
    bare = await in_tasks(empty)
    async with AsyncClient(url) as client:
        ours = await in_tasks(client.log_inference)
        await client.flush()
        report("asyncio", ours, bare, client.stats())


def main() -> None:
    """Measure the three."""
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    server = context.Process(target=serve, args=(other,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{pipe.recv()}"
    try:
        for name, run in (("threads", in_threads), ("burst", burst)):
            bare = run(empty)
            with Client(url) as client:
                ours = run(client.log_inference)
                client.flush()
                report(name, ours, bare, client.stats())
        asyncio.run(with_asyncio(url))
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
