"""Feedback tokens: their bearer may judge the one request that they were served, until the token expires."""

import json
import subprocess
import sys
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.contracts.events import parse_feedback
from feedback_platform.contracts.wire_feedback import AnyFeedback, Feedback
from feedback_platform.errors import AccessError, ConfigError
from feedback_platform.intake.guards import tokens
from feedback_platform.intake.guards.token_rules import USUAL, restrict, stamped
from feedback_platform.intake.guards.tokens import FEEDBACK_TYPES, FeedbackToken, check, issue, token_key

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
KEYS = {"acme": bytes(range(32)), "other": bytes(range(1, 33))}
GOLDEN = (
    "fpt1.eyJ0IjoiYWNtZSIsInIiOiJyMSIsIngiOjE3NzI0NDU2MDAsInUiOiJ6b8OrIiwiayI6WyJyYXRpbmciLCJ0aHVtYnMiXX0"
    ".H612TpA0aWjysWWm3zJ61T5xGaW63Ad7H7t5wF9W8oE"
)
UUID = "0190163d-8694-739b-aea5-966c26f8ad91"

REQUEST_IDS = st.from_regex(r"[A-Za-z0-9_.:\-]{1,128}", fullmatch=True)
USERS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)
TYPES = st.none() | st.sets(st.sampled_from(sorted(FEEDBACK_TYPES)))


def refusal(token, now=NOW, keys=KEYS):
    with pytest.raises(AccessError) as caught:
        check(keys.get, token, now)
    assert caught.value.status == 401
    return caught.value.reason


