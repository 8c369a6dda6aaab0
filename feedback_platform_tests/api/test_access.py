"""Who may do what over HTTP: keys, scopes, signatures, origins, development mode, feedback tokens, rates."""

import itertools
import json
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from feedback_platform.intake.guards.key_rows import IssuedKey
from feedback_platform.intake.guards.keys import KeyStore, key_store_path
from feedback_platform.intake.guards.principal import SCOPES
from feedback_platform.intake.guards.signatures import read_secret, sign
from feedback_platform.settings import Settings
from feedback_platform_tests.api.serving import eventually, exchange, heads, logged, make_key, served
from feedback_platform_tests.builders import adjudication, inference, thumbs

DAY = timedelta(days=1)
JSON_TYPE = {"Content-Type": "application/json"}
PAGE = "https://app.example.com"
TENANT_PAGE = "https://shop.example.org"
SMALL = {
    "limits": {"key": {"per_second": 1, "burst": 12}, "user": {"per_second": 0.5, "burst": 3}},
    "origins": [TENANT_PAGE, "*.shop.example.org"],
}


def now():
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two tenants; `small` has small limits and a page."""
    home = tmp_path_factory.mktemp("access")
    (home / "small").mkdir()
    (home / "small" / "tenant.yaml").write_text(json.dumps(SMALL), encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def keys(home):
    ingest = ("ingest:inference", "ingest:feedback")
    found: dict[str, IssuedKey] = {scope: make_key(home, scope) for scope in SCOPES}
    found["ingest"] = make_key(home, *ingest)
    found["reviewer"] = make_key(home, *ingest, "review")
    found["small"] = make_key(home, *ingest, tenant="small")
    found["small-2"] = make_key(home, *ingest, tenant="small")
    found["page"] = make_key(home, "ingest:feedback", origins=[PAGE])
    found["signed"] = make_key(home, *ingest, "read:dataset", signing=True)
    found["expired"] = make_key(home, *ingest, now=now() - 2 * DAY, expires=now() - DAY)
    found["revoked"] = make_key(home, *ingest)
    with KeyStore(key_store_path(Settings(home=home))) as store:
        store.revoke(found["revoked"].info.key_id, now=now())
    return found


@pytest.fixture(scope="module")
def server(home, keys):
    with served(home) as running:
        yield running


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    with served(tmp_path_factory.mktemp("dev"), "--dev") as running:
        yield running


def person(feedback_id, user, **fields):
    return thumbs(feedback_id, user_id=user, **fields)


# --- keys ---------------------------------------------------------------------------------------------------------------


def test_what_opens_no_door_is_a_401_that_says_how(server, keys):
    before = heads(server.home)
    good = keys["ingest"].plain
    wrong = "fp_live_" + "a" * 12 + "_" + "B" * 32
    cases = [
        ({}, "key_missing"),
        ({"Authorization": ""}, "key_malformed"),
        ({"Authorization": "Bearer"}, "key_malformed"),
        ({"Authorization": f"Basic {good}"}, "key_malformed"),
        ({"Authorization": good}, "key_malformed"),
        ({"Authorization": f'Bearer "{good}"'}, "key_malformed"),
        ({"Authorization": f"Bearer {good} {good}"}, "key_malformed"),
        ({"Authorization": f"Bearer {good[:-1]}"}, "key_malformed"),
        ({"Authorization": "Bearer \u00e9"}, "key_malformed"),
        ({"Authorization": f"Bearer {wrong}"}, "key_unknown"),
        ({"Authorization": f"Bearer {keys['revoked'].plain}"}, "key_revoked"),
        ({"Authorization": f"Bearer {keys['expired'].plain}"}, "key_expired"),
        ({"Authorization": "Bearer fpt1.x.y"}, "scope_missing"),
    ]
    for headers, reason in cases:
        for method, path in (
            ("POST", "/v1/inferences"),
            ("POST", "/v1/batch"),
            ("GET", "/v1/events/x"),
            ("GET", "/metrics"),
        ):
            refused = server.call(method, path, "{}" if method == "POST" else None, headers={**JSON_TYPE, **headers})
            assert refused.reason == reason, (headers, path)
            if reason == "scope_missing":
                assert refused.status == 403
            else:
                assert refused.status == 401
                assert refused.headers["www-authenticate"] == 'Bearer realm="feedback_platform"'
            assert good not in refused.body.decode()
    assert server.post("/v1/inferences", inference("case"), headers={"Authorization": f"bearer {good}"}).status == 202
    assert heads(server.home) == (before[0] + 1, *before[1:])


@pytest.mark.parametrize(
    ("method", "path", "enough", "named"),
    [
        ("POST", "/v1/inferences", {"ingest:inference"}, "ingest:inference"),
        ("POST", "/v1/feedback", {"ingest:feedback", "review"}, "ingest:feedback"),
        ("POST", "/v1/batch", {"ingest:inference", "ingest:feedback", "review"}, "ingest:inference"),
        ("POST", "/v1/traces", {"ingest:inference"}, "ingest:inference"),
        ("POST", "/v1/feedback-tokens", {"ingest:inference"}, "ingest:inference"),
        ("GET", "/v1/events/x", set(SCOPES), None),
        ("GET", "/v1/datasets/d/versions", {"read:dataset"}, "read:dataset"),
        ("GET", "/v1/datasets/d/versions/1/export", {"read:dataset"}, "read:dataset"),
        ("GET", "/metrics", {"admin"}, "admin"),
    ],
)
def test_each_path_asks_for_its_scope_and_names_it(server, keys, method, path, enough, named):
    for scope in SCOPES:
        body = "{}" if method == "POST" else None
        answer = server.call(method, path, body, key=keys[scope].plain, headers=JSON_TYPE)
        refused = answer.status == 403
        assert refused == (scope not in enough), (scope, answer)
        if refused:
            told = answer.body.decode()
            assert f"`{named}`" in told
            assert keys[scope].info.key_id in told
        else:
            assert answer.status not in (401, 500)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/docs", "/problems/key_missing"])
def test_what_tells_nothing_of_anyone_needs_no_key(server, path):
    assert server.get(path).status == 200


def test_a_revoked_key_is_refused_by_the_running_server_within_two_seconds(server, home):
    key = make_key(home, "ingest:inference")
    eventually(lambda: server.get("/v1/events/x", key=key.plain).status == 404, within=3)
    with KeyStore(key_store_path(Settings(home=home))) as store:
        store.revoke(key.info.key_id, now=now())
    began = time.monotonic()
    refused = eventually(lambda: a if (a := server.post("/v1/inferences", {}, key=key.plain)).status == 401 else None)
    assert time.monotonic() - began < 5
    assert refused.reason == "key_revoked"


def test_both_keys_are_good_while_a_rotation_overlaps(server, home):
    old = make_key(home, "ingest:inference")
    with KeyStore(key_store_path(Settings(home=home))) as store:
        fresh = store.rotate(old.info.key_id, timedelta(seconds=3), now=now())
    asked = "/v1/events/x"
    eventually(lambda: server.get(asked, key=fresh.plain).status == 404, within=3)
    assert server.get(asked, key=old.plain).status == 404
    refused = eventually(lambda: a if (a := server.get(asked, key=old.plain)).status == 401 else None, within=5)
    assert refused.reason == "key_expired"
    assert fresh.info.key_id in refused.json["detail"]
    assert server.get(asked, key=fresh.plain).status == 404


# --- signatures and origins ---------------------------------------------------------------------------------------------


def test_a_signed_key_needs_a_signature_of_exactly_these_bytes(server, keys):
    key = keys["signed"]
    secret = read_secret(key.signing_secret)
    body = json.dumps(inference(f"signed-{uuid4()}")).encode()
    batch = b"[" + body + b"]"
    before = heads(server.home)

    def post(path, sent, **signed):
        return server.post(path, sent, key=key.plain, headers={**JSON_TYPE, **signed})

    for path, sent in (
        ("/v1/inferences", body),
        ("/v1/batch", batch),
        ("/v1/traces", b"{}"),
        ("/v1/feedback-tokens", b"{}"),
    ):
        refused = post(path, sent)
        assert refused.status == 401, path
        assert b"must be signed" in refused.body
    assert post("/v1/inferences", body, **sign([secret], "m", now(), body + b" ")).reason == "signature_invalid"
    assert post("/v1/inferences", body, **sign([bytes(32)], "m", now(), body)).reason == "signature_invalid"
    stale = sign([secret], "m", now() - timedelta(minutes=6), body)
    assert post("/v1/inferences", body, **stale).reason == "signature_stale"
    malformed = {**sign([secret], "m", now(), body), "webhook-signature": "v2,xx"}
    assert post("/v1/inferences", body, **malformed).reason == "signature_malformed"
    assert heads(server.home) == before
    assert post("/v1/inferences", body, **sign([secret], "m", now(), body)).status == 202
    assert post("/v1/batch", batch, **sign([bytes(32), secret], "m", now(), batch)).json["duplicates"] == 1


def test_a_signed_key_signs_what_it_reads_too(server, keys):
    key = keys["signed"]
    signed = sign([read_secret(key.signing_secret)], "m", now(), b"")
    for path, status in (("/v1/events/never", 404), ("/v1/datasets/d/versions", 404)):
        for method in ("GET", "HEAD"):
            assert server.call(method, path, key=key.plain).status == 401
            assert server.call(method, path, key=key.plain, headers=signed).status == status


def test_a_key_of_a_page_comes_from_that_page_and_only_sends_feedback(server, keys):
    key = keys["page"].plain

    def post(origin, path="/v1/feedback"):
        body = thumbs(f"page-{uuid4()}", up=False)
        return server.post(path, body, key=key, headers={} if origin is None else {"Origin": origin})

    for origin in (None, "null", "http://app.example.com", f"{PAGE}:8443", "https://app.example.com.evil.org"):
        refused = post(origin)
        assert (refused.status, refused.reason) == (403, "origin_refused")
        assert "access-control-allow-origin" not in refused.headers
    taken = post(PAGE)
    assert (taken.status, taken.headers["access-control-allow-origin"]) == (202, PAGE)
    assert taken.headers["vary"] == "origin"
    assert post(PAGE, "/v1/inferences").reason == "scope_missing"
    server.post("/v1/inferences", inference("confidential", text="what nobody else may read"), key=keys["ingest"].plain)
    asked = server.get("/v1/events/confidential", key=key, headers={"Origin": PAGE})
    assert (asked.status, asked.reason) == (403, "scope_missing")


@pytest.mark.parametrize(
    ("origin", "known"),
    [
        (PAGE, True),
        (TENANT_PAGE, True),
        ("https://a.shop.example.org", True),
        ("https://evil.example.net", False),
        ("null", False),
        (None, False),
    ],
)
def test_a_preflight_is_answered_for_known_pages_only(server, origin, known):
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    if origin is not None:
        asked["Origin"] = origin
    answer = server.call("OPTIONS", "/v1/feedback", headers=asked)
    assert (answer.status, answer.body) == (204, b"")
    assert "content-length" not in answer.headers
    assert ("access-control-allow-origin" in answer.headers) == known
    if known:
        assert answer.headers["access-control-allow-origin"] == origin.strip()
        assert "authorization" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers


def test_a_page_may_read_its_errors_too(server):
    refused = server.post("/v1/feedback", thumbs("x"), headers={"Origin": PAGE})
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, PAGE)


def test_no_other_path_answers_pages(server, keys):
    headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    paths = (
        "/v1/inferences",
        "/v1/batch",
        "/v1/traces",
        "/v1/feedback-tokens",
        "/v1/events/x",
        "/metrics",
        "/healthz",
        "/x",
    )
    for path in paths:
        for method in ("OPTIONS", "GET", "POST"):
            answer = server.call(method, path, headers=headers, key=keys["admin"].plain)
            assert not [name for name in answer.headers if name.startswith("access-control-")], (method, path)
        assert server.call("OPTIONS", path, headers=headers).status in (404, 405)


def test_a_page_is_known_right_after_a_start_before_its_tenant_has_called(home, keys):
    with served(home) as fresh:
        answer = fresh.call("OPTIONS", "/v1/feedback", headers={"Origin": TENANT_PAGE})
        assert answer.headers["access-control-allow-origin"] == TENANT_PAGE


# --- development mode -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"Host": "localhost:1"}, 202),
        ({"Host": "[::1]:1"}, 202),
        ({"Origin": "http://localhost:3000"}, 202),
        ({"Host": "evil.example.net"}, 401),
        ({"Host": "127.0.0.1.nip.io"}, 401),
        ({"Host": "localhost.evil.example.net"}, 401),
        ({"Host": "localhost@evil.example.net"}, 401),
        ({"Host": "10.0.0.7"}, 401),
        ({"Host": "[::1"}, 401),
        ({"Origin": "https://evil.example.net"}, 401),
        ({"Origin": "http://localhost.evil.example.net"}, 401),
        ({"Origin": "null"}, 401),
        ({"X-Forwarded-For": "127.0.0.1"}, 401),
        ({"Forwarded": "for=127.0.0.1"}, 401),
    ],
)
def test_in_development_only_this_machine_needs_no_key_and_no_page_or_proxy(dev, headers, status):
    answer = dev.post("/v1/feedback", thumbs("dev"), headers=headers)
    assert answer.status == status
    if status == 401:
        assert answer.reason == "key_missing"
    assert dev.get("/metrics", headers=headers).status == (401 if status == 401 else 200)


def test_in_development_a_host_must_be_named(dev):
    assert b" 401 " in exchange(dev, b"GET /metrics HTTP/1.0\r\n\r\n").split(b"\r\n")[0]


def test_in_development_a_wrong_key_is_still_wrong(dev):
    assert dev.get("/v1/events/x", key="fp_live_" + "a" * 12 + "_" + "B" * 32).reason == "key_unknown"


# --- what `review` decides ------------------------------------------------------------------------------------------------


def test_only_a_key_with_review_sends_adjudications_that_count(server, keys):
    ruling = {"verdict": "invalid"}
    for name, allowed in (("ingest", False), ("reviewer", True), ("review", True)):
        body = adjudication(f"ruling-{name}", ruling, request_id="r1", metadata={"can_review": True})
        assert server.post("/v1/feedback", body, key=keys[name].plain).status == 202
        assert logged(server.home, "feedback")[-1]["can_review"] is allowed
        batch = [adjudication(f"ruling-{name}-batch", ruling, request_id="r1")]
        assert server.post("/v1/batch", batch, key=keys[name].plain).status == 202
        assert logged(server.home, "feedback")[-1]["can_review"] is allowed


# --- feedback tokens ------------------------------------------------------------------------------------------------------


def issue(server, key, request_id, **more):
    answer = server.post("/v1/feedback-tokens", {"request_id": request_id, **more}, key=key)
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    return answer.json["token"]


def unsigned(request_id, /, **fields):
    body = {"feedback_type": "thumbs", "feedback_value": {"up": True}, "request_id": request_id}
    return {**body, **fields}


def test_a_token_lets_its_bearer_judge_that_request_as_that_user(server, keys):
    token = issue(server, keys["ingest"].plain, "judged", user_id="ann")
    taken = server.post("/v1/feedback", unsigned("judged", source={"kind": "human", "client": "web"}), key=token)
    assert taken.status == 202
    row = logged(server.home, "feedback")[-1]
    assert (row["target_request_id"], row["source_kind"]) == ("judged", "human")
    assert row["source_client"] == "browser:web"
    assert row["rater"].startswith("pn_")
    assert row["can_review"] is False
    by_key = server.post("/v1/feedback", person("by-key", "ann", request_id="other"), key=keys["ingest"].plain)
    assert by_key.status == 202
    assert logged(server.home, "feedback")[-1]["rater"] == row["rater"], "the user of the token is the user of the key"


def test_a_token_without_a_user_is_one_voice_per_answer(server, keys):
    token = issue(server, keys["ingest"].plain, "anonymous")
    rows = []
    for up in (True, False):
        body = {**unsigned("anonymous"), "feedback_value": {"up": up}}
        assert server.post("/v1/feedback", body, key=token).status == 202
        rows.append(logged(server.home, "feedback")[-1])
    assert rows[0]["rater"] == rows[1]["rater"] is not None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"request_id": "another"}, "token_other_request"),
        ({"request_id": None, "target": {"session_id": "s"}}, "token_target_refused"),
        ({"user_id": "bob"}, "token_other_user"),
        ({"source": {"kind": "model"}}, "token_source_refused"),
        ({"feedback_id": "chosen"}, "token_id_refused"),
        ({"feedback_type": "outcome", "feedback_value": {"name": "sale", "value": 1}}, "token_type_refused"),
        ({"feedback_type": "adjudication", "feedback_value": {"verdict": "valid"}}, "token_type_refused"),
    ],
)
def test_what_a_token_does_not_allow_is_a_403_and_leaves_no_trace(server, keys, change, reason):
    token = issue(server, keys["ingest"].plain, "narrow", user_id="ann")
    before = heads(server.home)
    refused = server.post("/v1/feedback", unsigned("narrow", **change), key=token)
    assert (refused.status, refused.reason) == (403, reason)
    assert server.get(refused.json["type"]).status == 200, "the reason has a page"
    assert heads(server.home) == before


def test_a_broken_event_with_a_token_is_refused_like_any_other(server, keys):
    token = issue(server, keys["ingest"].plain, "broken")
    assert server.post("/v1/feedback", unsigned("broken", nmae="x"), key=token).status == 422
    assert logged(server.home, "dead_letter")[-1]["reason"] == "field_unknown"


def test_a_token_ends_is_of_one_tenant_and_cannot_be_changed(server, keys):
    mine = issue(server, keys["ingest"].plain, "t", expires_in=1)
    theirs = issue(server, keys["small"].plain, "t")
    head, payload, mac = theirs.split(".")
    before = heads(server.home)
    assert server.post("/v1/feedback", unsigned("t"), key=theirs).status == 202
    assert heads(server.home) == before, "it speaks for its own tenant"
    assert heads(server.home, "small")[1] >= 1
    for forged in (
        f"{head}.{mine.split('.')[1]}.{mac}",
        f"{head}.{payload}.{mac[:-4]}AAAA",
        f"{theirs}A",
        "fpt1.e30.x",
    ):
        refused = server.post("/v1/feedback", unsigned("t"), key=forged)
        assert refused.status == 401
        assert refused.reason in ("token_invalid", "token_malformed")
    expired = eventually(
        lambda: a if (a := server.post("/v1/feedback", unsigned("t"), key=mine)).status == 401 else None
    )
    assert expired.reason == "token_expired"
    assert not (server.home / "nobody").exists()


def test_a_token_reaches_no_other_path(server, keys):
    token = issue(server, keys["ingest"].plain, "only")
    for method, path in (
        ("POST", "/v1/inferences"), ("POST", "/v1/batch"), ("POST", "/v1/traces"), ("POST", "/v1/feedback-tokens"),
        ("GET", "/v1/events/only"), ("GET", "/v1/datasets/d/versions"), ("GET", "/metrics"),
    ):  # fmt: skip
        refused = server.call(method, path, "{}" if method == "POST" else None, key=token, headers=JSON_TYPE)
        assert refused.status == 403, path


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"request_id": "a b"},
        {"request_id": "r", "expires_in": 0},
        {"request_id": "r", "expires_in": 10**9},
        {"request_id": "r", "types": ["adjudication"]},
        {"request_id": "r", "tenant": "small"},
        {"request_id": "r", "user_id": ""},
    ],
)
def test_a_token_that_cannot_be_is_not_issued(server, keys, body):
    refused = server.post("/v1/feedback-tokens", body, key=keys["ingest"].plain)
    assert (refused.status, refused.reason) == (422, "body_not_ours")


# --- rates ----------------------------------------------------------------------------------------------------------------


def retry_after(answer):
    assert (answer.status, answer.reason) == (429, "rate_limited")
    return int(answer.headers["retry-after"])


def test_an_end_user_who_sends_too_much_waits_and_others_do_not(server, home, keys):
    user = f"eager-{uuid4()}"
    token = issue(server, keys["small"].plain, "rated", user_id=user)
    before = heads(home, "small")
    sent = (server.post("/v1/feedback", unsigned("rated", name=f"n{n}"), key=token) for n in range(50))
    taken = list(itertools.takewhile(lambda answer: answer.status == 202, sent))
    assert 3 <= len(taken) < 49
    limited = server.post("/v1/feedback", unsigned("rated", name="more"), key=token)
    wait = retry_after(limited)
    assert wait <= 2
    assert heads(home, "small") == (before[0], before[1] + len(taken), before[2]), "what was over the rate is not kept"
    other = issue(server, keys["small-2"].plain, "rated", user_id=f"other-{uuid4()}")
    assert server.post("/v1/feedback", unsigned("rated"), key=other).status == 202
    time.sleep(wait)
    assert server.post("/v1/feedback", unsigned("rated", name="more"), key=token).status == 202


def test_in_a_batch_only_what_is_over_an_end_users_rate_is_refused(server, home, keys):
    key = make_key(home, "ingest:feedback", tenant="small").plain
    eventually(lambda: server.get("/v1/events/x", key=key).status == 404, within=3)
    user = f"batch-{uuid4()}"
    before = heads(home, "small")
    answer = server.post("/v1/batch", [person(f"{user}-{n}", user) for n in range(4)] + [thumbs(f"{user}-x")], key=key)
    assert [r["status"] for r in answer.json["results"]] == [202, 202, 202, 429, 202]
    assert heads(home, "small") == (before[0], before[1] + 4, before[2])


def test_a_model_or_program_is_no_end_user(server, home):
    key = make_key(home, "ingest:feedback", tenant="small").plain
    eventually(lambda: server.get("/v1/events/x", key=key).status == 404, within=3)
    batch = [thumbs(f"code-{uuid4()}", source={"kind": "code", "id": "checker"}) for _ in range(6)]
    assert server.post("/v1/batch", batch, key=key).json["accepted"] == 6


def test_a_key_that_sends_too_much_waits(server, home):
    key = make_key(home, "ingest:inference", tenant="small").plain
    eventually(
        lambda: server.post("/v1/inferences", "{}", headers={"Content-Type": "text/plain"}, key=key).status == 415
    )
    events = [inference(f"burst-{uuid4()}") for _ in range(8)]
    assert server.post("/v1/batch", events, key=key).status == 202
    before = heads(home, "small")
    assert 1 <= retry_after(server.post("/v1/batch", [inference(f"burst-{uuid4()}") for _ in range(8)], key=key)) <= 8
    spent = [server.post("/v1/inferences", inference(f"burst-{uuid4()}"), key=key) for _ in range(8)]
    limited = [a for a in spent if a.status == 429]
    assert limited
    assert retry_after(limited[0]) == 1
    assert heads(home, "small") == (before[0] + 8 - len(limited), *before[1:]), "what is over the rate is not kept"
    time.sleep(1.1)
    assert server.post("/v1/inferences", inference(f"burst-{uuid4()}"), key=key).status == 202


def test_more_at_once_than_a_key_may_ever_send_is_not_for_waiting(server, keys):
    refused = server.post("/v1/batch", [inference(f"ever-{n}") for n in range(13)], key=keys["small-2"].plain)
    assert (refused.status, refused.reason) == (413, "batch_too_large")
    assert "12 events at once" in refused.json["detail"]
