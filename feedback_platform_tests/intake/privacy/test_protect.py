"""The door: ids leave as pseudonyms, texts as the policy says, everything else and the order as they came."""

import threading

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_platform.contracts.events import parse_feedback, parse_inference
from feedback_platform.contracts.wire_feedback import AnyFeedback
from feedback_platform.errors import EventRejected
from feedback_platform.intake.privacy.leaves import FREE_TEXT, dotted, leaves, texts
from feedback_platform.intake.privacy.policy import PrivacyPolicy
from feedback_platform.intake.privacy.protect import Privacy

KEY = bytes(range(32))
MAIL = "ann@example.com"


def inference(**more):
    base = {"request_id": "r-1", "timestamp": "2026-01-01T00:00:00Z", "model": "m", "model_version": "1"}
    return parse_inference({**base, "input": "question", "output": "answer", **more})


def feedback(kind="thumbs", value=None, **more):
    body = {"feedback_type": kind, "feedback_value": value or {"up": True}}
    return parse_feedback({**body, **({} if "target" in more else {"request_id": "r-1"}), **more})


def door(mode="report", **more):
    return Privacy(PrivacyPolicy(mask_text=mode, **more), KEY)


def plain(event):
    return msgspec.json.decode(msgspec.json.encode(event))


# Every free text of the contract holds the address; so do an id and a category, which are none.
FULL = {
    "task": MAIL, "user_id": MAIL, "session_id": MAIL, "keys": {"order": MAIL}, "segments": {"region": MAIL},
    "parameters": {"stop": MAIL}, "tools": [{"name": MAIL}], "attributions": {"method": "m", "values": {"x": MAIL}},
    "input": {"messages": [{"role": "user", "content": MAIL}, {"role": "user", "content": [{"text": MAIL}]}]},
    "output": {MAIL: [MAIL, {"deep": [MAIL]}]}, "template": {"id": MAIL, "variables": {"name": MAIL}},
    "items": [{"item_id": MAIL, "position": 0, "features": {"f": MAIL}, "output": MAIL}], "decision": MAIL,
    "retrieved": [{"chunk_id": MAIL, "text": MAIL}], "route": [{"component": MAIL, "version": "1", "output": MAIL}],
    "steps": [{"id": MAIL, "name": MAIL, "input": MAIL, "output": {"x": MAIL}, "error": MAIL}],
    "system": {"endpoint": MAIL}, "metadata": {"note": MAIL},
}  # fmt: skip
FREE = [
    "input.messages[0].content", "input.messages[1].content[0].text", f"output.{MAIL}[0]", f"output.{MAIL}[1].deep[0]",
    "template.variables.name", "items[0].features.f", "items[0].output", "decision", "retrieved[0].text",
    "route[0].output", "steps[0].input", "steps[0].output.x", "steps[0].error", "system.endpoint", "metadata.note",
]  # fmt: skip
VALUES = {
    "label": ({"label": MAIL}, ["label"]),
    "explicit_correction": ({"output": {"a": MAIL}}, ["output.a"]),
    "preference_pair": ({"chosen": {"output": MAIL}, "rejected": {"item_id": MAIL}}, ["chosen.output"]),
    "ranking": ({"order": [{"output": MAIL}, {"item_id": MAIL}]}, ["order[0].output"]),
    "comment": ({"text": MAIL}, ["text"]),
    "adjudication": ({"verdict": "valid", "label": MAIL, "output": MAIL}, ["label", "output"]),
    "implicit": ({"signal": MAIL, "value": 1.0}, []),
    "outcome": ({"name": MAIL, "value": True}, []),
}


def hits(event):
    return [dotted(leaf.path) for leaf in leaves(event) if leaf.text == MAIL]


def test_ids_of_an_inference_become_pseudonyms():
    privacy = door()
    (event,) = privacy.protect([inference(user_id="u", session_id="s")])
    assert event.user_id == privacy.pseudonyms.of("person", "u")
    assert event.session_id == privacy.pseudonyms.of("session", "s")


def test_a_rater_who_is_the_user_stays_recognisable():
    privacy = door()
    sent = feedback(user_id="u", source={"id": "u"}, target={"session_id": "s"}, session_id="s")
    (event,) = privacy.protect([sent])
    assert event.user_id == event.source.id == privacy.pseudonyms.of("person", "u")
    assert event.target.session_id == event.session_id == privacy.pseudonyms.of("session", "s")


@pytest.mark.parametrize("kind", ["model", "code"])
def test_models_and_code_are_no_people(kind):
    (event,) = door().protect([feedback(source={"kind": kind, "id": "judge-7", "client": "c"})])
    assert event.source.id == "judge-7"


@pytest.mark.parametrize("chosen", ["user_id", "session_id", "source.id"])
def test_only_chosen_ids_are_replaced(chosen):
    sent = {"user_id": "u", "session_id": "s", "target": {"session_id": "t"}, "source": {"id": "r"}}
    (event,) = door(pseudonymise=(chosen,)).protect([feedback(**sent)])
    kept = {"user_id": event.user_id == "u", "source.id": event.source.id == "r",
            "session_id": event.session_id == "s" and event.target.session_id == "t"}  # fmt: skip
    assert kept == {name: name != chosen for name in kept}


@pytest.mark.parametrize("mode", ["off", "report"])
def test_nothing_else_changes_without_masking(mode):
    privacy = door(mode)
    sent = [inference(**FULL), *(feedback(kind, value, explanation=MAIL) for kind, (value, _) in VALUES.items())]
    before = [plain(event) for event in sent]
    before[0] |= {
        "user_id": privacy.pseudonyms.of("person", MAIL),
        "session_id": privacy.pseudonyms.of("session", MAIL),
    }
    assert [plain(event) for event in privacy.protect(sent)] == before


