"""Langfuse: every row of an export is counted, and a score lands once, on what it judges.

Langfuse needs several servers and was not run: the rows follow, field by field, the field reference of its blob storage
export (observations_v2, scores, legacy traces and observations) and its notes on CSV and Parquet.
"""

import csv
import gzip
import io
import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedback_platform.errors import ImportFormatError
from feedback_platform.intake.importers import langfuse
from feedback_platform_tests.intake.importers.gathered import gather, import_twice

TRACE = "0af7651916cd43dd8448eb211c80319c"
QUESTION = [{"role": "user", "content": "How many days are in 3 weeks?"}]


def observation(observation_id, **fields):
    """A row of observations_v2 with all field groups."""
    return {
        "id": observation_id, "trace_id": TRACE, "project_id": "p", "environment": "default", "type": "GENERATION",
        "parent_observation_id": "", "start_time": "2026-05-29 13:46:19.963000",
        "end_time": "2026-05-29 13:46:20.463000", "name": "answer", "metadata": {"plan": "pro"}, "level": "DEFAULT",
        "status_message": "", "version": "bot-7", "input": json.dumps(QUESTION),
        "output": json.dumps({"role": "assistant", "content": "21 days."}), "provided_model_name": "small-chat-1",
        "model_parameters": '{"temperature":0.7}', "usage_details": {"input": 9, "output": 4},
        "cost_details": {"total": 0.0001}, "completion_start_time": None, "prompt_name": "days", "prompt_version": 4,
        "prompt_id": "pr", "total_cost": 0.0001, "latency": 500.0, "time_to_first_token": None, "model_id": "",
        "created_at": "2026-05-29 13:46:21.000000", "updated_at": "2026-05-29 13:46:21.000000", "tool_calls": [],
        "tool_call_names": [], "tool_definitions": {}, "usage_pricing_tier_id": None, "usage_pricing_tier_name": None,
        "user_id": "u-1", "session_id": "s-1", "trace_name": "bot", "tags": ["beta"], "release": "r1",
        "bookmarked": False, "public": False,
    } | fields  # fmt: skip


def score(score_id, **fields):
    return {
        "id": score_id, "timestamp": "2026-05-29 14:00:00.000000", "project_id": "p", "environment": "default",
        "trace_id": TRACE, "observation_id": None, "session_id": None, "dataset_run_id": None, "name": "helpful",
        "value": 1, "source": "API", "comment": None, "data_type": "BOOLEAN", "string_value": None,
        "created_at": "2026-05-29 14:00:00.000000", "updated_at": "2026-05-29 14:00:00.000000",
    } | fields  # fmt: skip


def trace(trace_id, **fields):
    return {
        "id": trace_id, "timestamp": "2026-05-29 13:46:19.000000", "name": "bot", "environment": "default",
        "project_id": "p", "metadata": {}, "user_id": "u-9", "session_id": "s-9", "release": "r1", "version": None,
        "public": False, "bookmarked": False, "tags": ["beta"], "input": None, "output": None,
        "created_at": "2026-05-29 13:46:21.000000", "updated_at": "2026-05-29 13:46:21.000000",
    } | fields  # fmt: skip


FIRST, LAST = "00f067aa0ba902b7", "00f067aa0ba902b8"
OBSERVATIONS = [
    observation("00f067aa0ba902b6", type="SPAN", provided_model_name="", end_time="2026-05-29 13:46:30.000000"),
    observation(LAST, end_time="2026-05-29 13:46:22.963000", output="It is 21 days."),
    observation(FIRST, input="Say *three* weeks in days.", output='["not a chat"]'),
    observation("custom id/1", trace_id="t-2", end_time=None, level="ERROR", status_message="timed out", output=""),
]
SCORES = [
    score("sc-1"),
    score("sc-2", observation_id=FIRST, data_type="NUMERIC", value=0.25, source="EVAL", name="quality", comment="Meh."),
    score("sc-3", data_type="NUMERIC", value=7, name="stars", source="ANNOTATION"),
    score("sc-4", data_type="CATEGORICAL", value=2, string_value="neutral", name="tone"),
    score("sc-5", data_type="TEXT", value=0, string_value="Please say it shorter.", name="note"),
    score("sc-6", trace_id=None, session_id="s-1", value=0),
    score("sc-7", trace_id=None, dataset_run_id="run-1"),
    score("sc-8", trace_id="t-unknown"),
    score("sc-9", trace_id="t-2", observation_id="custom id/1", value=0),
    score("sc-10", trace_id=None),
]


