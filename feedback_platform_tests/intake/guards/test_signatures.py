"""Signed requests: what any Standard Webhooks library signs is accepted, and nothing that was changed or is old."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.errors import AccessError, ConfigError
from feedback_platform.intake.guards import signatures
from feedback_platform.intake.guards.signatures import new_secret, read_secret, sign, verify, written

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SECRET, OTHER = hashlib.sha256(b"1").digest(), hashlib.sha256(b"2").digest()
BODY = '{"feedback_type": "thumbs", "explanation": "schön"}'.encode()
SECRETS = st.binary(min_size=24, max_size=64)
IDS = st.from_regex(r"msg_[A-Za-z0-9]{1,30}", fullmatch=True)


def refusal(secrets, headers, body=BODY, now=NOW):
    with pytest.raises(AccessError) as caught:
        verify(secrets, headers, body, now)
    assert caught.value.status == 401
    return caught.value.reason


def test_the_published_example():
    """Secret, id, time, body and signature from the test suites of the published libraries."""
    secret = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    at = datetime.fromtimestamp(1614265330, UTC)
    assert verify([secret], headers, b'{"test": 2432232314}', at) == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert sign([secret], headers["webhook-id"], at, b'{"test": 2432232314}') == headers


@given(SECRETS, IDS, st.text())
def test_the_published_library_accepts_what_we_sign(secret, message_id, text):
    headers = sign([secret], message_id, datetime.now(UTC), text.encode())
    standardwebhooks.Webhook(written(secret)).verify(text, headers, json_parse=False)


@given(SECRETS, IDS, st.text(), st.booleans())
def test_we_accept_what_the_published_library_signs(secret, message_id, text, capitals):
    line = standardwebhooks.Webhook(written(secret)).sign(message_id, NOW, text)
    headers = {"webhook-id": message_id, "webhook-timestamp": str(int(NOW.timestamp())), "webhook-signature": line}
    if capitals:
        headers = {name.title(): value for name, value in headers.items()}
    assert verify([secret], headers, text.encode(), NOW) == message_id


@given(st.binary(), st.integers(0, 10**6), st.integers(1, 255))
def test_any_changed_byte_is_noticed(body, place, change):
    headers = sign([SECRET], "m", NOW, body)
    changed = bytearray(body or b"x")
    changed[place % len(changed)] ^= change
    assert refusal([SECRET], headers, bytes(changed)) == "signature_invalid"
    assert refusal([SECRET], headers, body + b" ") == "signature_invalid"


def test_id_and_time_are_signed_too():
    headers = sign([SECRET], "m", NOW, BODY)
    assert refusal([SECRET], {**headers, "webhook-id": "n"}) == "signature_invalid"
    later = str(int(headers["webhook-timestamp"]) + 1)
    assert refusal([SECRET], {**headers, "webhook-timestamp": later}) == "signature_invalid"
    assert refusal([OTHER], headers) == "signature_invalid"
    assert refusal([], headers) == "signature_invalid"


@pytest.mark.parametrize(("seconds", "fits"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_five_minutes_either_way_are_tolerated(seconds, fits):
    headers = sign([SECRET], "m", NOW, BODY)
    now = NOW + timedelta(seconds=seconds)
    if fits:
        assert verify([SECRET], headers, BODY, now) == "m"
    else:
        assert refusal([SECRET], headers, now=now) == "signature_stale"


def test_secrets_rotate_on_either_side():
    both = sign([SECRET, OTHER], "m", NOW, BODY)
    assert verify([OTHER], both, BODY, NOW) == verify([SECRET], both, BODY, NOW) == "m"
    assert verify([OTHER, SECRET], sign([SECRET], "m", NOW, BODY), BODY, NOW) == "m"
    unknown = {**both, "webhook-signature": f"v1a,abc= {both['webhook-signature']}"}
    assert verify([SECRET], unknown, BODY, NOW) == "m", "other schemes are passed over"


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_named(name):
    headers = sign([SECRET], "m", NOW, BODY)
    del headers[name]
    with pytest.raises(AccessError, match=name):
        verify([SECRET], headers, BODY, NOW)
    assert refusal([SECRET], {**headers, name: ""}) == "signature_missing"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", "a.b"), ("webhook-id", "a b"), ("webhook-id", "é"), ("webhook-id", "a" * 257),
        ("webhook-timestamp", "1e9"), ("webhook-timestamp", "-1"), ("webhook-timestamp", "٣"),
        ("webhook-timestamp", "9" * 12), ("webhook-timestamp", "1772442000.5"),
        ("webhook-signature", "v2,abc"), ("webhook-signature", " ".join(["v1,abc"] * 9)),
    ],
)  # fmt: skip
def test_headers_of_another_form_are_refused(name, value):
    assert refusal([SECRET], {**sign([SECRET], "m", NOW, BODY), name: value}) == "signature_malformed"


@given(st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text(max_size=40)))
def test_any_headers_are_answered(headers):
    assert refusal([SECRET], headers).startswith("signature_")


@given(st.text(max_size=60))
def test_a_signature_that_is_no_ascii_is_only_wrong(text):
    headers = {**sign([SECRET], "m", NOW, BODY), "webhook-signature": f"v1,\ud800{text}"}
    assert refusal([SECRET], headers) in {"signature_invalid", "signature_malformed"}


def test_secrets_have_one_written_form():
    assert read_secret(new_secret()) != read_secret(new_secret())
    assert len(read_secret(new_secret())) == signatures.SECRET_BYTES
    assert read_secret(written(SECRET)) == SECRET
    for text in ("", "whsec_", "whsec_!!!!", written(b"short"), written(SECRET)[6:], written(bytes(65)), "whsec_é"):
        with pytest.raises(ConfigError) as caught:
            read_secret(text)
        assert not text[6:] or text[6:] not in str(caught.value)


def test_an_id_that_could_lend_its_tail_to_the_time_is_not_signed():
    with pytest.raises(ConfigError, match="Use a UUID"):
        sign([SECRET], "m.1", NOW, BODY)
