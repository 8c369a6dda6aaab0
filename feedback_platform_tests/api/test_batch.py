"""Batches over HTTP: an answer for each event, in their order, and counts that add up whatever is in the mixture."""

import gzip
import itertools
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_platform.api.ingest import MAX_BATCH_EVENTS, MAX_LINES
from feedback_platform_tests.api.serving import heads, logged, make_key, served
from feedback_platform_tests.builders import inference, thumbs

LINES = {"Content-Type": "application/x-ndjson"}
ARRAY = {"Content-Type": "application/json"}
BROKEN = ["not json", "[]", "7", '"text"', "null", '{"feedback_type": "thumbs"', "{}", '{"request_id": "a b"}']

_numbers = itertools.count()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    home = tmp_path_factory.mktemp("batch")
    keys = {
        "inference": make_key(home, "ingest:inference").plain,
        "feedback": make_key(home, "ingest:feedback").plain,
        "review": make_key(home, "review").plain,
        "reader": make_key(home, "read:dataset").plain,
    }
    with served(home, "--dev") as server:
        yield server, keys


@pytest.fixture(scope="module")
def server(base):
    return base[0]


def new(name="b"):
    """An id that no other example uses."""
    return f"{name}{next(_numbers)}"


def text(event):
    return event if isinstance(event, str) else json.dumps(event)


def send(server, events, *, as_array=False, key=None):
    body = f"[{','.join(map(text, events))}]" if as_array else "\n".join(map(text, events))
    return server.post("/v1/batch", body, headers=ARRAY if as_array else LINES, key=key)


def statuses(answer):
    return [result["status"] for result in answer.json["results"]]


@pytest.mark.parametrize("as_array", [False, True])
def test_both_kinds_are_taken_and_answered_in_their_order(server, as_array):
    before = heads(server.home)
    ids = [new() for _ in range(6)]
    events = [inference(one) if n % 2 else thumbs(one, "r") for n, one in enumerate(ids)]
    answer = send(server, events, as_array=as_array)
    assert answer.status == 202
    assert (answer.json["accepted"], answer.json["duplicates"], answer.json["refused"]) == (6, 0, 0)
    results = answer.json["results"]
    assert [(r["index"], r["id"], r["status"], r["durable"], r["duplicate"]) for r in results] == [
        (n, one, 202, True, False) for n, one in enumerate(ids)
    ]
    assert [r["log_seq"] for r in results[1::2]] == [before[0] + n for n in (1, 2, 3)]
    assert [r["log_seq"] for r in results[::2]] == [before[1] + n for n in (1, 2, 3)]
    assert heads(server.home) == (before[0] + 3, before[1] + 3, before[2])


@pytest.mark.parametrize("as_array", [False, True])
def test_what_is_wrong_is_refused_alone_and_its_place_is_kept(server, as_array):
    good, other = new(), new()
    wrong = {**thumbs("x"), "feedback_value": {"up": 1}}
    answer = send(server, [inference(good), wrong, thumbs(other)], as_array=as_array)
    assert (answer.status, statuses(answer)) == (207, [202, 422, 202])
    assert (answer.json["accepted"], answer.json["refused"]) == (2, 1)
    problem = answer.json["results"][1]["problem"]
    assert (problem["reason"], problem["field"], problem["status"]) == ("wrong_type", "feedback_value.up", 422)
    letter = logged(server.home, "dead_letter")[-1]
    assert (letter["origin"], letter["line"], letter["kind"]) == ("POST /v1/batch", 2, "feedback")
    assert json.loads(letter["body"]) == wrong


def test_blank_lines_and_line_ends_do_not_count_but_lines_are_numbered_as_they_stand(server):
    body = f"\n  \r\n{text(inference(new()))}\r\n\n\t\nnot json\n{text(thumbs(new()))}"
    answer = server.post("/v1/batch", body, headers=LINES)
    assert statuses(answer) == [202, 400, 202]
    assert [r["index"] for r in answer.json["results"]] == [0, 1, 2]
    assert logged(server.home, "dead_letter")[-1]["line"] == 6


@pytest.mark.parametrize(("body", "headers"), [("", LINES), ("\n\n", LINES), ("[]", ARRAY), (" [ ] ", ARRAY)])
def test_an_empty_batch_is_no_error(server, body, headers):
    answer = server.post("/v1/batch", body, headers=headers)
    assert (answer.status, answer.json) == (202, {"accepted": 0, "duplicates": 0, "refused": 0, "results": []})


