"""Tenants do not feel one another: what one sends or asks changes no answer, log, table or version of the other.

Stated as non-interference. A random walk of tenant `mine` is played twice, alone and with a hostile neighbour who
uses the same ids; everything that `mine` can see is the same, byte for byte but for the clock.
"""

import json
import random
import re
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feedback_platform.compile.publication import publish
from feedback_platform.compile.window import Compiler, open_or_resume, run_tables
from feedback_platform.contracts.policies import resolve_policy
from feedback_platform.intake.guards.tokens import issue, token_key
from feedback_platform.intake.landing import land
from feedback_platform.intake.log import STREAMS
from feedback_platform.intake.sqlite_log import open_log
from feedback_platform.lake.store import Lake
from feedback_platform.settings import Settings
from feedback_platform_tests.api.serving import Answer, Served, eventually, logged, make_key, served
from feedback_platform_tests.builders import correction, inference, rating, retraction, thumbs
from feedback_platform_tests.intake.otlp.exports import as_json, evaluation, span

STEPS = 160
SCOPES = ("ingest:inference", "ingest:feedback", "read:dataset", "review", "admin")
REQUESTS = [f"r{n}" for n in range(12)]
POLICY = {"name": "d", "objectives": ["sft", "preference", "unpaired"]}
CLOCK = re.compile(rb"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?: UTC|Z|\+00:00)?")
JSON_TYPE = {"Content-Type": "application/json"}
# What only one of them ever writes; it may turn up nowhere else.
MARKS = {"mine": "mark-of-mine", "theirs": "mark-of-theirs"}


@dataclass
class Speaker:
    """A tenant's client: its key, the tokens that it was given, and what it was answered."""

    server: Served
    tenant: str
    key: str
    tokens: list[str] = field(default_factory=list)
    answers: list[tuple[str, int, bytes]] = field(default_factory=list)

    def say(self, method: str, path: str, body: object = None, **more: Any) -> Answer:
        answer = self.server.call(method, path, body, **{"key": self.key, **more})
        assert answer.status < 500, answer
        shown = re.sub(rb"fpt1\.[\w.-]+", b"TOKEN", CLOCK.sub(b"CLOCK", answer.body))
        self.answers.append((f"{method} {path}", answer.status, shown))
        return answer


def settings_of(home: Path, tenant: str) -> Settings:
    return Settings(home=home, tenant=tenant, memory_limit="512MB", threads=1)


def event(chance: random.Random, tenant: str) -> dict[str, Any]:
    """An event; tenants draw ids from the same few, so that they take one another's all the time."""
    mark, number = MARKS[tenant], chance.randrange(20)
    request = chance.choice(REQUESTS)
    match chance.randrange(6):
        case 0 | 1:
            return inference(request, text=f"{mark} asks {chance.randrange(3)}", user_id=f"{mark}-user")
        case 2:
            return correction(f"c{number}", request, output=f"{mark} knows better", rater=f"{mark}-rater")
        case 3:
            return rating(f"s{number}", request, score=chance.randrange(100), rater=f"{mark}-rater")
        case 4:
            return retraction(f"x{number}", f"f{chance.randrange(20)}", rater=f"{mark}-rater")
        case _:
            return thumbs(f"f{number}", request, up=chance.random() < 0.5, rater=f"{mark}-rater")


