"""One row of a Langfuse export as one event, field by field, without files; of other rows it knows the index."""

import re
from collections.abc import Mapping
from datetime import datetime

from feedback_platform.intake.importers.foreign import Found, Item, Options, Skipped
from feedback_platform.intake.importers.ids import instant, safe_id, wire_time
from feedback_platform.intake.importers.mapped_values import (
    MAX_NAME,
    as_list,
    as_object,
    chat_input,
    chat_output,
    held,
    latency_ms,
    named,
    origin,
    present,
    verdict,
)
from feedback_platform.intake.importers.record_files import Record
from feedback_platform.intake.importers.trace_index import TraceIndex

Row = Mapping[str, object]
MODEL_CALL = "GENERATION"
TRACE_KEY = "trace_id"
SOURCE_KINDS = {"API": "human", "ANNOTATION": "human", "EVAL": "model"}
_NO_MODEL = "no model name: name it with --model"
_NO_INPUT = "no input; export it with the field group `io`"
_NO_TIME = "no readable time"
_SPAN, _TRACE = re.compile(r"[0-9a-f]{16}"), re.compile(r"[0-9a-f]{32}")
_OURS = ("input", "output", "messages", "model", "tools")


def request_id_of(row: Row, observation: object) -> str:
    """The id of a model call: that of the same span sent over OpenTelemetry where it is one, else the observation's.

    Langfuse keeps the span and trace ids of OpenTelemetry (16 and 32 hex digits); other ids were made by its clients.
    """
    trace = str(row.get("trace_id") or "")
    if _SPAN.fullmatch(str(observation)) and _TRACE.fullmatch(trace):
        return f"{trace}-{observation}"
    return safe_id(observation)


def of_trace(row: Row) -> dict[str, object]:
    """What a legacy trace says for its observations, in the columns of an enriched observation."""
    shared = {key: row.get(key) for key in ("user_id", "session_id", "release", "environment")}
    return present(**shared, trace_name=row.get("name"), tags=as_list(row.get("tags")))


def call(record: Record, request_id: str, context: Row, options: Options) -> tuple[Item, datetime | None]:
    """An observation as an inference, and when it ended if it is a model call, also one that cannot be mapped.

    `context` is what its trace says where the observation does not say it itself.
    """
    row = {**context, **{key: value for key, value in record.body.items() if value not in (None, "")}}
    if row.get("type") != MODEL_CALL:
        kind = str(row.get("type", "")).lower()
        return (Skipped(f"{kind}_is_no_model_call") if kind.isidentifier() else _wrong(record, "no `type`")), None
    start, end = instant(row.get("start_time")), instant(row.get("end_time"))
    ended = end or start
    given, beside = chat_input(held(row.get("input")))
    who = origin(options, named(row.get("provided_model_name")), named(row.get("version")))
    if not record.body.get("id") or ended is None:
        return _wrong(record, _NO_TIME if record.body.get("id") else "no `id`"), None
    if given is None or who is None:
        return _wrong(record, _NO_INPUT if given is None else _NO_MODEL), ended
    extra = {key: value for key, value in beside.items() if key not in _OURS}
    event = {
        **who,
        "request_id": request_id,
        "timestamp": wire_time(ended),
        "input": given,
        "output": _output(row),
        **present(
            parameters={**extra, **as_object(row.get("model_parameters"))},
            template=_template(row),
            tools=_tools(row.get("tool_definitions")) or as_list(beside.get("tools")),
            system=_system(row, start, end),
            **_where(row, row.get("trace_id"), options),
        ),
    }
    return Found("inference", event, record.path, record.line), ended


def trace_as_call(record: Record, options: Options) -> tuple[Item, datetime | None]:
    """A legacy trace as an inference, where it has input and output of its own."""
    row = {key: value for key, value in record.body.items() if value not in (None, "")}
    ended = instant(row.get("timestamp"))
    if "input" not in row or "output" not in row:
        return Skipped("trace_without_model_call"), None
    who = origin(options, options.model or named(row.get("name")), named(row.get("version") or row.get("release")))
    if ended is None or who is None or not row.get("id"):
        return _wrong(record, _NO_TIME if ended is None else _NO_MODEL if row.get("id") else "no `id`"), None
    given, _ = chat_input(held(row["input"]))
    event = {
        **who,
        "request_id": safe_id(row["id"]),
        "timestamp": wire_time(ended),
        "input": given,
        "output": chat_output(held(row["output"])),
        **_where({**row, "trace_name": row.get("name")}, row["id"], options),
    }
    return Found("inference", event, record.path, record.line), ended


def step_key(request_id: str) -> str:
    """Where the index keeps what is known of an observation that is no model call."""
    return f"step {request_id}"


