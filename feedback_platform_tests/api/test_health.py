"""Whether the server is up, whether it takes events, what it counts, and what its reasons mean."""

import re
import resource
from pathlib import Path

import pytest

import feedback_platform
from feedback_platform.api.problems import API_REASONS
from feedback_platform.contracts.events import REASONS
from feedback_platform.contracts.refusals import REASONS as WIRE_REASONS
from feedback_platform_tests.api.serving import Served, heads, logged, served
from feedback_platform_tests.builders import inference, thumbs
from feedback_platform_tests.intake.otlp.exports import as_json, span

PACKAGE = Path(feedback_platform.__file__).parent
RAISED = re.compile(
    r'(?:AccessError|Problem|_refused|_unavailable|_malformed)\(\s*(?:\d{3},\s*)?"([a-z]+(?:_[a-z]+)+)"'
)


@pytest.fixture
def server(tmp_path):
    with served(tmp_path, "--dev") as running:
        yield running


def no_writes(server: Served, forbidden: bool) -> None:
    """Let no file of the server grow, as on a full disk, and end that again."""
    most = resource.RLIM_INFINITY
    limits = (1, most) if forbidden else (most, most)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)


def sample(server, name, **labels):
    """The value of a counter, None where there is none."""
    wanted = {f'{key}="{value}"' for key, value in labels.items()}
    for line in server.get("/metrics").body.decode().splitlines():
        found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if found and wanted <= set(re.findall(r'\w+="[^"]*"', found[1] or "")):
            return float(found[2])
    return None


def test_a_fresh_server_is_up_and_ready(server):
    for path, status in (("/healthz", "ok"), ("/readyz", "ready")):
        answer = server.get(path)
        assert (answer.status, answer.json) == (200, {"status": status, "version": feedback_platform.__version__})


def test_after_a_failed_write_it_is_not_ready_until_writing_works_again(server):
    first = server.post("/v1/inferences", inference("before")).json
    no_writes(server, True)
    lost = server.post("/v1/inferences", inference("lost"))
    assert (lost.status, lost.reason) == (503, "log_unavailable")
    assert int(lost.headers["retry-after"]) >= 1
    assert str(server.home) not in lost.body.decode(), "where the log lies is for operators"
    traces = server.post("/v1/traces", as_json(span()), headers={"Content-Type": "application/json"})
    assert traces.status == 503
    assert int(traces.headers["retry-after"]) >= 1
    assert server.post("/v1/batch", [inference("lost-too"), thumbs("lost-too")]).status == 503
    for _ in range(2):
        unready = server.get("/readyz")
        assert (unready.status, unready.reason) == (503, "log_unavailable")
        assert "retry-after" in unready.headers
    assert server.get("/healthz").status == 200
    assert server.post("/v1/inferences", inference("before")).status in (202, 503)
    no_writes(server, False)
    assert server.get("/readyz").status == 200, "no event is needed to find out"
    again = server.post("/v1/inferences", inference("lost"))
    assert (again.status, again.json["log_seq"], again.json["duplicate"]) == (202, first["log_seq"] + 1, False)
    assert server.get("/readyz").status == 200
    assert [row["request_id"] for row in logged(server.home, "inference")] == ["before", "lost"]
    assert heads(server.home) == (2, 0, 0)


def test_a_write_that_works_again_makes_it_ready_too(server):
    no_writes(server, True)
    assert server.post("/v1/inferences", inference("lost")).status == 503
    no_writes(server, False)
    assert server.post("/v1/inferences", inference("lost")).status == 202
    assert server.get("/readyz").status == 200


def test_counters_say_what_became_of_events(server):
    server.post("/v1/inferences", inference("one"))
    server.post("/v1/inferences", inference("one"))
    server.post("/v1/inferences", inference("one", text="other"))
    server.post("/v1/batch", [thumbs("f1"), {"feedback_type": "thumbs"}, thumbs("f2")])
    expected = {
        ("inference", "accepted"): 1, ("inference", "duplicate"): 1, ("inference", "id_conflict"): 1,
        ("feedback", "accepted"): 2, ("feedback", "field_missing"): 1,
    }  # fmt: skip
    for (kind, outcome), n in expected.items():
        assert sample(server, "feedback_events_total", tenant="default", kind=kind, outcome=outcome) == n, (
            kind,
            outcome,
        )
    positions = [sample(server, "feedback_log_position", stream=s) for s in ("inference", "feedback", "dead_letter")]
    assert positions == [1, 2, 2]
    assert sample(server, "feedback_requests_total", endpoint="/v1/inferences", status="202") == 2
    assert sample(server, "feedback_requests_total", endpoint="/v1/inferences", status="409") == 1
    assert sample(server, "feedback_request_seconds_count", endpoint="/v1/batch") == 1
    assert sample(server, "feedback_waiting_events", tenant="default") == 0


def test_counters_hold_no_id_and_no_text(server):
    marked = "sentinel"
    server.post("/v1/inferences", inference(f"{marked}-id", text=f"{marked} text", user_id=f"{marked}-user"))
    server.post("/v1/inferences", {f"{marked}-field": 1})
    server.get(f"/v1/events/{marked}")
    server.get(f"/{marked}")
    server.call("POST", f"/v1/datasets/{marked}/versions")
    assert marked not in server.get("/metrics").body.decode()


def test_every_reason_has_a_page():
    """Reasons are read from the source, because a code that is raised somewhere may lack its meaning."""
    sources = [*(PACKAGE / "api").rglob("*.py"), *(PACKAGE / "intake" / "guards").rglob("*.py")]
    raised = {reason for path in sources for reason in RAISED.findall(path.read_text(encoding="utf-8"))}
    assert {"key_missing", "token_type_refused", "signature_stale", "export_in_progress"} <= raised
    assert raised - API_REASONS.keys() - REASONS.keys() == set()


def test_pages_of_reasons_say_what_they_mean(server):
    for reason in ("field_unknown", "key_missing", "rate_limited"):
        answer = server.get(f"/problems/{reason}")
        assert (answer.status, answer.json["reason"]) == (200, reason)
        assert answer.json["meaning"] == {**WIRE_REASONS, **API_REASONS}[reason]
    assert server.get("/problems/nonsense").status == 404