def as_jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_json(rows):
    return json.dumps(rows).encode()


def as_csv(rows):
    """Null is an empty field, objects and lists are JSON, booleans are `true` and `false`."""

    def cell(value):
        return value if isinstance(value, str) else "" if value is None else json.dumps(value)

    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(rows[0])
    table.writerows([cell(value) for value in row.values()] for row in rows)
    return text.getvalue().encode()


def as_parquet(rows):
    """Times are text, as in the reference; free objects are maps."""
    free = {"metadata": pa.string(), "usage_details": pa.int64(), "cost_details": pa.float64()}
    rows = [
        {key: list(v.items()) if key in free else None if key == "tool_definitions" else v for key, v in row.items()}
        for row in rows
    ]
    inferred = pa.Table.from_pylist([{k: v for k, v in row.items() if k not in free} for row in rows])
    fields = [pa.field(k, pa.map_(pa.string(), t)) for k, t in free.items() if k in rows[0]]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema([*inferred.schema, *fields])), sink)
    return sink.getvalue()


FORMATS = {
    "jsonl": as_jsonl, "json": as_json, "csv": as_csv, "parquet": as_parquet,
    "jsonl.gz": lambda rows: gzip.compress(as_jsonl(rows)), "csv.gz": lambda rows: gzip.compress(as_csv(rows)),
}  # fmt: skip


def export(folder, form="jsonl", **tables):
    """A folder as Langfuse writes it, scores first so that the order of names helps nobody."""
    for table, rows in tables.items():
        path = folder / "project" / table / f"2026-05-29T14-00-00.{form}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(FORMATS[form](rows))
    manifest = folder / "project" / "manifests" / "2026-05-29T14-00-00.json"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text('{"files": []}', encoding="utf-8")
    return folder


@pytest.fixture
def found(tmp_path):
    return gather(langfuse, export(tmp_path, observations_v2=OBSERVATIONS, scores=SCORES))


def by_id(events, event_id):
    return next(e for e in events if event_id in (e.get("request_id"), e.get("feedback_id")))


def test_every_row_is_counted_once(found):
    assert len(found.inferences) == 3
    assert found.said == Counter({
        ("thumbs", "helpful"): 4, ("rating", "quality"): 1, ("outcome", "stars"): 1, ("label", "tone"): 1,
        ("comment", "note"): 1,
    })  # fmt: skip
    assert found.skipped == {"span_is_no_model_call": 1, "score_of_dataset_run": 1}
    assert [(item.kind, item.line) for item in found.misunderstood] == [("feedback", 10)]


@pytest.mark.parametrize("form", FORMATS)
def test_every_file_format_gives_the_same_events(found, tmp_path, form):
    folder = tmp_path / "again"
    read = gather(langfuse, export(folder, form, observations_v2=OBSERVATIONS, scores=SCORES))
    assert (read.inferences, read.feedback, read.skipped) == (found.inferences, found.feedback, found.skipped)


def test_parquet_with_times_and_bytes_for_text_gives_the_same_events(found, tmp_path):
    """As a column store may write it: its own time types, and text that is not marked as text."""
    table = pq.read_table(io.BytesIO(as_parquet(SCORES)))
    for place, name in enumerate(table.column_names):
        if name in ("timestamp", "created_at", "updated_at"):
            table = table.set_column(place, name, table[name].cast(pa.timestamp("ns")))
        elif pa.types.is_string(table.schema.field(name).type):
            table = table.set_column(place, name, table[name].cast(pa.binary()))
    folder = export(tmp_path / "typed", observations_v2=OBSERVATIONS)
    (folder / "project" / "scores").mkdir()
    pq.write_table(table, folder / "project" / "scores" / "typed.parquet")
    assert gather(langfuse, folder).feedback == found.feedback