def test_an_id_twice_in_one_batch_is_a_repetition_or_a_conflict(server):
    one, two = new(), new()
    events = [
        inference(one),
        inference(one),
        inference(one, text="other"),
        thumbs(two),
        thumbs(one),
        thumbs(two, up=False),
    ]
    answer = send(server, events)
    assert statuses(answer) == [202, 202, 409, 202, 202, 409]
    assert [r.get("duplicate") for r in answer.json["results"]] == [False, True, None, False, False, None]
    assert (answer.json["accepted"], answer.json["duplicates"], answer.json["refused"]) == (3, 1, 2)
    first, again = answer.json["results"][:2]
    assert first["log_seq"] == again["log_seq"]


@pytest.mark.parametrize("items", [["1", "null", '"x"', "[[]]", "true", "{}"], ["not json"], ["1.5e3"]])
def test_elements_that_are_no_events_are_refused_one_by_one_or_the_array_is_none(server, items):
    before = heads(server.home)
    answer = send(server, items, as_array=True)
    if items == ["not json"]:
        assert (answer.status, answer.reason) == (400, "body_not_ours")
    else:
        assert (answer.status, set(statuses(answer))) == (207, {422})
        assert heads(server.home) == (*before[:2], before[2] + len(items))


@pytest.mark.parametrize(
    "body", ["", "{}", "1", "null", '"[]"', "[1,]", "[{}", "[] []", "[" * 100_000, b"[\xff]", '["\\ud800"']
)
def test_what_is_no_array_is_a_400_and_nothing_is_kept(server, body):
    before = heads(server.home)
    refused = server.post("/v1/batch", body, headers=ARRAY)
    assert (refused.status, refused.reason) == (400, "body_not_ours")
    assert "NDJSON" in refused.json["detail"]
    assert heads(server.home) == before


def test_more_events_than_the_limit_are_refused_together(server):
    before = heads(server.home)
    many = [text(thumbs(f"many-{n}")) for n in range(MAX_BATCH_EVENTS + 1)]
    for headers, body in ((LINES, "\n".join(many)), (ARRAY, f"[{','.join(many)}]"), (LINES, "\n" * (MAX_LINES + 1))):
        refused = server.post("/v1/batch", body, headers=headers)
        assert (refused.status, refused.reason) == (413, "batch_too_large")
        assert str(MAX_BATCH_EVENTS) in refused.json["detail"]
    assert heads(server.home) == before


def test_a_whole_batch_of_the_largest_size_is_taken_in_groups(server):
    before = heads(server.home)
    full = "\n".join(text(thumbs(f"full-{n}")) for n in range(MAX_BATCH_EVENTS))
    answer = server.post("/v1/batch", gzip.compress(full.encode(), 1), headers={**LINES, "Content-Encoding": "gzip"})
    assert (answer.status, answer.json["accepted"]) == (202, MAX_BATCH_EVENTS)
    assert [r["log_seq"] for r in answer.json["results"]] == [before[1] + n + 1 for n in range(MAX_BATCH_EVENTS)]


def test_an_array_with_very_many_commas_is_counted_and_taken(server):
    """Embeddings have as many commas as a flood of small elements; they are told apart by counting elements."""
    events = [inference(new(), embedding=[0.5] * 20_000) for _ in range(26)]
    answer = send(server, [*events, "7"], as_array=True)
    assert statuses(answer) == [202] * 26 + [422]
    refused = send(server, [*events, "not json"], as_array=True)
    assert (refused.status, refused.reason) == (400, "body_not_ours")


def test_an_event_beyond_the_limit_is_refused_alone(server):
    one = new()
    large = inference("large", metadata={"a": ["x" * 1000] * 4300})
    answer = send(server, [large, inference(one)])
    assert statuses(answer) == [413, 202]
    assert answer.json["results"][0]["problem"]["reason"] == "event_too_large"
    letter = logged(server.home, "dead_letter")[-1]
    assert letter["size_bytes"] == len(text(large))
    assert len(letter["body"]) < 40_000


def test_a_reviewer_may_rule_and_take_back_and_nothing_else(base):
    server, keys = base
    judged = new()
    ruling = {"feedback_type": "adjudication", "feedback_value": {"verdict": "valid"}, "request_id": judged}
    answer = send(server, [thumbs(judged), ruling], key=keys["review"])
    assert statuses(answer) == [403, 202]
    assert "`ingest:feedback`" in answer.json["results"][0]["problem"]["detail"]


