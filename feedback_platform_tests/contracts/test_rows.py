"""Events become rows of the raw tables: the columns of the contract, and the rules of each derived one."""

from datetime import UTC, datetime, timedelta

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.contracts.canonical import normalise_text, xxh3
from feedback_platform.contracts.events import parse_feedback, parse_inference
from feedback_platform.contracts.raw_tables import RAW_FEEDBACK, RAW_INFERENCE_LOGS
from feedback_platform.contracts.rows import CLOCK_SKEW, derived_id, feedback_rows, inference_rows, row_bytes
from feedback_platform_tests.contracts.test_events import FULL, INFERENCE, feedback

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def whole(row, contract):
    """The row with its absent values, in the order of the table."""
    assert set(row) <= set(contract.names())
    assert None not in row.values()
    return {name: row.get(name) for name in contract.names() if name != "log_seq"}


def inference_row(**changes):
    return whole(inference_rows([parse_inference(INFERENCE | changes)], NOW)[0], RAW_INFERENCE_LOGS)


def feedback_row(kind, value, *, can_review=False, **more):
    return whole(
        feedback_rows(
            [parse_feedback(feedback(kind, value, **more))],
            NOW,
            [more.get("feedback_id", "f-1")],
            [can_review],
        )[0],
        RAW_FEEDBACK,
    )


def chat(*turns):
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


ALL_KINDS = [
    ("thumbs", {"up": False}),
    ("rating", {"score": 71, "min": 0, "max": 100}),
    ("label", {"label": "cat"}),
    ("explicit_correction", {"output": "x"}),
    ("preference_pair", {"chosen": {"request_id": "r-2"}, "rejected": {"output": {"b": 1.0, "a": None}}}),
    ("ranking", {"order": [{"request_id": "r-9"}, {"item_id": "b"}, {"request_id": "r-1"}]}),
    ("implicit", {"signal": "click", "value": True}),
    ("outcome", {"name": "conversion", "value": 2.5}),
    ("comment", {"text": "nice"}),
    ("adjudication", {"verdict": "invalid", "feedback_id": "f", "label": "x", "output": None}),
    ("retraction", {"feedback_id": "f-1"}),
]


def test_every_column_is_filled_by_some_event_and_no_other_is():
    full = inference_rows([parse_inference(FULL)], NOW)[0]
    assert {*full, "log_seq"} == set(RAW_INFERENCE_LOGS.names())
    filled = {"log_seq"}
    other_way = ("preference_pair", {"chosen": {"output": "a"}, "rejected": {"request_id": "r-2"}})
    for kind, value in [*ALL_KINDS, other_way]:
        event = feedback(kind, value, segments={"a": "b"}, explanation="x", metadata={}, user_id="u", session_id="s",
                         model_version="1", source={"kind": "human", "id": "r", "client": "c"})  # fmt: skip
        filled |= set(feedback_rows([parse_feedback(event)], NOW, ["f"], [False])[0])
    targets = ({"session_id": "z"}, {"keys": {"a": "1"}}, {"request_id": "q", "item_id": "i"})
    for target in targets:
        body = {"feedback_type": "thumbs", "feedback_value": {"up": True}, "target": target}
        filled |= set(feedback_rows([parse_feedback(body)], NOW, ["f"], [False])[0])
    assert filled == set(RAW_FEEDBACK.names())


def test_rows_satisfy_the_contracts_of_their_tables():
    rows = inference_rows([parse_inference(FULL), parse_inference(INFERENCE)], NOW)
    schema = RAW_INFERENCE_LOGS.polars_schema()
    RAW_INFERENCE_LOGS.model.validate(pl.DataFrame([{"log_seq": 1} | row for row in rows], schema=schema))
    events = [parse_feedback(feedback(kind, value)) for kind, value in ALL_KINDS]
    rows = feedback_rows(events, NOW, [kind for kind, _ in ALL_KINDS], [False] * len(events))
    RAW_FEEDBACK.model.validate(pl.DataFrame([{"log_seq": 1} | r for r in rows], schema=RAW_FEEDBACK.polars_schema()))


