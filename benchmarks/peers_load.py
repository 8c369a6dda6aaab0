"""The same seeded events for every server, and the client that sends them and measures. Standard library and protobuf.

An inference is one OpenInference span: a prompt of 300 and an answer of 500 characters, a user, a session, a model, and
metadata with a version and three tags. All servers get identical OTLP bytes.
"""

import http.client
import json
import random
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

SEED = 7
WORDS = 6_000
SPAN_NS = 900_000_000
AGE_NS = 60_000_000_000
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Inference:
    """An event, before it is put into anyone's words."""

    trace_id: bytes
    span_id: bytes
    prompt: str
    answer: str
    user: str
    session: str
    version: str


@dataclass(frozen=True)
class Request:
    """One POST."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Load:
    """What sending took: requests, wall seconds and latencies in milliseconds."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float


class RefusedError(Exception):
    """A server answered with something else than 2xx."""


def inferences(count: int, seed: int = SEED) -> list[Inference]:
    """Random words, the same for the same seed."""
    dice = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(dice.choices(letters, k=dice.randint(3, 10))) for _ in range(WORDS)]

    def text(size: int) -> str:
        return " ".join(dice.choices(words, k=size // 4))[:size]

    def event(n: int) -> Inference:
        ids = dice.randbytes(16), dice.randbytes(8)
        version = str(1 + n * 4 // max(count, 4))
        return Inference(*ids, text(300), text(500), f"user-{dice.randrange(200)}", f"session-{n // 4}", version)

    return [event(n) for n in range(count)]


def otlp(events: Sequence[Inference]) -> bytes:
    """An OTLP export of one span per event, each a trace of its own, 0.9 s long and begun a minute ago."""
    start = time.time_ns() - AGE_NS

    def span(event: Inference) -> Span:
        return Span(
            trace_id=event.trace_id,
            span_id=event.span_id,
            name="answer",
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=start,
            end_time_unix_nano=start + SPAN_NS,
            attributes=_attributes(event),
        )

    spans = [span(event) for event in events]
    resource = Resource(attributes=[_pair("service.name", "bench")])
    groups = [ResourceSpans(resource=resource, scope_spans=[ScopeSpans(spans=spans)])]
    return bytes(ExportTraceServiceRequest(resource_spans=groups).SerializeToString())


def _attributes(event: Inference) -> list[KeyValue]:
    metadata = {"model_version": event.version, "region": "eu", "tier": "free", "device": "phone"}
    texts = {
        "openinference.span.kind": "LLM",
        "llm.model_name": "bench-chat",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": event.prompt,
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": event.answer,
        "input.value": event.prompt,
        "output.value": event.answer,
        "user.id": event.user,
        "session.id": event.session,
        "metadata": json.dumps(metadata),
    }
    return [_pair(key, value) for key, value in texts.items()]


def _pair(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def batches(events: Sequence[Inference], size: int) -> Iterator[Sequence[Inference]]:
    """Consecutive slices."""
    return (events[at : at + size] for at in range(0, len(events), size))


def send(port: int, requests: Iterable[Request], clients: int = 1) -> Load:
    """Post everything over kept-alive connections, one per client, all taking from one list; waits for each answer.

    Raises:
        RefusedError: an answer is not 2xx; the rest was not sent.
    """
    prepared = list(requests)
    source, lock = iter(prepared), threading.Lock()
    took: list[float] = []
    problems: list[Exception] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        try:
            while not problems:
                with lock:
                    request = next(source, None)
                if request is None:
                    return
                began = time.perf_counter()
                connection.request("POST", request.path, request.body, request.headers)
                reply = connection.getresponse()
                said = reply.read()
                took.append(time.perf_counter() - began)
                if reply.status // 100 != 2:
                    raise RefusedError(f"{request.path}: {reply.status} {said[:300]!r}")
        except (RefusedError, OSError, http.client.HTTPException) as error:
            problems.append(error)
        finally:
            connection.close()

    began = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if problems:
        raise problems[0]
    order = sorted(took)
    rank = [order[min(len(order) - 1, int(len(order) * part))] * 1000 for part in (0.5, 0.99)]
    return Load(len(prepared), seconds, rank[0], rank[1])