def test_a_generation_arrives_with_all_it_says(tmp_path):
    [event] = gather(langfuse, export(tmp_path, observations_v2=[observation(FIRST)])).inferences
    assert event == {
        "request_id": f"{TRACE}-{FIRST}", "timestamp": "2026-05-29T13:46:20.463000Z", "model": "small-chat-1",
        "model_version": "bot-7", "input": {"messages": QUESTION}, "output": "21 days.",
        "parameters": {"temperature": 0.7}, "template": {"id": "days", "version": "4"}, "environment": "default",
        "session_id": "s-1", "user_id": "u-1", "keys": {"trace_id": TRACE},
        "system": {"latency_ms": 500.0, "usage": {"input": 9, "output": 4}, "cost": {"total": 0.0001}},
        "metadata": {
            "plan": "pro", "observation_name": "answer", "trace_name": "bot", "release": "r1", "tags": ["beta"],
        },
    }  # fmt: skip


@pytest.mark.parametrize("latency", [0.5, 500.0, 99.0, None])
def test_a_duration_comes_from_the_times_whatever_unit_the_latency_column_has(tmp_path, latency):
    rows = [observation(FIRST, latency=latency, completion_start_time="2026-05-29 13:46:20.013000")]
    [event] = gather(langfuse, export(tmp_path, observations_v2=rows)).inferences
    assert (event["system"]["latency_ms"], event["system"]["time_to_first_token_ms"]) == (500.0, 50.0)


def test_a_score_of_a_trace_lands_once_on_the_call_that_ended_last(found):
    assert by_id(found.feedback, "sc-1")["target"] == {"request_id": f"{TRACE}-{LAST}"}
    assert by_id(found.feedback, "sc-2")["target"] == {"request_id": f"{TRACE}-{FIRST}"}
    assert by_id(found.feedback, "sc-6")["target"] == {"session_id": "s-1"}
    assert by_id(found.feedback, "sc-8")["target"] == {"keys": {"trace_id": "t-unknown"}}


def test_a_score_of_the_root_is_one_of_the_trace_and_one_of_another_step_is_skipped(tmp_path):
    root, step = OBSERVATIONS[0], observation("00f067aa0ba902b5", type="TOOL", parent_observation_id="00f067aa0ba902b6")
    scores = [score("sc-1", observation_id=root["id"]), score("sc-2", observation_id=step["id"])]
    read = gather(langfuse, export(tmp_path, observations_v2=[*OBSERVATIONS, step], scores=scores))
    assert [(e["feedback_id"], e["target"]) for e in read.feedback] == [("sc-1", {"request_id": f"{TRACE}-{LAST}"})]
    assert read.skipped["judges_no_model_call"] == 1


def test_an_id_that_the_wire_does_not_take_is_hashed_the_same_on_both_sides(found):
    failed = next(e for e in found.inferences if e["system"].get("error") == "timed out")
    assert by_id(found.feedback, "sc-9")["target"] == {"request_id": failed["request_id"]}
    assert failed["output"] is None


@pytest.mark.parametrize(
    ("score_id", "value", "kind"),
    [
        ("sc-1", {"up": True}, "human"),
        ("sc-2", {"score": 0.25, "min": 0, "max": 1}, "model"),
        ("sc-3", {"name": "stars", "value": 7}, "human"),
        ("sc-4", {"label": "neutral"}, "human"),
        ("sc-5", {"text": "Please say it shorter."}, "human"),
        ("sc-6", {"up": False}, "human"),
    ],
)
def test_a_score_says_what_its_data_type_says(found, score_id, value, kind):
    event = by_id(found.feedback, score_id)
    assert (event["feedback_value"], event["source"]["kind"]) == (value, kind)