def step(chance: random.Random, one: Speaker) -> None:
    """One call, of any kind there is."""
    made = event(chance, one.tenant)
    path = "/v1/inferences" if "input" in made else "/v1/feedback"
    request = chance.choice(REQUESTS)
    match chance.randrange(16):
        case 0 | 1 | 2 | 3 | 4:
            one.say("POST", path, made)
        case 5 | 6:
            one.say("POST", "/v1/batch", [event(chance, one.tenant) for _ in range(chance.randrange(8))])
        case 7:
            one.say("POST", path, {**made, "wrong": MARKS[one.tenant]})
        case 8:
            one.say("POST", "/v1/batch", [made, 7, {**made, "tenant": "mine"}, {"log_seq": 1}])
        case 9:
            body = {"request_id": request, "user_id": f"{MARKS[one.tenant]}-user"}
            one.tokens.append(one.say("POST", "/v1/feedback-tokens", body).json["token"])
        case 10 if one.tokens:
            judged = {"feedback_type": "thumbs", "feedback_value": {"up": True}, "timestamp": "2026-03-02T10:00:00Z"}
            one.say("POST", "/v1/feedback", {**judged, "request_id": request}, key=chance.choice(one.tokens))
        case 11:
            traced = span(id=f"{chance.randrange(5):016x}", events=[evaluation(name="Relevance", score__value=0.5)])
            one.say("POST", "/v1/traces", as_json(traced), headers=JSON_TYPE)
        case 12:
            look_up(chance, one)
        case 13:
            one.say(
                "GET",
                chance.choice(["/v1/datasets/d/versions", "/v1/datasets/d/versions/latest/export?format=parquet"]),
            )
        case _:
            one.say("POST", "/v1/feedback", made)


def look_up(chance: random.Random, one: Speaker) -> None:
    asked = chance.choice([*REQUESTS, "f1", "f2", "c3", "s4", "never", "d", "../mine", "%2e%2e"])
    one.say("GET", f"/v1/events/{asked}")


def trespass(chance: random.Random, one: Speaker, known: dict[str, Any]) -> None:
    """What only a hostile neighbour does: other people's names, forged tokens, paths that climb, broken bytes."""
    forged = f"fpt1.{known['payload']}.{'A' * 43}"
    attempts: list[tuple[str, str, object, dict[str, Any]]] = [
        ("POST", "/v1/feedback", thumbs("f1", "r1"), {"key": forged}),
        ("GET", "/v1/events/r1", None, {"headers": {"X-Tenant": "mine", "X-Forwarded-For": "127.0.0.1"}}),
        ("POST", "/v1/inferences?tenant=mine", inference("r1", text="x"), {}),
        ("POST", "/v1/inferences", {**inference("r2"), "tenant": "mine", "log_seq": 1}, {}),
        ("GET", "/v1/datasets/..%2f..%2fmine%2flake%2fd/versions", None, {}),
        ("GET", "/v1/datasets/d/versions/1/export?format=parquet&file=../../../../mine/log/events.sqlite", None, {}),
        ("GET", "/v1/events/r1'%20OR%20'1'='1", None, {}),
        ("GET", "/metrics", None, {}),
        ("POST", "/v1/batch", "\x00" * 40, {"headers": JSON_TYPE}),
    ]
    method, path, body, more = chance.choice(attempts)
    one.say(method, path, body, **more)


def compiled(home: Path, tenant: str) -> Any:
    """The tenant's dataset, one version."""
    settings = settings_of(home, tenant)
    with open_log(settings.log_path) as log:
        land(log, Lake(settings.lake))
    compiler = Compiler(settings, resolve_policy(POLICY))
    with compiler.lease():
        manifest = open_or_resume(compiler, trigger="test")
        assert manifest is not None
        return publish(compiler, run_tables(compiler, manifest).window)


