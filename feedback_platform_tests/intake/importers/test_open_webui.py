"""Open WebUI's export: thumbs, ratings, comments, edits and comparisons arrive on the answers in the chat's snapshot.

The records are written here in the shape that `open-webui/open-webui` gives them: the record by
`backend/open_webui/models/feedbacks.py` (FeedbackModel) and `routers/evaluations.py` (`/feedbacks/all/export`), `data`,
`meta` and `snapshot` by `feedbackHandler` in `src/lib/components/chat/Messages/ResponseMessage.svelte`, the tree of
messages by `sendPrompt` in `src/lib/components/chat/Chat.svelte`, edits by `editMessage` in `Messages.svelte`,
`details.rating` by `RateComment.svelte`.
"""

import json

import pytest

from feedback_platform.errors import ImportFormatError
from feedback_platform.intake.importers import open_webui
from feedback_platform.intake.importers.foreign import Options
from feedback_platform_tests.intake.importers.reading import read

AT = 1741120731


def user(message_id, parent, children, content, **fields):
    given = {"id": message_id, "parentId": parent, "childrenIds": children, "role": "user", "content": content}
    return {**given, "timestamp": AT, "models": ["llama3:8b", "qwen3:4b"], **fields}


def answer(message_id, parent, content, model="llama3:8b", **fields):
    given = {"parentId": parent, "id": message_id, "childrenIds": [], "role": "assistant", "content": content}
    told = {"model": model, "modelName": model, "modelIdx": 0, "userContext": None, "timestamp": AT + 5, "done": True}
    return {**given, **told, **fields}


def chat(*messages, **fields):
    history = {"messages": {m["id"]: m for m in messages}, "currentId": messages[-1]["id"]}
    inner = {
        "title": "T",
        "models": ["llama3:8b"],
        "params": {"system": "Be kind."},
        "history": history,
        "messages": [],
    }
    outer = {"id": "chat-1", "user_id": "owner", "title": "T", "chat": {**inner, **fields}, "updated_at": AT + 9}
    return {**outer, "created_at": AT, "share_id": None, "archived": False}


def record(rated="a1", snapshot=None, *, meta=None, **data):
    given = {
        "id": "fb-1",
        "user_id": "rater",
        "version": 0,
        "type": "rating",
        "created_at": AT + 20,
        "updated_at": AT + 30,
    }
    told = {"model_id": "llama3:8b", "sibling_model_ids": None, "reason": None, "comment": None, **data}
    about = {"arena": False, "model_id": "llama3:8b", "message_id": rated, "message_index": 2, "chat_id": "chat-1"}
    snapshot = {"chat": TWO_TURNS if snapshot is None else snapshot}
    return {**given, "data": told, "meta": about | (meta or {}), "snapshot": snapshot}


TWO_TURNS = chat(
    user("q1", None, ["a0"], "Hello"),
    answer("a0", "q1", "Hi.", childrenIds=["q2"]),
    user("q2", "a0", ["a1"], "Capital of Peru?"),
    answer("a1", "q2", "Lima."),
)
SIDE_BY_SIDE = chat(
    user("q1", None, ["a1", "b1"], "Capital of Peru?"),
    answer("a1", "q1", "Lima."),
    answer("b1", "q1", "Cusco.", model="qwen3:4b", modelIdx=1),
)


def load(tmp_path, *records, **options):
    path = tmp_path / "feedback-history-export.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return read(open_webui, path, options=Options(**options))


def test_a_thumb_brings_its_answer_and_the_conversation_before_it(tmp_path):
    found = load(tmp_path, record(rating=1, reason="accurate_information", tags=["geography"]))
    assert found.counts == (1, 1, 0, 0)
    assert found.inferences == [{
        "request_id": "a1", "timestamp": "2025-03-04T20:38:56Z", "model": "llama3:8b", "model_version": "unversioned",
        "session_id": "chat-1", "user_id": "owner", "parent_request_id": "a0",
        "input": {"messages": [
            {"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Capital of Peru?"},
        ]},
        "output": "Lima.",
    }]  # fmt: skip
    assert found.feedback == [{
        "feedback_id": f"fb-1:thumbs:{AT + 30}", "feedback_type": "thumbs", "feedback_value": {"up": True},
        "target": {"request_id": "a1"}, "timestamp": "2025-03-04T20:39:21Z", "explanation": "accurate_information",
        "source": {"kind": "human", "id": "rater", "client": "open-webui"},
        "metadata": {"arena": False, "tags": ["geography"], "message_index": 2, "reason": "accurate_information"},
    }]  # fmt: skip