@pytest.mark.parametrize(
    ("holder", "permitted", "lacking"),
    [
        ("inference", "inference", "ingest:feedback"),
        ("feedback", "feedback", "ingest:inference"),
    ],
)
def test_each_event_needs_the_scope_of_its_kind(base, holder, permitted, lacking):
    server, keys = base
    before = heads(server.home)
    answer = send(server, [inference(new()), thumbs(new()), inference(new()), "{}"], key=keys[holder])
    expected = [202, 403, 202, 422] if permitted == "inference" else [403, 202, 403, 403]
    assert (answer.status, statuses(answer)) == (207, expected)
    refused = next(r for r in answer.json["results"] if r["status"] == 403)
    assert refused["problem"]["reason"] == "scope_missing"
    assert f"`{lacking}`" in refused["problem"]["detail"]
    inferences, feedback, dead = heads(server.home)
    assert (inferences - before[0], feedback - before[1]) == (expected[:3].count(202) * (permitted == "inference"),
                                                              expected[:3].count(202) * (permitted == "feedback"))  # fmt: skip
    assert dead - before[2] == expected.count(422), "what the key may not send is not kept"


def test_a_key_that_may_send_nothing_is_refused_as_a_whole(base):
    server, keys = base
    before = heads(server.home)
    refused = send(server, [inference(new())], key=keys["reader"])
    assert (refused.status, refused.reason) == (403, "scope_missing")
    assert heads(server.home) == before


@st.composite
def batches(draw):
    """Batches in a row, of events that repeat, contradict one another and are broken."""
    kinds = st.sampled_from(["inference", "feedback"])
    good = st.tuples(kinds, st.integers(0, 5), st.integers(0, 1))
    one = st.one_of(good, good, st.sampled_from(BROKEN))
    return draw(st.lists(st.tuples(st.booleans(), st.lists(one, max_size=12)), min_size=1, max_size=4))


def made(one, prefix):
    if isinstance(one, str):
        return one
    kind, number, variant = one
    event_id = f"{prefix}-{number}"
    if kind == "inference":
        return inference(event_id, text=f"variant {variant}")
    return thumbs(event_id, up=bool(variant))


@given(history=batches())
@settings(max_examples=40)
def test_counts_add_up_and_every_event_has_one_fate(server, history):
    """Against a model: the first body under an id is accepted, its like are repetitions, others conflicts."""
    prefix, before = new("h"), heads(server.home)
    seen: dict[tuple[str, int], tuple[int, int]] = {}
    accepted = {"inference": 0, "feedback": 0}
    dead = 0
    for as_array, batch in history:
        batch = [one for one in batch if not as_array or is_json(made(one, prefix))]
        answer = send(server, [made(one, prefix) for one in batch], as_array=as_array)
        body = answer.json
        results = body["results"]
        assert [r["index"] for r in results] == list(range(len(batch)))
        fresh = repeated = 0
        for one, result in zip(batch, results, strict=True):
            if isinstance(one, str):
                assert result["status"] in (400, 422)
                dead += 1
                continue
            kind, number, variant = one
            first, seq = seen.get((kind, number), (variant, before[kind == "feedback"] + accepted[kind] + 1))
            if (kind, number) not in seen:
                assert (result["status"], result["duplicate"], result["log_seq"]) == (202, False, seq)
                seen[kind, number] = (variant, seq)
                accepted[kind] += 1
                fresh += 1
            elif variant == first:
                assert (result["status"], result["duplicate"], result["log_seq"]) == (202, True, seq)
                repeated += 1
            else:
                assert (result["status"], result["problem"]["reason"]) == (409, "id_conflict")
                dead += 1
        assert (body["accepted"], body["duplicates"], body["refused"]) == (
            fresh,
            repeated,
            len(batch) - fresh - repeated,
        )
        assert answer.status == (207 if body["refused"] else 202)
    assert heads(server.home) == (before[0] + accepted["inference"], before[1] + accepted["feedback"], before[2] + dead)


def is_json(event):
    if not isinstance(event, str):
        return True
    try:
        msgspec.json.decode(event)
    except msgspec.DecodeError:
        return False
    return True
