"""Clients for the checker: `python -m feedback_platform_tests.api.checker_clients PORT FILE SEED`.

Sixteen of them post what comes to mind, each event again and again until it has a definite answer, and write down what
they saw, one JSON line per event and per attempt. They end when standard input closes and nothing is left to settle.
"""

import asyncio
import gzip
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from feedback_platform_tests.api.checker import Attempt, Sent
from feedback_platform_tests.builders import at, inference, rating, thumbs

CLIENTS = 16
ANSWER_SECONDS = 10.0
THINK_SECONDS = 0.01  # leaves the processors to those who are tested
RETRIED = (408, 429, 500, 502, 503, 504)
Answers = list[tuple[int, dict[str, Any]]]


class Unknown(Exception):
    """No answer; `was_sent` tells whether anything may have reached the server."""

    def __init__(self, why: str, was_sent: bool) -> None:
        super().__init__(why)
        self.was_sent = was_sent


@dataclass(slots=True)
class Wire:
    """A kept connection that speaks just enough HTTP."""

    port: int
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: bytes, headers: str, leave: bool) -> tuple[int, bytes]:
        """Status and body of the answer; `leave`: hang up without waiting for it."""
        sent = False
        try:
            if self.writer is None:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
            assert self.reader is not None
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
            sent = True
            self.writer.write(head.encode() + body)
            await self.writer.drain()
            if leave:
                raise ConnectionAbortedError("left without waiting")
            return await asyncio.wait_for(self._answer(self.reader), ANSWER_SECONDS)
        except (OSError, EOFError, TimeoutError) as error:
            self.close()
            raise Unknown(f"{type(error).__name__}: {error}", sent) from None

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        length = next(int(line.partition(":")[2]) for line in head if line.startswith("content-length:"))
        content = await reader.readexactly(length)
        if "connection: close" in head:
            self.close()
        return int(head[0].split()[1]), content

    def close(self) -> None:
        """Hang up."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


@dataclass(slots=True)
class Shared:
    """What all clients have in common."""

    file: BinaryIO
    stop: asyncio.Event
    acked: list[Sent] = field(default_factory=list)

    def note(self, record: Sent | Attempt) -> None:
        """Write down."""
        self.file.write(msgspec.json.encode(record) + b"\n")


class Client:
    """One client: makes events, sends them, remembers."""

    def __init__(self, shared: Shared, port: int, name: str, seed: int) -> None:
        self.shared, self.name, self.draw = shared, name, random.Random(f"{seed}-{name}")
        self.wire, self.count = Wire(port), 0

    async def run(self) -> None:
        """Send until told to stop."""
        while not self.shared.stop.is_set():
            if self.draw.random() < 0.15:
                events = [self.event() for _ in range(self.draw.choice((2, 5, 40, 300)))]
                events.append(self.draw.choice(events))
                await self.settle(events, batch=True)
            else:
                await self.settle([self.event()], batch=False)
            await asyncio.sleep(self.draw.expovariate(1 / THINK_SECONDS))
        self.wire.close()

    def event(self) -> Sent:
        """An inference or feedback, new; or wrong; or another body under an id that is taken or about to be."""
        self.count += 1
        mark = f"{self.name}.{self.count}"
        about = f"{self.name}-{self.draw.randrange(self.count)}"
        fields: dict[str, Any] = {"metadata": {"mark": mark}, "minute": self.count}
        event_id = f"{self.name}-{self.count}"
        match self.draw.randrange(20):
            case 0 if self.shared.acked:
                used = self.draw.choice(self.shared.acked)
                return self.noted(mark, used.kind, {**used.event, "metadata": fields["metadata"]})
            case 1:  # all clients try for the same few ids at the same time
                made = inference(f"contested-{int(time.monotonic() * 5)}", text=mark, **fields)
                return self.noted(mark, "inference", made)
            case 2:
                return self.noted(mark, "inference", {**inference(event_id, **fields), "timestamp": "soon"})
            case n if n < 10:
                return self.noted(mark, "inference", inference(event_id, text=f"ä {mark} " * (n + 1), **fields))
            case n if n < 15:
                made = rating(event_id, about, score=n, explanation=f"because {mark}", **fields)
                return self.noted(mark, "feedback", made)
            case _:
                made = thumbs("", about, up=self.draw.random() < 0.5, **fields)
                del made["feedback_id"]
                return self.noted(mark, "feedback", {**made, "timestamp": at(self.count)})

    def noted(self, mark: str, kind: str, event: dict[str, Any]) -> Sent:
        """The event, written down before it is sent."""
        made = Sent(mark, kind, event)
        self.shared.note(made)
        return made

    async def settle(self, events: list[Sent], *, batch: bool) -> None:
        """Send until every event has a definite answer; the impatient give up after the first that is none."""
        impatient, pause = self.draw.random() < 0.1, 0.01
        path, body, headers = self.request(events, batch)
        while True:
            began = time.monotonic()
            try:
                status, content = await self.wire.post(path, body, headers, impatient and self.draw.random() < 0.1)
            except Unknown as lost:
                self.unknown(events, began, str(lost), lost.was_sent)
                if impatient and lost.was_sent:
                    return
            else:
                if status not in RETRIED:
                    self.settled(events, began, answers(status, content, batch))
                    return
                self.unknown(events, began, f"status {status}", True)
            await asyncio.sleep(pause * self.draw.random())
            pause = min(2 * pause, 0.2)

    def request(self, events: list[Sent], batch: bool) -> tuple[str, bytes, str]:
        """Path, body and headers; some bodies are compressed."""
        texts = [msgspec.json.encode(sent.event) for sent in events]
        path, kind, body = "/v1/batch", "application/x-ndjson", b"\n".join(texts)
        if not batch:
            path, kind, body = f"/v1/{events[0].kind}", "application/json", texts[0]
            path = "/v1/inferences" if events[0].kind == "inference" else path
        elif self.draw.random() < 0.5:
            kind, body = "application/json", b"[%s]" % b",".join(texts)
        headers = f"Content-Type: {kind}\r\n"
        if self.draw.random() < 0.2:
            body, headers = gzip.compress(body, 1), f"{headers}Content-Encoding: gzip\r\n"
        return path, body, headers

    def unknown(self, events: list[Sent], began: float, why: str, was_sent: bool) -> None:
        """Nobody knows what became of them; a refused connection is not even an attempt."""
        if was_sent:
            for sent in events:
                self.shared.note(Attempt(sent.mark, began, time.monotonic(), "unknown", reason=why))

    def settled(self, events: list[Sent], began: float, said: Answers) -> None:
        """Write down what each event was answered."""
        ended = time.monotonic()
        assert len(said) == len(events), f"{len(events)} events got {len(said)} answers"
        for sent, (status, answer) in zip(events, said, strict=True):
            if status == 202:
                assert answer["durable"] is True, answer
                receipt = answer["id"], answer["log_seq"], answer["duplicate"]
                self.shared.note(Attempt(sent.mark, began, ended, "ok", *receipt))
                if sent.id is not None:
                    self.shared.acked.append(sent)
            else:
                assert status in (409, 422), (status, answer)
                self.shared.note(Attempt(sent.mark, began, ended, "refused", reason=answer["reason"]))


def answers(status: int, content: bytes, batch: bool) -> Answers:
    """Status and facts for each event; every result of a batch is in its place."""
    told = msgspec.json.decode(content)
    if not batch:
        return [(status, told)]
    assert status in (202, 207), (status, told)
    assert [result["index"] for result in told["results"]] == list(range(len(told["results"])))
    return [(result["status"], result.get("problem", result)) for result in told["results"]]


async def main(port: int, path: Path, seed: int) -> None:
    """Run all clients until standard input closes."""
    with path.open("wb", buffering=2**20) as file:
        shared = Shared(file, asyncio.Event())
        clients = [Client(shared, port, f"c{n}", seed) for n in range(CLIENTS)]
        tasks = [asyncio.create_task(client.run()) for client in clients]
        await asyncio.to_thread(sys.stdin.buffer.read)
        shared.stop.set()
        await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