def test_the_comment_and_the_author_of_a_score_are_kept(found, tmp_path):
    assert by_id(found.feedback, "sc-2")["explanation"] == "Meh."
    rows = [score("sc", source="ANNOTATION", author_user_id="ann", queue_id="q", metadata={"round": 2})]
    [event] = gather(langfuse, export(tmp_path / "p", scores=rows)).feedback
    assert event["source"]["id"] == "ann"
    assert event["metadata"] == {"round": 2, "queue_id": "q"}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"data_type": "NUMERIC", "value": "much"}, "data_type"),
        ({"data_type": "BOOLEAN", "value": 2}, "data_type"),
        ({"data_type": "NEW"}, "data_type"),
        ({"source": "NEW"}, "source"),
        ({"timestamp": "yesterday"}, "timestamp"),
    ],
)
def test_a_score_that_cannot_be_read_is_misunderstood(tmp_path, fields, problem):
    read = gather(langfuse, export(tmp_path, scores=[score("sc-1"), score("sc-2", **fields)]))
    assert [problem in item.message for item in read.misunderstood] == [True]
    assert json.loads(read.misunderstood[0].body)["id"] == "sc-2"
    assert len(read.feedback) == 1


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"provided_model_name": ""}, "--model"),
        ({"input": ""}, "io"),
        ({"start_time": None, "end_time": None}, "time"),
        ({"id": None}, "id"),
    ],
)
def test_a_generation_that_cannot_be_read_is_misunderstood(tmp_path, fields, problem):
    rows = [observation(FIRST, **fields), observation(LAST)]
    read = gather(langfuse, export(tmp_path, observations_v2=rows))
    assert [(problem in item.message, item.kind) for item in read.misunderstood] == [(True, "inference")]
    assert len(read.inferences) == 1


def test_a_score_of_a_call_that_cannot_be_mapped_waits_for_it(tmp_path):
    rows, scores = [observation(FIRST, provided_model_name="")], [score("sc-1"), score("sc-2", observation_id=FIRST)]
    folder = export(tmp_path, observations_v2=rows, scores=scores)
    without, named = gather(langfuse, folder), gather(langfuse, folder, model="m")
    assert (len(without.misunderstood), without.inferences) == (1, [])
    assert without.feedback == named.feedback
    assert {e["target"]["request_id"] for e in named.feedback} == {named.inferences[0]["request_id"]}


def test_tools_and_a_chat_request_are_told_apart_from_parameters(tmp_path):
    request = {"messages": QUESTION, "model": "m", "top_p": 0.9}
    tools = {"multiply": json.dumps({"description": "a times b", "parameters": {"type": "object"}})}
    call = json.dumps({"id": "c", "type": "function", "function": {"name": "multiply", "arguments": "{}"}})
    rows = [observation(FIRST, input=json.dumps(request), output="", tool_calls=[call], tool_definitions=tools)]
    [event] = gather(langfuse, export(tmp_path, observations_v2=rows)).inferences
    assert (event["input"], event["parameters"]) == ({"messages": QUESTION}, {"top_p": 0.9, "temperature": 0.7})
    schema = {"description": "a times b", "parameters": {"type": "object"}}
    assert event["tools"] == [{"type": "function", "function": {"name": "multiply", **schema}}]
    assert event["output"]["tool_calls"] == [json.loads(call)]


LEGACY = [
    {key: value for key, value in row.items() if key not in ("user_id", "session_id", "trace_name", "tags", "release")}
    for row in OBSERVATIONS
]


def test_legacy_observations_take_their_context_from_their_trace(found, tmp_path):
    traces = [trace(TRACE), trace("t-2", user_id=None)]
    folder = export(tmp_path / "legacy", observations=LEGACY, traces=traces, scores=SCORES)
    read = gather(langfuse, folder)
    assert [e["request_id"] for e in read.inferences] == [e["request_id"] for e in found.inferences]
    assert [(e.get("user_id"), e["session_id"]) for e in read.inferences] == [("u-9", "s-9")] * 2 + [(None, "s-9")]
    assert read.feedback == found.feedback
    assert read.skipped == found.skipped + Counter({"trace_of_model_calls": 2})


