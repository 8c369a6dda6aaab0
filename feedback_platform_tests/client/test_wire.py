"""What goes over the wire: events as the contract has them, batches, headers, snapshots; and what the server's answers do."""

import itertools
import json
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from typing import get_type_hints

import pytest

import feedback_platform.client as package
from feedback_platform.client import FeedbackFields, InferenceFields, Refusal
from feedback_platform.contracts.events import parse_feedback, parse_inference
from feedback_platform.contracts.wire import Inference
from feedback_platform.contracts.wire_feedback import Feedback
from feedback_platform.errors import ConfigError
from feedback_platform_tests.client.conftest import balanced, log, until
from feedback_platform_tests.client.peer import Reply, problem


def test_the_typed_fields_are_those_of_the_contract():
    required = {"model", "model_version", "input", "output"}
    assert set(get_type_hints(InferenceFields)) == set(Inference.__struct_fields__) - required
    assert set(get_type_hints(FeedbackFields)) == set(Feedback.__struct_fields__) - {"request_id"}


def test_the_contract_takes_what_the_client_sends(make, peer):
    client = make()
    rid = log(
        client, input={"messages": [{"role": "user", "content": "hi"}]}, session_id="s", user_id=None, confidence=0.5,
        items=[{"item_id": "a", "position": 0}], keys={"order": "A-1"}, training_allowed=False, timestamp=datetime(2026, 1, 1),  # noqa: DTZ001  local time
    )  # fmt: skip
    other = log(client, 2)
    said = [
        client.thumbs(rid, up=True, user_id="u"),
        client.rating(rid, 71, min=0, max=100),
        client.label(rid, "cat"),
        client.correction(rid, "better", explanation="because"),
        client.preference({"request_id": rid}, {"request_id": other}),
        client.preference({"output": "x"}, {"output": "y"}, tie=True, request_id=rid),
        client.implicit(rid, "dwell_seconds", 4.2),
        client.outcome(None, "chargeback", True, target={"keys": {"order": "A-1"}}),
        client.comment(rid, "nice"),
        client.send_feedback(request_id=rid, thumbs=False),
        client.send_feedback(request_id=rid, correction={"role": "assistant", "content": "x"}),
        client.send_feedback(request_id=rid, feedback_type="ranking",
                             feedback_value={"order": [{"request_id": rid}, {"request_id": other}]}),
    ]  # fmt: skip
    said.append(client.retract(said[0], user_id="u"))
    assert client.flush(5)
    events = [peer.accepted[key] for key in peer.order]
    inferences = [parse_inference(event) for event in events if b"feedback_type" not in event]
    feedback = [parse_feedback(event) for event in events if b"feedback_type" in event]
    assert [inference.request_id for inference in inferences] == [rid, other]
    assert inferences[0].timestamp == datetime(2026, 1, 1).astimezone()  # local time
    assert abs(inferences[1].timestamp - datetime.now().astimezone()) < timedelta(seconds=10)
    assert [event.feedback_id for event in feedback] == said
    assert [event.feedback_type for event in feedback] == [
        "thumbs", "rating", "label", "explicit_correction", "preference_pair", "preference_pair", "implicit",
        "outcome", "comment", "thumbs", "explicit_correction", "ranking", "retraction",
    ]  # fmt: skip
    assert balanced(client.stats()).accepted == 15


def test_events_are_sent_in_batches_over_one_connection(make, peer):
    client = make(api_key="fp_key", batch_events=10, gzip_over=None)
    for number in range(25):
        log(client, number)
    assert client.flush(5)
    assert [len(request.lines) for request in peer.requests] == [10, 10, 5]
    assert peer.connections == 1
    headers = peer.requests[0].headers
    assert (peer.requests[0].path, headers["Content-Type"]) == ("/v1/batch", "application/x-ndjson")
    assert headers["Authorization"] == "Bearer fp_key"
    assert "Content-Encoding" not in headers
    assert [event["input"] for event in peer.events] == [f"q{number}" for number in range(25)]