def test_logged_json_is_read_back_in_bulk_with_the_same_values(tmp_path):
    events = [parse_feedback(feedback(kind, value)) for kind, value in ALL_KINDS]
    rows = feedback_rows(events, NOW, [kind for kind, _ in ALL_KINDS], [True] * len(events))
    path = tmp_path / "rows.ndjson"
    path.write_bytes(b"\n".join(map(row_bytes, rows)))
    types = {c.name: c.duckdb_type for c in RAW_FEEDBACK.content() if c.name != "log_seq"}
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        query = "SELECT * FROM read_json(?, columns = ?, format = 'newline_delimited')"
        read = db.sql(query, params=[str(path), types]).to_arrow_table()
    assert read.to_pylist() == [{name: row.get(name) for name in types} for row in rows]


def test_the_future_is_flagged_and_kept():
    early, late = NOW + CLOCK_SKEW, NOW + CLOCK_SKEW + timedelta(microseconds=1)
    assert inference_row(timestamp=early.isoformat())["is_future"] is False
    row = inference_row(timestamp=late.isoformat())
    assert (row["is_future"], row["event_at"], row["received_at"]) == (True, late, NOW)
    assert feedback_row("comment", {"text": "x"}, timestamp=late.isoformat())["is_future"] is True


@pytest.mark.parametrize(
    ("value", "kind", "last_user"),
    [
        ("Hi", "text", "Hi"),
        (chat(("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c")), "chat", "c"),
        (chat(("user", [{"type": "text", "text": "see"}, {"type": "image"}, "this"])), "chat", "see\nthis"),
        (chat(("system", "s")), "chat", None),
        (chat(("user", {"odd": 1})), "chat", None),
        ({"age": 3, "name": None, "x": 0.5, "ok": True}, "features", None),
        ({"a": [1]}, "json", None),
        ({"messages": []}, "json", None),
        ({"messages": ["x"]}, "json", None),
        ([1, 2], "json", None),
        (7, "json", None),
    ],
)
def test_inputs_are_told_apart(value, kind, last_user):
    row = inference_row(input=value)
    assert (row["input_kind"], row["last_user"]) == (kind, last_user)
    assert row["prompt_hash"] == xxh3(row["input"] if last_user is None else normalise_text(last_user))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ({"role": "assistant", "content": "said"}, "said"),
        ({"content": [{"type": "text", "text": "part"}]}, "part"),
        (chat(("user", "q"), ("assistant", "a1"), ("user", "q2"), ("assistant", "a2")), "a2"),
        ({"label": "cat"}, None),
        (None, None),
        (3.5, None),
    ],
)
def test_outputs_have_text_where_they_say_something(value, text):
    row = inference_row(output=value)
    assert row["output_text"] == text
    assert row["output_hash"] == xxh3(row["output"])


