"""`GET /v1/events/{id}` follows an event through the real landing and compilation: where it is now, or why it is nowhere."""

from pathlib import Path
from typing import Any

import pytest

from feedback_platform_tests.api.serving import Served, served
from feedback_platform_tests.builders import Line, correction, inference, line, thumbs

POLICY = {"select": {"models": ["bot"]}}


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each id was answered: `received`, `landed`, `compiled`."""
    home: Path = tmp_path_factory.mktemp("events")
    one: Line = line(home, **POLICY)
    batch = [
        inference("used"), correction("mended", "used", rater="ann"),
        inference("foreign", model="another"), thumbs("of-foreign", "foreign"),
        inference("silent", text="nobody said anything"), thumbs("waiting", "not-yet", rater="ann"),
        {**inference("refused"), "modle": "m"}, inference("taken"), inference("taken", text="other"),
    ]  # fmt: skip
    asked = ["used", "mended", "foreign", "of-foreign", "silent", "waiting", "refused", "taken", "never"]
    with served(home, "--dev") as server:
        assert server.post("/v1/batch", batch).status == 207

        def ask() -> dict[str, Any]:
            return {name: told(server, name) for name in asked}

        found = {"received": ask()}
        one.land()
        found["landed"] = ask()
        one.done()
        found["compiled"] = ask()
        assert server.post("/v1/feedback", thumbs("later", "silent", rater="ann")).status == 202
        one.land()
        found["later"] = {"later": told(server, "later")}
    return found


def told(server: Served, name: str) -> Any:
    answer = server.get(f"/v1/events/{name}")
    assert answer.status in (200, 404)
    return answer.json if answer.status == 200 else None


def subject(stages, stage, name, kind):
    """The one subject of that kind; the answer repeats the id."""
    answer = stages[stage][name]
    assert answer["id"] == name
    [found] = [one for one in answer["subjects"] if one["kind"] == kind]
    return found


def story(stages, stage, name, kind):
    """Its story in the dataset `d`; other datasets are declared beside it."""
    [found] = [one for one in subject(stages, stage, name, kind)["stories"] if one["dataset"] == "d"]
    return found


@pytest.mark.parametrize(("name", "stream"), [("used", "inference"), ("mended", "feedback"), ("taken", "inference")])
def test_a_received_event_is_durable_at_its_position(stages, name, stream):
    found = subject(stages, "received", name, "accepted")
    assert f"of the {stream} log" in found["facts"][0]
    assert "not landed" in found["facts"][0]
    assert "feedback land" in found["would_change"]


def test_a_landed_event_says_what_it_is_and_no_longer_that_it_waits(stages):
    answer = stages["landed"]["used"]
    assert [one["kind"] for one in answer["subjects"]] == ["inference"]
    assert "model bot" in answer["subjects"][0]["facts"][0]
    assert {one["state"] for one in answer["subjects"][0]["stories"]} <= {"not_compiled"}
    assert subject(stages, "landed", "mended", "feedback")["facts"][0].startswith("Feedback mended")


@pytest.mark.parametrize(
    ("name", "kind", "state", "reason"),
    [
        ("used", "inference", "in_dataset", None),
        ("mended", "feedback", "used", None),
        ("foreign", "inference", "foreign", "not_selected"),
        ("of-foreign", "feedback", "foreign", "not_selected"),
        ("silent", "inference", "unlabelled", "no_feedback"),
        ("waiting", "feedback", "pending", "waiting_for_inference"),
    ],
)
def test_a_compiled_event_has_a_state_and_its_reason(stages, name, kind, state, reason):
    found = story(stages, "compiled", name, kind)
    assert (found["state"], found["reason"]) == (state, reason)
    assert found["why"]
    assert found["would_change"]


def test_a_used_event_names_the_version_that_holds_it(stages):
    for name, kind in (("used", "inference"), ("mended", "feedback")):
        assert story(stages, "compiled", name, kind)["versions"] == [1]
    waiting = story(stages, "compiled", "waiting", "feedback")
    assert "not-yet" in waiting["why"] + waiting["would_change"]
    assert waiting["versions"] == []


def test_an_event_that_came_after_the_last_window_waits_for_the_next(stages):
    found = story(stages, "later", "later", "feedback")
    assert (found["state"], found["reason"]) == ("not_compiled", "landed_not_compiled")
    assert found["would_change"] == "`feedback compile d`."


def test_a_refused_event_says_why_once_its_letter_is_landed(stages):
    assert stages["received"]["refused"] is None
    found = subject(stages, "landed", "refused", "dead_letter")
    assert "modle" in found["facts"][0]
    assert "POST /v1/batch" in found["facts"][0]


def test_a_conflict_is_told_beside_the_event_that_stands(stages):
    kinds = [one["kind"] for one in stages["landed"]["taken"]["subjects"]]
    assert kinds == ["inference", "dead_letter"]


def test_an_id_that_never_was_is_a_404(stages):
    assert [stages[stage]["never"] for stage in ("received", "landed", "compiled")] == [None] * 3


def test_any_text_may_be_asked_for(tmp_path):
    with served(tmp_path, "--dev") as server:
        for asked in ("x'%20OR%201=1%20--", "%00", "%ff", "a%0d%0ab", "%F0%9F%92%A9", "x" * 128, "x" * 5_000, ".."):
            refused = server.get(f"/v1/events/{asked}")
            assert (refused.status, refused.headers["content-type"]) == (404, "application/problem+json"), asked