def test_large_bodies_are_compressed_small_ones_are_not(make, peer):
    client = make(gzip_over=2_000)
    log(client)
    assert client.flush(5)
    log(client, input="x" * 100_000)
    assert client.flush(5)
    small, large = peer.requests
    assert "Content-Encoding" not in small.headers
    assert large.headers["Content-Encoding"] == "gzip"
    assert large.wire_bytes < 2_000
    assert peer.events[1]["input"] == "x" * 100_000


def test_what_is_logged_is_what_was_there_at_the_call(make, peer):
    client = make(linger=0.2)
    messages = [{"role": "user", "content": "before"}]
    log(client, input={"messages": messages})
    messages[0]["content"] = "after"
    messages.append({"role": "assistant", "content": "more"})
    assert client.flush(5)
    assert peer.events[0]["input"] == {"messages": [{"role": "user", "content": "before"}]}


def test_some_accepted_some_refused_some_later(make, peer):
    told: list[Refusal] = []
    client = make(on_refused=told.append, linger=0.1)
    ids = [log(client, number) for number in range(4)]

    def mixed(request):
        unknown = problem(422, "field_unknown", field="sesion_id")
        results = [
            peer.keep(0, request.lines[0]),
            {"index": 1, "status": 422, "problem": unknown},
            {"index": 2, "status": 409, "problem": problem(409, "id_conflict")},
            {"index": 3, "status": 503, "problem": problem(503, "overloaded")},
        ]
        return Reply(207, {"accepted": 1, "duplicates": 0, "refused": 3, "results": results})

    peer.script.append(mixed)
    assert client.flush(5)
    stats = balanced(client.stats())
    assert (stats.accepted, dict(stats.refused)) == (2, {"field_unknown": 1, "id_conflict": 1})
    assert [len(request.lines) for request in peer.requests] == [4, 1]
    assert peer.order == [ids[0], ids[3]]
    assert [(refusal.reason, refusal.status, refusal.field) for refusal in told] == [
        ("field_unknown", 422, "sesion_id"),
        ("id_conflict", 409, ""),
    ]
    assert told[0].fix == "fix of field_unknown"
    assert json.loads(told[0].event)["request_id"] == ids[1]


def test_an_event_that_the_answer_forgets_is_sent_again(make, peer):
    client = make(linger=0.1)
    log(client, 0)
    log(client, 1)
    peer.script.append(lambda request: Reply(207, {"results": [peer.keep(0, request.lines[0])]}))
    assert client.flush(5)
    assert [len(request.lines) for request in peer.requests] == [2, 1]
    assert balanced(client.stats()).accepted == 2


def test_duplicates_are_counted_apart(make, peer):
    client = make()
    when = datetime(2026, 1, 1).astimezone()
    for _ in range(2):
        log(client, request_id="mine", timestamp=when)
        assert client.flush(5)
    stats = balanced(client.stats())
    assert (stats.accepted, stats.duplicates) == (1, 1)


@pytest.mark.parametrize(("status", "reason"), [(400, "json_invalid"), (401, None), (403, "scope"), (415, None)])
def test_a_final_no_is_not_repeated(make, peer, status, reason):
    client = make()
    peer.script.append(Reply(status, problem(status, reason) if reason else "<html>"))
    log(client)
    assert client.flush(5)
    assert len(peer.requests) == 1
    assert dict(balanced(client.stats()).refused) == {reason or f"http_{status}": 1}


@pytest.mark.parametrize("status", [302, 404, 429, 500, 502, 503])
def test_what_may_pass_is_repeated(make, peer, status):
    client = make()
    peer.script.append(Reply(status, "<html>"))
    log(client)
    assert client.flush(5)
    stats = balanced(client.stats())
    assert (len(peer.requests), stats.accepted, stats.retries, stats.sent) == (2, 1, 1, 2)
    assert stats.last_error == f"HTTP {status}"