def test_equal_prompts_share_a_hash_across_spelling_and_system_prompts():
    plain = inference_row(input="  Hello WORLD ")
    in_chat = inference_row(input=chat(("system", "be kind"), ("user", "hello world")))
    assert plain["prompt_hash"] == in_chat["prompt_hash"] != inference_row(input="hello")["prompt_hash"]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("thumbs", {"up": True}, {"score_ppm": 1_000_000}),
        ("thumbs", {"up": False}, {"score_ppm": 0}),
        ("rating", {"score": 71, "min": 0, "max": 100}, {"score_ppm": 710_000}),
        ("rating", {"score": 1, "min": 0, "max": 2_000_000}, {"score_ppm": 0}),  # a half, to even
        ("rating", {"score": 3, "min": 0, "max": 2_000_000}, {"score_ppm": 2}),
        ("rating", {"score": 1.7e308, "min": -1.7e308, "max": 1.7e308}, {"score_ppm": 1_000_000}),
        ("label", {"label": "cat"}, {"label": "cat"}),
        ("explicit_correction", {"output": {"b": 1.0, "a": 2}}, {"output": '{"a":2,"b":1}'}),
        ("explicit_correction", {"output": None}, {"output": "null"}),
        ("implicit", {"signal": "click", "value": True}, {"signal": "click", "number": 1.0}),
        ("outcome", {"name": "paid", "value": False}, {"signal": "paid", "number": 0.0}),
        ("adjudication", {"verdict": "invalid", "label": "x"}, {"verdict": "invalid", "label": "x", "output": None}),
        ("retraction", {"feedback_id": "f-1"}, {"subject_feedback_id": "f-1", "target_kind": "request"}),
        ("ranking", ALL_KINDS[5][1], {"request_ids": ["r-1", "r-9"]}),
        (
            "preference_pair",
            {"chosen": {"request_id": "r-0"}, "rejected": {"output": None}},
            {
                "chosen_request_id": "r-0", "rejected_request_id": None, "chosen_output": None,
                "rejected_output": "null", "is_tie": False, "request_ids": ["r-0", "r-1"],
            },
        ),
        (
            "preference_pair",
            {"chosen": {"item_id": "a"}, "rejected": {"item_id": "b"}, "tie": True},
            {"chosen_output": None, "is_tie": True, "request_ids": ["r-1"]},
        ),
    ],
)  # fmt: skip
def test_values_fill_their_columns(kind, value, expected):
    row = feedback_row(kind, value)
    assert {name: row[name] for name in expected} == expected
    assert (row["output_hash"] is None) == (row["output"] is None)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"request_id": "q"}, ("request", "q", None, None, None, ["q"])),
        ({"request_id": "q", "item_id": "i"}, ("item", "q", "i", None, None, ["q"])),
        ({"request_id": "q", "step_id": "s"}, ("step", "q", "s", None, None, ["q"])),
        ({"request_id": "q", "chunk_id": "c"}, ("chunk", "q", "c", None, None, ["q"])),
        ({"session_id": "z"}, ("session", None, None, "z", None, [])),
        ({"keys": {"b": "2", "a": "1"}}, ("keys", None, None, None, '{"a":"1","b":"2"}', [])),
    ],
)
def test_targets_fill_their_columns(target, expected):
    body = {"feedback_type": "thumbs", "feedback_value": {"up": True}, "target": target}
    row = whole(feedback_rows([parse_feedback(body)], NOW, ["f-1"], [False])[0], RAW_FEEDBACK)
    names = ("kind", "request_id", "part_id", "session_id", "keys")
    assert (*(row[f"target_{name}"] for name in names), row["request_ids"]) == expected


def test_feedback_about_feedback_has_no_other_target():
    event = parse_feedback({"feedback_type": "retraction", "feedback_value": {"feedback_id": "f"}})
    row = feedback_rows([event], NOW, ["f-1"], [True])[0]
    assert (row["target_kind"], row["subject_feedback_id"], row["request_ids"]) == ("feedback", "f", [])
    assert row["can_review"] is True


@pytest.mark.parametrize(
    ("more", "rater", "kind"),
    [
        ({}, None, "human"),
        ({"session_id": "s"}, "s", "human"),
        ({"session_id": "s", "user_id": "u"}, "u", "human"),
        ({"user_id": "u", "source": {"kind": "model", "id": "judge"}}, "judge", "model"),
        ({"user_id": "u", "source": {"kind": "code"}}, "u", "code"),
    ],
)
def test_the_rater_is_the_most_specific_speaker(more, rater, kind):
    row = feedback_row("comment", {"text": "x"}, **more)
    assert (row["rater"], row["source_kind"]) == (rater, kind)


def test_times_default_to_receipt():
    row = feedback_row("comment", {"text": "x"})
    assert (row["event_at"], row["received_at"], row["is_future"]) == (NOW, NOW, False)


def test_feedback_without_an_id_gets_one_from_tenant_and_body():
    first = parse_feedback(feedback("comment", {"text": "x"}, metadata={"a": 1, "b": 2}))
    again = parse_feedback(feedback("comment", {"text": "x"}, metadata={"b": 2, "a": 1}))
    other = parse_feedback(feedback("comment", {"text": "y"}))
    named = [(first, "t"), (again, "t"), (other, "t"), (first, "u")]
    ids = {derived_id(event, tenant, b"k" * 32) for event, tenant in named}
    assert len(ids) == 3
    assert all(len(found) == 43 and found.startswith("fb_") for found in ids)
    assert derived_id(first, "t", b"l" * 32) not in ids


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6), st.integers(0, 10**6))
def test_scores_are_within_the_scale_and_keep_their_order(low, width, share):
    low_f, high_f = float(low), float(low + width)
    scores = sorted([low_f, low_f + width * share / 10**6, high_f])
    ppm = [feedback_row("rating", {"score": s, "min": low_f, "max": high_f})["score_ppm"] for s in scores]
    assert ppm == sorted(ppm)
    assert (ppm[0], ppm[-1]) == (0, 1_000_000)
