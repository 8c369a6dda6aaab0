"""The real OpenTelemetry SDK and its real exporter, in a process of their own, against an endpoint that answers with ours."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import feedback_platform_tests
from feedback_platform.contracts.events import parse_event
from feedback_platform.errors import EventRejected
from feedback_platform.intake.otlp import answer
from feedback_platform.intake.otlp.decode import media_type, unpacked
from feedback_platform.intake.otlp.mapping import ReadExport, read_export

ROOT = Path(feedback_platform_tests.__file__).parents[1]


class Sink(HTTPServer):
    """What was sent and what it held; `rejects` spans are called refused."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str, bytes]] = []
        self.exports: list[ReadExport] = []
        self.rejects = 0


class Handler(BaseHTTPRequestHandler):
    """Reads each export through our code and answers as the endpoint does."""

    server: Sink

    def do_POST(self):
        headers = self.headers
        packed = self.rfile.read(int(headers["Content-Length"]))
        kind = media_type(headers["Content-Type"])
        self.server.seen.append((self.path, headers.get("Content-Encoding", ""), packed))
        try:
            found = read_export(unpacked(packed, headers.get("Content-Encoding", "")), kind)
            self.server.exports.append(found)
            self.reply(
                200, kind, answer.export_response(kind, self.server.rejects, "no" if self.server.rejects else "")
            )
        except EventRejected as error:
            self.reply(answer.http_status(error), kind, answer.error_status(kind, str(error)))

    def reply(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def sink():
    server = Sink()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def send(sink, compression):
    endpoint = f"http://127.0.0.1:{sink.server_port}/v1/traces"
    command = [sys.executable, "-m", "feedback_platform_tests.intake.otlp.sender", endpoint, compression]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_what_the_sdk_exports_becomes_inferences_and_feedback(sink, compression):
    done = send(sink, compression)
    assert done.stderr == ""
    assert [(path, encoding) for path, encoding, _ in sink.seen] == [
        ("/v1/traces", "gzip" if compression == "gzip" else "")
    ]
    [export] = sink.exports
    assert (export.spans, export.misfits) == (5, ())
    assert export.skipped == {"agent_span": 1, "not_a_model_call": 1, "failed_call": 1}
    parsed: list[Any] = [parse_event(mapped.kind, mapped.event)[0] for mapped in export.mapped]
    chat, relevance, stock, correctness = parsed
    assert chat.input == {"messages": [{"role": "user", "content": "Größe?"}]}
    assert (chat.output, chat.model, chat.model_version, chat.environment) == ("42", "gpt-4", "gpt-4-0613", "staging")
    assert chat.metadata["scope"] == "shop.agent"
    assert (relevance.request_id, relevance.feedback_value.score) == (chat.request_id, 0.9)
    assert (stock.output, stock.session_id) == ("Seven.", "s-1")
    assert (correctness.request_id, correctness.feedback_value.label) == (stock.request_id, "correct")
    assert (correctness.source.kind, correctness.source.id) == ("human", "reviewer-42")


def test_the_exporter_understands_a_partial_success(sink):
    sink.rejects = 1
    send(sink, "gzip")
    assert len(sink.exports) == 1, "a partial success is not sent again"


def test_an_export_that_is_sent_again_gives_the_same_events(sink):
    send(sink, "gzip")
    [(_, encoding, packed)] = sink.seen
    again = read_export(unpacked(packed, encoding), "application/x-protobuf")
    assert again == sink.exports[0]