def forged(body, key=KEYS["acme"]):
    """A token over any payload, signed with the right key."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    signed = f"fpt1.{urlsafe_b64encode(payload).rstrip(b'=').decode()}"
    return f"{signed}.{tokens._mac(key, signed)}"


def test_the_golden_token():
    """A token that other implementations must issue and accept, byte for byte."""
    token = issue(KEYS["acme"], "acme", "r1", LATER, user_id="zoë", types=["thumbs", "rating"])
    assert token == GOLDEN
    said = FeedbackToken("acme", "r1", "zoë", frozenset({"thumbs", "rating"}))
    assert check(KEYS.get, GOLDEN, NOW) == said


def test_the_golden_key():
    assert token_key(bytes(32)).hex() == "fee8f8f4b93cd21a6e5c3af910f6463a1efe9b3635c366b3de604738300159bb"


@given(REQUEST_IDS, USERS, TYPES, st.sampled_from(sorted(KEYS)))
def test_a_token_says_what_was_issued(request_id, user, types, tenant):
    token = issue(KEYS[tenant], tenant, request_id, LATER, user_id=user, types=types)
    said = check(KEYS.get, token, NOW)
    assert said == FeedbackToken(tenant, request_id, user, None if types is None else frozenset(types))
    assert len(token) <= tokens.MAX_CHARS
    assert token.isascii()


@given(st.integers(0, 10**6), st.characters())
def test_no_letter_can_be_changed(place, letter):
    place %= len(GOLDEN)
    changed = GOLDEN[:place] + letter + GOLDEN[place + 1 :]
    if changed != GOLDEN:
        assert refusal(changed) in {"token_malformed", "token_invalid"}


def test_the_tenant_cannot_be_exchanged():
    """Neither by a word in the payload nor by a tenant that signs for another."""
    token = issue(KEYS["other"], "acme", "r1", LATER)
    assert refusal(token) == "token_invalid"
    ours, theirs = issue(KEYS["acme"], "acme", "r1", LATER), issue(KEYS["other"], "other", "r1", LATER)
    mixed = f"{theirs.rsplit('.', 1)[0]}.{ours.rsplit('.', 1)[1]}"
    assert refusal(mixed) == "token_invalid"
    assert refusal(theirs, keys={"acme": KEYS["acme"]}) == "token_invalid"


def test_the_key_lookup_is_only_asked_for_names_of_tenants():
    asked: list[str] = []
    for name in ("../acme", "", "ACME", "acme\n", 7, None, ["acme"]):
        with pytest.raises(AccessError) as caught:
            check(asked.append, forged({"t": name, "r": "r1", "x": 2**33}), NOW)
        assert caught.value.reason == "token_malformed"
    assert asked == []


def test_an_unknown_tenant_is_not_signed_for_with_a_guessable_key():
    token = issue(bytes(32), "ghost", "r1", LATER)
    assert refusal(token) == "token_invalid"


def test_a_token_ends_at_its_second():
    token = issue(KEYS["acme"], "acme", "r1", LATER + timedelta(milliseconds=900))
    assert check(KEYS.get, token, LATER - timedelta(microseconds=1)).request_id == "r1"
    assert refusal(token, LATER) == "token_expired"
    assert refusal(issue(KEYS["other"], "acme", "r1", NOW), LATER) == "token_invalid", "an expired forgery is a forgery"


@pytest.mark.parametrize(
    "body",
    [
        {}, [], 7, {"t": "acme", "r": "r1"}, {"t": "acme", "r": "r1", "x": 1.5}, {"t": "acme", "r": "r1", "x": True},
        {"t": "acme", "r": "r1", "x": "9"}, {"t": "acme", "r": "r1", "x": -1}, {"t": "acme", "r": "a b", "x": 2**33},
        {"t": "acme", "r": "r1", "x": 2**33, "k": None}, {"t": "acme", "r": "r1", "x": 2**33, "k": [1]},
        {"t": "acme", "r": "r1", "x": 2**33, "u": ""}, {"t": "acme", "r": "r1", "x": 2**33, "u": None},
        {"t": "acme", "r": "r1", "x": 2**33, "u": "\ud800"}, {"t": "acme", "r": "r1", "x": 2**33, "admin": True},
        b"\xff", b"", b"[" * 2_900, b'{"t":"acme","r":"r1","x":' + b"9" * 2_900 + b"}",
    ],
)  # fmt: skip
def test_a_payload_of_another_form_is_malformed_even_when_signed(body):
    assert refusal(forged(body)) == "token_malformed"


@given(st.none() | st.text() | st.from_regex(r"fpt1\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{43}", fullmatch=True))
def test_any_text_is_answered(text):
    assert refusal(text) in {"token_malformed", "token_invalid"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"key": b"short"}, "5 bytes instead of 32"),
        ({"tenant": "Acme"}, "not a tenant name"),
        ({"request_id": "a b"}, "request id 'a b'"),
        ({"expires_at": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001
        ({"user_id": ""}, "user id ''"),
        ({"user_id": "\ud800"}, "Unicode text"),
        ({"types": ["thumbs", "adjudication"]}, "'adjudication' cannot be allowed"),
    ],
)
def test_what_cannot_be_issued_is_named(fields, words):
    given_ = {"key": KEYS["acme"], "tenant": "acme", "request_id": "r1", "expires_at": LATER, **fields}
    with pytest.raises(ConfigError, match=words):
        issue(**given_)


def test_a_model_server_needs_the_standard_library_only():
    code = (
        "import sys; before = set(sys.modules); import feedback_platform.intake.guards.tokens\n"
        "names = {m.split('.')[0] for m in set(sys.modules) - before} - {'feedback_platform'}\n"
        "print(sorted(names - sys.stdlib_module_names))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


# --- what the bearer may say

VALUES: dict[str, dict[str, Any]] = {
    "thumbs": {"up": True},
    "rating": {"score": 1, "min": 0, "max": 2},
    "label": {"label": "cat"},
    "explicit_correction": {"output": "better"},
    "preference_pair": {"chosen": {"item_id": "a"}, "rejected": {"output": "x"}},
    "ranking": {"order": [{"item_id": "a"}, {"request_id": "r1"}]},
    "implicit": {"signal": "click", "value": True},
    "outcome": {"name": "conversion", "value": 1},
    "comment": {"text": "hm"},
    "adjudication": {"verdict": "valid"},
    "retraction": {"feedback_id": "f1"},
}
ANONYMOUS = FeedbackToken("acme", "r1")
ANN = FeedbackToken("acme", "r1", "ann")
ALL = FeedbackToken("acme", "r1", "ann", FEEDBACK_TYPES)


def event(kind="thumbs", **fields):
    body = {"feedback_type": kind, "feedback_value": VALUES[kind], "request_id": "r1", **fields}
    return {name: value for name, value in body.items() if value is not None}


def reason(body, token=ANN):
    with pytest.raises(AccessError) as caught:
        restrict(body, token)
    assert caught.value.status == 403
    assert str(caught.value).endswith(".")
    return caught.value.reason


def test_every_feedback_type_is_decided_on():
    known = {kind.__struct_config__.tag for kind in AnyFeedback.__args__}
    assert known == set(VALUES) == FEEDBACK_TYPES | {"adjudication"}
    assert known - USUAL == {"outcome", "retraction", "adjudication"}


@pytest.mark.parametrize("kind", sorted(USUAL))
@pytest.mark.parametrize("token", [ANONYMOUS, ANN])
def test_the_usual_types_pass_for_the_request_and_its_parts(kind, token):
    assert restrict(event(kind), token).user_id == token.user_id
    for part in ("item_id", "step_id", "chunk_id"):
        body = event(kind, request_id=None, target={"request_id": "r1", part: "p"})
        assert restrict(body, token) == restrict(parse_feedback(body), token)


@pytest.mark.parametrize("kind", sorted(VALUES))
def test_no_type_reaches_another_request(kind):
    value = {"verdict": "valid", "feedback_id": "f1"} if kind == "adjudication" else VALUES[kind]
    for token in (ANONYMOUS, ANN, ALL):
        for place in (
            {"request_id": "r2"}, {"request_id": None, "inference_request_id": "r2"},
            {"request_id": None, "target": {"request_id": "r2", "item_id": "a"}},
            {"request_id": None, "target": {"inference_request_id": "r2"}},
            {"request_id": None, "target": {"session_id": "s"}}, {"request_id": None, "target": {"keys": {"order": "1"}}},
        ):  # fmt: skip
            found = reason(event(kind, feedback_value=value, **place), token)
            assert found in {"token_other_request", "token_target_refused", "token_type_refused"}
            if token is ALL and kind != "adjudication":
                assert found != "token_type_refused"


def test_no_reference_reaches_another_request():
    other, same = {"request_id": "r2"}, {"request_id": "r1"}
    for chosen, rejected in ((other, same), (same, other)):
        body = event("preference_pair", feedback_value={"chosen": chosen, "rejected": rejected})
        assert reason(body) == "token_other_request"
    assert reason(event("ranking", feedback_value={"order": [same, {"item_id": "a"}, other]})) == "token_other_request"


def test_outcomes_and_retractions_must_be_allowed_by_name_and_adjudications_cannot_be():
    for kind in ("outcome", "retraction", "adjudication"):
        assert reason(event(kind)) == "token_type_refused"
    for body in (event("outcome"), event("retraction"), event("retraction", request_id=None)):
        assert restrict(body, ALL).user_id == "ann"
    assert reason(event("retraction"), FeedbackToken("acme", "r1", None, FEEDBACK_TYPES)) == "token_type_refused"
    lavish = FeedbackToken("acme", "r1", "ann", FEEDBACK_TYPES | {"adjudication"})
    assert reason(event("adjudication"), lavish) == "token_type_refused"


def test_a_token_may_allow_less():
    ratings = FeedbackToken("acme", "r1", None, frozenset({"rating"}))
    assert restrict(event("rating"), ratings).source.id == "served:r1"
    assert reason(event("thumbs"), ratings) == "token_type_refused"
    assert reason(event("rating"), FeedbackToken("acme", "r1", None, frozenset())) == "token_type_refused"


def test_nobody_speaks_for_another():
    for claim in ({"user_id": "bob"}, {"source": {"kind": "human", "id": "bob"}}):
        assert reason(event(**claim), ANN) == reason(event(**claim), ANONYMOUS) == "token_other_user"
    assert restrict(event(user_id="ann", source={"kind": "human", "id": "ann"}), ANN).user_id == "ann"
    assert reason(event(user_id="ann"), ANONYMOUS) == "token_other_user"


def test_nobody_passes_for_a_machine_or_an_exempt_client():
    for kind in ("model", "code"):
        assert reason(event(source={"kind": kind})) == "token_source_refused"
    assert restrict(event(source={"client": "expert"}), ANN).source.client == "browser:expert"
    assert reason(event(source={"client": "x" * 250})) == "token_source_refused"


def test_nobody_takes_an_id_that_could_be_anothers():
    assert reason(event(feedback_id="fb-r2")) == "token_id_refused"
    assert restrict(event(feedback_id=UUID), ANN).user_id == "ann"


@given(
    st.sampled_from(sorted(USUAL)),
    st.sampled_from([ANONYMOUS, ANN]),
    st.none() | st.just("s1"),
    st.none() | st.just("web"),
)
def test_the_stamp_decides_who_the_rater_is(kind, token, session, client):
    parsed = parse_feedback(event(kind, session_id=session, source=None if client is None else {"client": client}))
    written = stamped(parsed, restrict(parsed, token))
    assert isinstance(written, Feedback)
    assert written.source is not None
    rater = written.source.id or written.user_id or written.session_id
    assert rater == (token.user_id or "served:r1")
    assert (written.user_id, written.source.kind) == (token.user_id, "human")
    assert (written.feedback_value, written.request_id) == (parsed.feedback_value, "r1")