def test_a_legacy_trace_without_calls_is_an_inference_where_it_has_both_sides(tmp_path):
    traces = [trace("t-1", input='"hello"', output="hi"), trace("t-2"), trace("t-3", input="x", output="y", name=None)]
    read = gather(langfuse, export(tmp_path, traces=traces, scores=[score("sc", trace_id="t-1")]))
    assert [(e["request_id"], e["model"], e["input"], e["output"]) for e in read.inferences] == [
        ("t-1", "bot", "hello", "hi")
    ]
    assert read.feedback[0]["target"] == {"request_id": "t-1"}
    assert (read.skipped, len(read.misunderstood)) == ({"trace_without_model_call": 1}, 1)


def test_both_layouts_side_by_side_count_each_observation_once(found, tmp_path):
    folder = export(tmp_path / "both", observations=LEGACY, observations_v2=OBSERVATIONS, scores=SCORES)
    read = gather(langfuse, folder)
    assert (read.inferences, read.feedback) == (found.inferences, found.feedback)
    assert read.skipped == found.skipped + Counter({"also_in_observations_v2": 3, "span_is_no_model_call": 1})


def test_options_fill_the_gaps_and_name_the_rest(tmp_path):
    rows = [observation(FIRST, provided_model_name="", version=""), observation(LAST)]
    read = gather(
        langfuse, export(tmp_path, observations_v2=rows), model="m", model_version="9", task="days", environment="test"
    )
    assert [(e["model"], e["model_version"]) for e in read.inferences] == [("m", "9"), ("small-chat-1", "bot-7")]
    assert {(e["task"], e["environment"]) for e in read.inferences} == {("days", "test")}


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_damaged_row_is_misunderstood_and_the_rest_is_read(tmp_path, form):
    folder = export(tmp_path, form, scores=[score(f"sc-{n}") for n in range(4)])
    [path] = folder.rglob(f"scores/*.{form}")
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*rows[:2], b'{"cut": "sho\n' if form == "jsonl" else b"cut,short\n", *rows[2:]]))
    read = gather(langfuse, folder)
    assert [(item.path.name, item.line) for item in read.misunderstood] == [(path.name, 3)]
    assert len(read.feedback) == 4


@pytest.mark.parametrize("form", ["jsonl.gz", "csv.gz", "json"])
def test_a_file_cut_short_gives_what_came_before_and_says_so(tmp_path, form):
    rows = [score(f"sc-{n}", comment=f"{n * 7919 % 10007:x}" * 9) for n in range(3000)]
    folder = export(tmp_path, form, scores=rows)
    [path] = folder.rglob(f"scores/*.{form}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    read = gather(langfuse, folder)
    assert 0 < len(read.feedback) < 3000
    assert f"{path} cannot be read beyond" in read.damage


def test_importing_again_finds_only_duplicates(tmp_path):
    folder = export(tmp_path / "export", observations_v2=OBSERVATIONS, scores=SCORES)
    first, second = import_twice(langfuse, tmp_path, folder)
    assert (first.inferences_accepted, first.feedback_accepted, first.refused, first.skipped) == (3, 8, 1, 2)
    assert (second.duplicates, second.refused, second.skipped, second.records) == (11, 1, 2, first.records)


def test_an_empty_window_is_fine(tmp_path):
    folder = export(tmp_path, observations_v2=[observation(FIRST)])
    (folder / "project" / "observations_v2" / "2026-05-29T15-00-00.jsonl").write_bytes(b"")
    assert len(gather(langfuse, folder).inferences) == 1


@pytest.mark.parametrize("text", ['{"info": {}}\n', "a,b\n1,2\n", "some words"])
def test_a_file_of_something_else_is_refused_by_name(tmp_path, text):
    folder = export(tmp_path, observations_v2=[observation(FIRST)])
    (folder / "other.json").write_text(text, encoding="utf-8")
    with pytest.raises(ImportFormatError, match=r"other\.json"):
        gather(langfuse, folder)
