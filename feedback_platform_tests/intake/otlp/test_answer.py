"""Answers, read back by the real messages: what a sender's library sees."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import json_format  # type: ignore[import-untyped]
from google.rpc.error_details_pb2 import BadRequest  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

import feedback_platform
from feedback_platform.errors import EventRejected
from feedback_platform.intake.otlp.answer import error_status, export_response, http_status
from feedback_platform.intake.otlp.decode import JSON, PROTOBUF, decode_export


def test_full_success_leaves_partial_success_unset():
    assert not ExportTraceServiceResponse.FromString(export_response(PROTOBUF)).HasField("partial_success")
    assert json.loads(export_response(JSON)) == {}


@pytest.mark.parametrize(
    ("rejected", "message"), [(1, "zu lang: ä"), (70_000, ""), (0, "a warning"), (2**40, "x" * 300)]
)
def test_partial_success_says_how_many_and_why(rejected, message):
    for answer in (
        ExportTraceServiceResponse.FromString(export_response(PROTOBUF, rejected, message)),
        json_format.Parse(export_response(JSON, rejected, message), ExportTraceServiceResponse()),
    ):
        assert answer.partial_success.rejected_spans == rejected
        assert answer.partial_success.error_message == message


def test_errors_carry_a_status_with_the_field_at_fault():
    for status in (
        Status.FromString(error_status(PROTOBUF, "Send JSON.", field="body")),
        json_format.Parse(error_status(JSON, "Send JSON.", field="body"), Status()),
    ):
        assert (status.code, status.message) == (3, "Send JSON.")
        request = BadRequest()
        assert status.details[0].Unpack(request)
        [violation] = request.field_violations
        assert (violation.field, violation.description) == ("body", "Send JSON.")
    assert not Status.FromString(error_status(PROTOBUF, "Wait.", 8)).details
    assert json.loads(error_status(JSON, "Wait.", 8)) == {"code": 8, "message": "Wait."}


@pytest.mark.parametrize(
    ("body", "content_type", "status"), [(b"{", JSON, 400), (b"{}", "text/csv", 415), (b" " * 30_000_000, JSON, 413)]
)
def test_refusals_have_a_status_that_is_not_repeated(body, content_type, status):
    with pytest.raises(EventRejected) as caught:
        decode_export(body, content_type)
    assert http_status(caught.value) == status


def test_protobuf_is_not_loaded_before_it_is_needed():
    code = (
        "import sys; from feedback_platform.intake.otlp import answer, mapping; "
        "mapping.read_export(b'{}', 'application/json'); answer.export_response('application/x-protobuf', 1); "
        "sys.exit(any(name.startswith(('google.protobuf', 'opentelemetry')) for name in sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd=Path(feedback_platform.__file__).parents[1], check=False
        ).returncode
        == 0
    )