def test_a_batch_that_is_too_large_is_halved_until_it_fits(make, peer):
    client = make(linger=0.1)
    peer.always = lambda request: Reply(413, {}) if len(request.lines) > 3 else None
    sent = [log(client, number) for number in range(16)]
    assert client.flush(5)
    sizes = [len(request.lines) for request in peer.requests]
    refused = [size for size in sizes if size > 3]
    assert refused[0] == 16
    assert all(after <= before / 2 for before, after in itertools.pairwise(refused))
    stats = balanced(client.stats())
    assert (stats.accepted, stats.retries) == (16, len(refused))
    assert peer.order == sent


def test_one_event_that_is_too_large_is_refused_and_the_rest_arrives(make, peer):
    client = make(linger=0.1)
    peer.always = lambda request: Reply(413, {}) if any(len(line) > 5_000 for line in request.lines) else None
    for number in range(8):
        log(client, number, input="x" * (10_000 if number == 3 else 10))
    assert client.flush(5)
    stats = balanced(client.stats())
    assert (stats.accepted, dict(stats.refused)) == (7, {"http_413": 1})


def test_a_callback_that_fails_is_counted(make, peer):
    def fail(refusal):
        raise ZeroDivisionError

    client = make(on_refused=fail)
    peer.script.append(Reply(422, problem(422, "field_missing")))
    log(client)
    assert client.flush(5)
    log(client)
    assert client.flush(5)
    stats = balanced(client.stats())
    assert (stats.callback_errors, stats.accepted) == (1, 1)


def test_a_connection_that_the_server_closed_costs_no_pause(make, peer):
    client = make()
    log(client)
    assert client.flush(5)
    peer.stop()
    peer.start()
    log(client)
    assert client.flush(5)
    assert (client.stats().retries, peer.connections) == (0, 2)


def test_the_environment_names_server_and_key(make, peer, monkeypatch, tmp_path):
    monkeypatch.setenv("FEEDBACK_URL", peer.url + "/base/")
    monkeypatch.setenv("FEEDBACK_API_KEY", "from-env")
    monkeypatch.setenv("FEEDBACK_SPILL", str(tmp_path / "spill"))
    client = make(url=None)
    log(client)
    assert client.flush(5)
    assert peer.requests[0].path == "/base/v1/batch"
    assert peer.requests[0].headers["Authorization"] == "Bearer from-env"
    assert client.config.spill == tmp_path / "spill"


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "localhost:8700"}, {"url": "ftp://x"}, {"url": "http://x:99999"}, {"url": "http://key@x"},
        {"api_key": "a\nb"}, {"batch_events": 0}, {"timeout": 0.0}, {"linger": -1.0}, {"timeout": float("nan")},
        {"spill": "/dev/null/spill"},
    ],
)  # fmt: skip
def test_nonsense_is_refused_at_construction(make, arguments):
    threads = threading.active_count()
    with pytest.raises(ConfigError):
        make(**arguments)
    until(lambda: threading.active_count() <= threads)


def test_importing_the_client_loads_only_msgspec_beside_the_standard_library():
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; import msgspec; before = set(sys.modules); "
        "import feedback_platform.client; print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert "feedback_platform" in ran.stdout
    assert set(ran.stdout.split()) - sys.stdlib_module_names == {"feedback_platform"}


def test_the_example_works_as_pasted(peer, tmp_path):
    text = package.__doc__ or ""
    lines = [line for line in text.split("\n\nA call that logs")[0].splitlines() if line.startswith("    ") or not line]
    example = "\n".join(line.removeprefix("    ") for line in lines).strip()
    assert len([line for line in example.splitlines() if line]) <= 15
    ran = subprocess.run([sys.executable, "-W", "error", "-c", example], cwd=tmp_path, capture_output=True, text=True,
                         env={"FEEDBACK_URL": peer.url, "PYTHONPATH": ":".join(filter(None, sys.path))}, check=False)  # fmt: skip
    assert (ran.stdout, ran.stderr) == ("You asked: Where is my parcel?\n", "")
    outputs = [event.get("output") or event["feedback_value"] for event in peer.events]
    assert outputs == ["You asked: Where is my parcel?", {"up": True}, "It arrives tomorrow.",
                       {"output": "It arrives on Monday."}]  # fmt: skip
    assert peer.events[1]["request_id"] == peer.events[0]["request_id"]