@pytest.mark.parametrize(("rating", "up"), [(1, True), (-1, False), ("1", True), ("-1", False), (1.0, True)])
def test_ratings_come_as_numbers_and_as_text(tmp_path, rating, up):
    assert load(tmp_path, record(rating=rating)).said("thumbs")["feedback_value"] == {"up": up}


def test_details_and_comment_are_feedback_of_their_own(tmp_path):
    found = load(tmp_path, record(rating=-1, details={"rating": 3}, comment="Too short."))
    assert found.kinds == {"thumbs": 1, "rating": 1, "comment": 1}
    assert found.said("rating")["feedback_value"] == {"score": 3, "min": 1, "max": 10}
    assert found.said("rating")["name"] == "details"
    assert found.said("comment")["feedback_value"] == {"text": "Too short."}


@pytest.mark.parametrize(("rating", "chosen", "rejected"), [(1, "a1", "b1"), (-1, "b1", "a1")])
def test_answers_side_by_side_are_a_comparison(tmp_path, rating, chosen, rejected):
    found = load(
        tmp_path, record("a1", SIDE_BY_SIDE, rating=rating, sibling_model_ids=["qwen3:4b"], meta={"arena": True})
    )
    assert {e["request_id"]: e["model"] for e in found.inferences} == {"a1": "llama3:8b", "b1": "qwen3:4b"}
    pair = found.said("preference_pair")
    assert pair["feedback_value"] == {"chosen": {"request_id": chosen}, "rejected": {"request_id": rejected}}
    assert pair["target"] == {"request_id": "b1"}
    assert pair["metadata"]["arena"] is True


def test_two_siblings_are_two_comparisons_with_targets_of_their_own(tmp_path):
    three = chat(
        user("q1", None, ["a1", "b1", "c1"], "?"),
        answer("a1", "q1", "A"),
        answer("b1", "q1", "B"),
        answer("c1", "q1", "C"),
    )
    found = load(tmp_path, record("a1", three, rating=1))
    assert [e["target"]["request_id"] for e in found.feedback if e["feedback_type"] == "preference_pair"] == [
        "b1",
        "c1",
    ]


def test_siblings_with_the_same_thumb_are_not_compared(tmp_path):
    alike = chat(
        user("q1", None, ["a1", "b1"], "?"), answer("a1", "q1", "A"), answer("b1", "q1", "B", annotation={"rating": 1})
    )
    found = load(tmp_path, record("a1", alike, rating="1"))
    assert found.kinds == {"thumbs": 1}
    assert found.skipped == {"sibling_rated_alike": 1}
    assert load(tmp_path, record("a1", alike, rating=-1)).kinds == {"thumbs": 1, "preference_pair": 1}


def test_a_later_answer_of_the_same_model_is_a_regeneration(tmp_path):
    again = chat(user("q1", None, ["a1", "b1"], "?"), answer("a1", "q1", "A"), answer("b1", "q1", "B"))
    by_id = {e["request_id"]: e for e in load(tmp_path, record("b1", again, rating=1)).inferences}
    assert by_id["b1"]["regenerates"] == "a1"
    assert "regenerates" not in by_id["a1"]
    side = {e["request_id"]: e for e in load(tmp_path, record("a1", SIDE_BY_SIDE, rating=1)).inferences}
    assert "regenerates" not in side["b1"]


def test_an_edit_is_a_correction_of_what_was_generated(tmp_path):
    edited = chat(user("q1", None, ["a1"], "?"), answer("a1", "q1", "Lima!", originalContent="Cusco."))
    found = load(tmp_path, record("a1", edited, rating=1))
    assert found.inferences[0]["output"] == "Cusco."
    assert found.said("explicit_correction")["feedback_value"] == {"output": "Lima!"}


def test_the_arenas_choice_names_the_model(tmp_path):
    blind = chat(
        user("q1", None, ["a1"], "?"), answer("a1", "q1", "A", "arena-model", arena=True, selectedModelId="gpt-4o")
    )
    assert load(tmp_path, record("a1", blind, rating=1)).inferences[0]["model"] == "gpt-4o"