def play(home: Path, with_neighbour: bool) -> tuple[Speaker, Speaker, Any]:
    """The walk of `mine`, alone or in company; its dataset is compiled at the end and asked for once more."""
    keys = {tenant: make_key(home, *SCOPES, tenant=tenant).plain for tenant in MARKS}
    own, other = random.Random(7), random.Random(8)
    with served(home) as server:
        mine, theirs = (Speaker(server, tenant, keys[tenant]) for tenant in MARKS)
        payload = mine.say("POST", "/v1/feedback-tokens", {"request_id": "r1"}).json["token"].split(".")[1]
        for _ in range(STEPS // 2):
            step(own, mine)
            if with_neighbour:
                step(other, theirs) if other.random() < 0.8 else trespass(other, theirs, {"payload": payload})
        version = compiled(home, "mine")
        if with_neighbour:
            compiled(home, "theirs")
        for one in (mine, theirs) if with_neighbour else (mine,):
            for asked in (*REQUESTS[:4], "f1", "c3", "never"):
                one.say("GET", f"/v1/events/{asked}")
            for path in ("d/versions", "d/versions/1/export?format=sft", "d/versions/2/export", "e/versions"):
                one.say("GET", f"/v1/datasets/{path}")
    return mine, theirs, version


@dataclass
class Worlds:
    alone: tuple[Path, Speaker, Any]
    shared: tuple[Path, Speaker, Any]
    neighbour: Speaker


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    alone, shared = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("shared")
    mine, _, version = play(alone, with_neighbour=False)
    # The same secrets, because ids that are derived and pseudonyms follow from them.
    (shared / "mine" / "log").mkdir(parents=True)
    for name in ("hmac.key", "pseudonym.key", "token.key"):
        shutil.copy(alone / "mine" / "log" / name, shared / "mine" / "log" / name)
    watched, theirs, watched_version = play(shared, with_neighbour=True)
    return Worlds((alone, mine, version), (shared, watched, watched_version), theirs)


def test_every_answer_is_the_same_with_and_without_a_neighbour(worlds):
    (_, alone, _), (_, shared, _) = worlds.alone, worlds.shared
    assert len(alone.answers) > STEPS // 2
    for ours, theirs in zip(alone.answers, shared.answers, strict=True):
        assert ours == theirs
    statuses = {status for _, status, _ in alone.answers}
    assert {200, 202, 207, 404, 409, 422} <= statuses, "the walk has been everywhere"


def test_the_logs_are_the_same(worlds):
    def rows(home, stream):
        return [{k: v for k, v in row.items() if k != "received_at"} for row in logged(home, stream, "mine")]

    for stream in STREAMS:
        ours = rows(worlds.alone[0], stream)
        assert ours
        assert ours == rows(worlds.shared[0], stream)


def test_the_dataset_is_the_same_version_by_hash(worlds):
    (_, _, alone), (_, _, shared) = worlds.alone, worlds.shared
    assert (alone.version, alone.state_hash, alone.change_hash) == (1, shared.state_hash, shared.change_hash)
    assert alone.cuts == shared.cuts
    assert sum(alone.rows.values()) > 0, "the dataset has examples to be confused"


def test_no_mark_is_where_it_does_not_belong(worlds):
    home, mine, _ = worlds.shared
    theirs = worlds.neighbour
    assert any(MARKS["mine"].encode() in body for _, _, body in mine.answers)
    assert any(MARKS["theirs"].encode() in body for _, _, body in theirs.answers)
    for one, other in ((mine, "theirs"), (theirs, "mine")):
        assert not [a for a in one.answers if MARKS[other].encode() in a[2]]
        assert not [a for a in one.answers if f'tenant="{other}"'.encode() in a[2]]
        folder = home / one.tenant
        for path in folder.rglob("*"):
            assert not path.is_file() or MARKS[other].encode() not in path.read_bytes(), path


def test_feedback_never_finds_the_request_of_another_tenant(worlds):
    """Both judged r0 to r11 all the time; whatever a tenant's tables attribute, it sent both sides itself."""
    home = worlds.shared[0]
    for tenant in MARKS:
        sent = {row["feedback_id"] for row in logged(home, "feedback", tenant)}
        asked = {row["request_id"] for row in logged(home, "inference", tenant)}
        table = Lake(settings_of(home, tenant).lake).table("attributed_pairs", "d")
        pairs = pl.read_parquet([f.path for f in table.snapshot().files]).select("feedback_id", "request_id").rows()
        assert pairs
        assert {feedback_id for feedback_id, _ in pairs} <= sent
        assert {request_id for _, request_id in pairs if request_id is not None} <= asked


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A server with two tenants of which only one has anything."""
    home = tmp_path_factory.mktemp("two")
    one, other = (make_key(home, *SCOPES, tenant=tenant).plain for tenant in ("one", "other"))
    with served(home) as server:
        for key in (one, other):  # both are open, whichever test comes first
            assert server.post("/v1/inferences", inference("opening"), key=key).status == 202
        yield server, one, other


def test_ids_are_taken_per_tenant_and_positions_are_counted_per_tenant(two):
    server, one, other = two
    first = server.post("/v1/inferences", inference("same", text="of one"), key=one)
    second = server.post("/v1/inferences", inference("same", text="of the other"), key=other)
    assert (first.status, second.status) == (202, 202)
    assert (
        first.json
        == second.json
        == {"id": "same", "log_seq": first.json["log_seq"], "durable": True, "duplicate": False}
    )
    assert server.post("/v1/inferences", inference("same", text="of one"), key=other).status == 409


def test_another_tenants_id_is_answered_exactly_like_one_that_never_was(two):
    server, one, other = two
    server.post("/v1/batch", [inference("only-here"), correction("only-here", "only-here")], key=one)
    for landed in (False, True):
        if landed:
            compiled(server.home, "one")
        assert server.get("/v1/events/only-here", key=one).status == 200
        strange, never = (server.get(f"/v1/events/{asked}", key=other) for asked in ("only-here", "was-never"))
        assert (strange.status, never.status) == (404, 404)
        assert strange.body.replace(b"only-here", b"was-never") == never.body
        assert {k: v for k, v in strange.headers.items() if k != "date"} == {
            k: v for k, v in never.headers.items() if k != "date"
        }
    for path in ("{}/versions", "{}/versions/1/export?format=parquet", "{}/versions/latest/export?format=sft"):
        assert server.get(f"/v1/datasets/{path.format('d')}", key=one).status == 200
        strange, never = (server.get(f"/v1/datasets/{path.format(name)}", key=other) for name in ("d", "x"))
        assert strange.status == never.status
        assert strange.body.replace(b"'d'", b"'x'") == never.body


def test_the_key_of_another_tenant_signs_no_token_for_this_one(two):
    """Even who holds a tenant's signing key cannot write another tenant's name into a token."""
    server, *_ = two
    secret = (server.home / "other" / "log" / "token.key").read_bytes()
    ahead = datetime.now(UTC) + timedelta(hours=1)
    body = {"feedback_type": "thumbs", "feedback_value": {"up": True}, "request_id": "same"}
    before = len(logged(server.home, "feedback", "one"))
    forged = server.post("/v1/feedback", body, key=issue(token_key(secret), "one", "same", ahead))
    unknown = server.post("/v1/feedback", body, key=issue(token_key(secret), "nobody", "same", ahead))
    assert (forged.status, forged.reason) == (401, "token_invalid")
    assert unknown.body == forged.body, "a tenant that does not exist looks the same"
    assert not (server.home / "nobody").exists()
    assert len(logged(server.home, "feedback", "one")) == before


def test_the_counters_of_a_tenant_are_for_its_own_key_and_the_operators(two):
    server, one, _ = two
    operator = make_key(server.home, "admin").plain
    eventually(lambda: server.get("/metrics", key=operator).status == 200, within=3)
    own, all_of_it = (server.get("/metrics", key=key).body.decode() for key in (one, operator))
    assert 'tenant="one"' in own
    assert 'tenant="other"' not in own
    assert "feedback_requests_total{" not in own
    assert 'tenant="one"' in all_of_it
    assert 'tenant="other"' in all_of_it
    assert "feedback_requests_total{" in all_of_it
    assert json.loads(server.get("/healthz").body)["status"] == "ok"