def target(row: Row, index: TraceIndex) -> dict[str, object] | None:
    """What a score judges: its observation, else its trace, else its session; None for a step that is no model call.

    An observation that stands in no file may have been imported before, so it is taken for a model call.
    """
    observation, trace, session = row.get("observation_id"), row.get("trace_id"), named(row.get("session_id"))
    if observation:
        request_id = request_id_of(row, observation)
        step = index.context(step_key(request_id))
        if not step:
            return {"request_id": request_id}
        if not step["is_root"] or not trace:
            return None
    if trace:
        found = index.last_call(str(trace))
        return {"request_id": found} if found else {"keys": {TRACE_KEY: str(trace)[:MAX_NAME]}}
    return {"session_id": session} if session else None


def feedback(record: Record, judged: Mapping[str, object] | None) -> Item:
    """A score as feedback on what it judges."""
    row = record.body
    if row.get("dataset_run_id") and not (row.get("observation_id") or row.get("trace_id")):
        return Skipped("score_of_dataset_run")
    if judged is None and row.get("observation_id"):
        return Skipped("judges_no_model_call")
    if judged is None:
        return _wrong(record, "neither `observation_id` nor `trace_id` nor `session_id`", "feedback")
    criterion = named(row.get("name")) or "overall"
    said = _said(row, criterion)
    at = instant(row.get("timestamp"))
    kind = SOURCE_KINDS.get(str(row.get("source")))
    if said is None or at is None or kind is None or not row.get("id"):
        return _wrong(record, "no readable `id`, `timestamp`, `source`, or `value` for its `data_type`", "feedback")
    rater = row.get("author_user_id") if kind == "human" else row.get("evaluator_id")
    event = {
        "feedback_id": safe_id(row["id"]),
        "feedback_type": said[0],
        "feedback_value": said[1],
        "target": judged,
        "timestamp": wire_time(at),
        "name": criterion,
        "source": present(kind=kind, id=named(rater), client="langfuse"),
        **present(explanation=row.get("comment"), metadata=_score_metadata(row)),
    }
    return Found("feedback", event, record.path, record.line)


def _said(row: Row, criterion: str) -> tuple[str, dict[str, object]] | None:
    number, text = _number(row.get("value")), row.get("string_value")
    match row.get("data_type"):
        case "NUMERIC":
            return verdict(number, criterion)
        case "BOOLEAN":
            return verdict(bool(number), criterion) if number in (0, 1) else None
        case "CATEGORICAL":  # `value` is the category's index, which says nothing without the score's configuration
            return verdict(text, criterion) if isinstance(text, str) else None
        case "TEXT":  # `value` is always 0
            return ("comment", {"text": text}) if isinstance(text, str) and text else None
        case _:
            return None


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, str | int | float) and value != "" else None
    except ValueError:
        return None


def _score_metadata(row: Row) -> dict[str, object]:
    provenance = {key: row.get(key) for key in ("config_id", "queue_id", "execution_trace_id", "dataset_run_id")}
    return present(**as_object(row.get("metadata")), **provenance)


def _output(row: Row) -> object:
    if row.get("output") is not None:
        return chat_output(held(row["output"]))
    calls = [held(tool_call) for tool_call in as_list(row.get("tool_calls"))]
    return {"role": "assistant", "content": None, "tool_calls": calls} if calls else None


def _template(row: Row) -> dict[str, object] | None:
    template = named(row.get("prompt_name"))
    return present(id=template, version=named(row.get("prompt_version"))) if template else None


def _tools(value: object) -> list[object]:
    """Schemas by name (each an object or its JSON) as a list of tools."""
    tools: list[object] = []
    for name, schema in as_object(value).items():
        tool = as_object(schema)
        is_tool = "function" in tool or "type" in tool
        tools.append(tool if is_tool else {"type": "function", "function": {"name": name, **tool}})
    return tools


def _system(row: Row, start: datetime | None, end: datetime | None) -> dict[str, object]:
    first = latency_ms(start, instant(row.get("completion_start_time")))
    return present(
        latency_ms=latency_ms(start, end),
        time_to_first_token_ms=first,
        usage=as_object(row.get("usage_details")),
        cost=as_object(row.get("cost_details")),
        error=(row.get("status_message") or "error") if row.get("level") == "ERROR" else None,
    )


def _where(row: Row, trace: object, options: Options) -> dict[str, object]:
    about = present(
        **as_object(row.get("metadata")),
        observation_name=row.get("name") if "type" in row else None,
        trace_name=row.get("trace_name"),
        release=row.get("release"),
        tags=as_list(row.get("tags")),
    )
    return present(
        environment=options.environment or named(row.get("environment")),
        session_id=named(row.get("session_id")),
        user_id=named(row.get("user_id")),
        keys={TRACE_KEY: str(trace)[:MAX_NAME]} if trace else None,
        metadata=about,
    )


def _wrong(record: Record, message: str, kind: str = "inference") -> Item:
    return record.misunderstood("feedback" if kind == "feedback" else "inference", message)