def test_images_and_structured_answers_are_kept(tmp_path):
    files = [{"type": "image", "url": "data:image/png;base64,AA"}, {"type": "file", "name": "a.pdf"}]
    output = [{"type": "message", "content": [{"type": "output_text", "text": "A cat."}]}]
    shown = chat(user("q1", None, ["a1"], "What is it?", files=files), answer("a1", "q1", "", output=output))
    (event,) = load(tmp_path, record("a1", shown, rating=1)).inferences
    assert event["output"] == "A cat."
    assert event["input"]["messages"][-1]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
    ]


def test_an_opinion_that_changed_has_an_id_of_its_own(tmp_path):
    first, later = record(rating=1), {**record(rating=-1), "updated_at": AT + 99}
    before, after = load(tmp_path, first).feedback[0], load(tmp_path, later).feedback[0]
    assert before["feedback_id"] != after["feedback_id"]
    assert (before["target"], before["source"]["id"]) == (after["target"], after["source"]["id"])


def test_the_same_answer_is_the_same_inference_in_every_record(tmp_path):
    grown = json.loads(json.dumps(SIDE_BY_SIDE))
    grown["chat"]["history"]["messages"]["a1"] |= {
        "annotation": {"rating": 1},
        "feedbackId": "fb-1",
        "childrenIds": ["q9"],
    }
    grown["title"] = "Renamed"
    early = load(tmp_path, record("a1", SIDE_BY_SIDE, rating=1)).inferences
    late = load(tmp_path, {**record("b1", grown, rating=-1), "id": "fb-2"}).inferences
    assert sorted(map(json.dumps, early)) == sorted(map(json.dumps, late))


def test_a_snapshot_of_the_inner_chat_alone_is_read_too(tmp_path):
    found = load(tmp_path, record("a1", SIDE_BY_SIDE["chat"], rating=1))
    assert len(found.inferences) == 2
    assert found.inferences[0]["session_id"] == "chat-1"


def test_what_is_not_there_is_counted(tmp_path):
    unfinished = chat(
        user("q1", None, ["a1", "b1", "c1"], "?"),
        answer("a1", "q1", "A"),
        answer("b1", "q1", "", done=False),
        answer("c1", "q1", "", error={"content": "overloaded"}),
    )
    found = load(
        tmp_path, record(), {**record(rating=1), "id": "x", "snapshot": None}, record("a1", unfinished, rating=0)
    )
    assert found.counts == (2, 1, 5, 0)
    assert found.skipped == {"says_nothing": 2, "answer_not_in_snapshot": 1, "answer_unfinished_or_failed": 2}
    assert found.said("thumbs")["target"] == {"request_id": "a1"}


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (record(rating=7), "`data.rating` is 7, neither 1 nor -1"),
        (record(rating=1) | {"id": None}, "no `id`"),
        (record(rating=1) | {"created_at": None, "updated_at": "never"}, "neither `updated_at`"),
        (record(None, rating=1), "`meta.message_id`"),
        (
            record("a1", chat(user("q", None, ["a1"], "?"), answer("a1", "q", "A", timestamp=None)), rating=1),
            "`timestamp`",
        ),
        (record("a1", chat(user("q", None, ["a1"], "?"), answer("a1", "q", "A", None)), rating=1), "--model"),
        (record("a1", chat(answer("a1", None, "A")), rating=1), "answers nothing"),
    ],
)
def test_a_damaged_record_says_why_and_the_rest_is_read(tmp_path, damaged, words):
    found = load(tmp_path, damaged, record(rating=1) | {"id": "good"})
    (letter,) = found.misunderstood
    assert words in letter.message
    assert letter.line == 1
    assert json.loads(letter.body) == damaged
    assert found.feedback[-1]["feedback_id"] == f"good:thumbs:{AT + 30}"


def test_a_circle_of_parents_ends(tmp_path):
    circle = chat(user("q1", "a1", ["a1"], "?"), answer("a1", "q1", "A"))
    assert load(tmp_path, record("a1", circle, rating=1)).counts == (1, 1, 0, 0)


def test_options_fill_what_the_export_lacks(tmp_path):
    (event,) = load(tmp_path, record(rating=1), model_version="2", task="help", environment="lab").inferences
    assert (event["model_version"], event["task"], event["environment"]) == ("2", "help", "lab")


@pytest.mark.parametrize("content", [b'[{"a": 1}]', b"a,b\n", b"PAR1"])
def test_another_format_is_refused_by_name(tmp_path, content):
    path = tmp_path / "export.json"
    path.write_bytes(content)
    with pytest.raises(ImportFormatError) as refusal:
        read(open_webui, path)
    assert str(path) in str(refusal.value)