def test_every_free_text_of_an_inference_is_masked_and_no_other():
    event = inference(**FULL)
    assert hits(event) == FREE
    others = plain(event)
    (masked,) = door("mask").protect([event])
    assert hits(masked) == []
    after = plain(masked)
    for name in ("task", "keys", "segments", "parameters", "tools", "attributions"):
        assert after[name] == others[name]
    assert list(after["output"]) == [MAIL], "keys of objects are not masked"
    assert after["steps"][0] == {
        "id": MAIL,
        "name": MAIL,
        "input": "[EMAIL]",
        "output": {"x": "[EMAIL]"},
        "error": "[EMAIL]",
    }
    assert after["input"]["messages"][0] == {"role": "user", "content": "[EMAIL]"}


@pytest.mark.parametrize("kind", VALUES)
def test_every_free_text_of_feedback_is_masked_and_no_other(kind):
    value, free = VALUES[kind]
    event = feedback(kind, value, explanation=MAIL, metadata={"a": MAIL}, name=MAIL, segments={"x": MAIL})
    assert hits(event) == [f"feedback_value.{path}" for path in free] + ["explanation", "metadata.a"]
    (masked,) = door("mask").protect([event])
    assert hits(masked) == []
    assert (masked.name, masked.segments) == (MAIL, {"x": MAIL})


def test_the_contract_holds_no_kind_of_feedback_that_is_not_looked_at():
    assert set(AnyFeedback.__args__) < set(FREE_TEXT)


def test_a_refusal_names_the_place_and_never_the_value():
    clean, dirty, last = (
        inference(request_id="a"),
        inference(steps=[{"id": "s", "name": "n", "output": [MAIL]}]),
        feedback(),
    )
    privacy = door("reject")
    first, refusal, third = privacy.protect([clean, dirty, last])
    assert (first, third) == (clean, last)
    assert isinstance(refusal, EventRejected)
    assert (refusal.reason, refusal.field, refusal.value) == ("personal_data", "steps[0].output[0]", "")
    assert MAIL not in str(refusal)
    assert "(email)" in refusal.fix
    assert privacy.counts().events_rejected == 1


def test_report_counts_what_mask_would_mask():
    sent = [inference(**FULL), feedback(explanation=f"{MAIL} or +49 30 1234567"), feedback()]
    report, mask = door("report"), door("mask")
    out = report.protect(msgspec.json.decode(msgspec.json.encode(sent)) and [*sent])
    assert report.counts().events_not_scanned == 3
    report.observe(out)
    mask.protect(out)
    assert report.counts().found == mask.counts().found == {"email": len(FREE) + 1, "phone": 1}
    assert (report.counts().masked, mask.counts().masked) == ({}, mask.counts().found)
    for counts in (report.counts(), mask.counts()):
        assert (counts.events_seen, counts.events_with_hits, counts.events_not_scanned) == (3, 2, 0)


def test_off_looks_at_nothing():
    privacy = door("off")
    privacy.observe(privacy.protect([inference(output=MAIL)]))
    counts = privacy.counts()
    assert (counts.events_seen, counts.events_not_scanned, counts.found) == (1, 1, {})


def test_own_patterns_count_under_their_names():
    privacy = door("mask", patterns={"staff": r"\bE-[0-9]{5}\b"})
    (event,) = privacy.protect([inference(output="ask E-12345")])
    assert event.output == "ask [STAFF]"
    assert privacy.counts().masked == {"staff": 1}


def test_threads_share_one_door():
    privacy = door("mask")

    def work():
        for _ in range(20):
            privacy.protect([inference(output=MAIL, user_id="u")])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (privacy.counts().events_seen, privacy.counts().masked) == (80, {"email": 80})


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.sampled_from([MAIL, "x", "", "call +49 30 1234567"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab@.", max_size=4), inner, max_size=3),
    max_leaves=8,
)
ids = st.none() | st.sampled_from(["u", "v", MAIL])
inferences = st.builds(
    lambda given, output, metadata, user: inference(
        input=[given], output=output, metadata={"m": metadata}, **({"user_id": user} if user else {})
    ),
    json_values, json_values, json_values, ids,
)  # fmt: skip
comments = st.builds(
    lambda text, user, rater: feedback("comment", {"text": f"t {text}"}, user_id=user, source={"id": rater}),
    ids,
    ids,
    ids,
)


@settings(max_examples=100)
@given(st.lists(inferences | comments, max_size=5), st.sampled_from(["off", "report", "mask", "reject"]))
def test_order_and_number_stay_and_a_second_pass_changes_nothing(events, mode):
    names = [getattr(event, "request_id", None) for event in events]
    privacy = door(mode)
    out = privacy.protect(events)
    assert len(out) == len(events)
    kept = [event for event in out if not isinstance(event, EventRejected)]
    assert all(event is sent for event, sent in zip(out, events, strict=True) if not isinstance(event, EventRejected))
    assert [getattr(event, "request_id", None) for event in events] == names
    before = [plain(event) for event in kept]
    assert [plain(event) for event in privacy.protect(kept)] == before


@settings(max_examples=100)
@given(inferences | comments)
def test_the_fast_reader_of_texts_agrees_with_the_exact_one(event):
    assert texts(event) == [leaf.text for leaf in leaves(event)]
