"""TensorZero's tables, exported as JSON Lines (ClickHouse `JSONEachRow`), become inferences and feedback.

Files are told by their table's name (`ChatInference.jsonl.gz`, `boolean_metric_feedback.json`, also in parts such as
`ChatInference_0.jsonl`), one by one or in a folder. **Give all tables at once**: ModelInference adds the model and the
prompt as it was sent, and only beside the inferences can feedback on an episode be told from feedback on an inference.

- ChatInference, JsonInference: `function_name` is the task, `variant_name` the variant, `episode_id` the session. With
  exactly one ModelInference the model is its `model_name`, the version the name in its raw response, the input its
  `system` and `input_messages` (rendered; the variables go to `template`). With none or several (best-of-n, mixtures)
  the model is the function, the version the variant and the input the stored arguments.
- The time of an inference is the one in its UUIDv7 (its start; to the millisecond and in UTC, where the `timestamp`
  column has seconds in the server's zone) plus `processing_time_ms`; the column serves ids of another kind, as UTC.
- BooleanMetricFeedback: `thumbs`, the criterion is the metric. The tables do not say whether true is good: a dataset
  says `signals: {<metric>: {better: lower}}` for a metric that TensorZero's config optimises to `min`.
- FloatMetricFeedback: `outcome`; a rating needs a scale and the tables have none. CommentFeedback: `comment`.
  DemonstrationFeedback: `explicit_correction`, in the shape of the output.
- The tags `tensorzero::human_feedback` and `tensorzero::evaluator_inference_id` tell who spoke, `author` and `user_id`
  their name. Datapoints are copies and skipped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from feedback_platform.errors import ImportFormatError
from feedback_platform.intake.importers import line_files, tensorzero_content
from feedback_platform.intake.importers.foreign import (
    Found,
    Item,
    Kind,
    Misunderstood,
    Options,
    Skipped,
    UnreadableRest,
)
from feedback_platform.intake.importers.ids import UNVERSIONED, instant, safe_id, short, uuid7_time, wire_time
from feedback_platform.intake.importers.tensorzero_models import Calls, opened_calls
from feedback_platform.intake.importers.values import (
    JsonObject,
    Nothing,
    NotMapped,
    json_in,
    mapping,
    misunderstood,
    named,
    number,
    present,
    text,
)

NAME = "tensorzero"
SUMMARY = "TensorZero's tables as JSON Lines: ChatInference, JsonInference, ModelInference and *Feedback"

Table = str
_SUFFIXES = (".jsonl", ".ndjson", ".json")
_MODELS = "modelinference"
_INFERENCES = ("chatinference", "jsoninference")
_FEEDBACK = ("booleanmetricfeedback", "floatmetricfeedback", "commentfeedback", "demonstrationfeedback")
_DATAPOINTS = ("chatinferencedatapoint", "jsoninferencedatapoint")
_OTHERS = ("modelinferencecache", "batchmodelinference", "batchrequest", "dynamicincontextlearningexample")
_TABLES = sorted((_MODELS, *_INFERENCES, *_FEEDBACK, *_DATAPOINTS, *_OTHERS), key=len, reverse=True)
_EXPECTED = "ChatInference, JsonInference, ModelInference, BooleanMetricFeedback, FloatMetricFeedback, CommentFeedback"


def read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    """Every row of the tables: inferences, then feedback; what the model calls say is joined to the inferences.

    Raises:
        ImportFormatError: a named file is no table of TensorZero, or a folder holds none.
        UnreadableRest: at the end, when some files could not be read to theirs.
    """
    tables = _tables(paths)
    damage: list[str] = []
    with opened_calls() as calls:
        for path in (p for p, table in tables if table == _MODELS):
            yield from _rows(path, damage, partial(_keep, calls), "inference", "id", "inference_id")
        for path in (p for p, table in tables if table in _INFERENCES):
            yield from _rows(path, damage, partial(_inference, calls, options), "inference", "id", "output")
        for path, table in ((p, t) for p, t in tables if t in _FEEDBACK):
            yield from _rows(path, damage, partial(_feedback, calls, _MAKERS[table]), "feedback", "id", "value")
    for path in (p for p, table in tables if table in (*_DATAPOINTS, *_OTHERS)):
        raws = line_files.decoded(line_files.lines(path), path, damage)
        yield from (Skipped("datapoint" if _table(path) in _DATAPOINTS else "other_table") for _ in raws)
    if damage:
        raise UnreadableRest("; ".join(damage))


def _tables(paths: Sequence[Path]) -> list[tuple[Path, Table]]:
    named_here = {path for path in paths if path.is_file()}
    found: list[tuple[Path, Table]] = []
    for path in line_files.files(paths, _SUFFIXES):
        table = _table(path)
        if table is not None:
            found.append((path, table))
        elif path in named_here:
            raise ImportFormatError(f"{path} is not named after a table of TensorZero ({_EXPECTED}, ...). Rename it.")
    if not found:
        raise ImportFormatError(f"{', '.join(map(str, paths))}: no table of TensorZero ({_EXPECTED}, ...).")
    return found


def _table(path: Path) -> Table | None:
    name = "".join(character for character in path.name.split(".")[0].lower() if character.isalpha())
    return next((table for table in _TABLES if name.startswith(table)), None)


def _rows(
    path: Path, damage: list[str], make: Callable[[JsonObject], JsonObject | None], kind: Kind, *columns: str
) -> Iterator[Item]:
    """What `make` finds in each row of a file; `columns` are those that prove it to be of its table."""
    expected = f"{path.name.split('.')[0]} of TensorZero (with {' and '.join(f'`{c}`' for c in columns)})"
    records = line_files.decoded(line_files.lines(path), path, damage)
    for record in line_files.recognised(path, records, lambda row: set(columns) <= set(row), expected):
        if isinstance(record, Misunderstood):
            yield record
            continue
        raw, row = record
        try:
            event = make(row)
        except Nothing as reason:
            yield reason.skipped()
        except NotMapped as problem:
            yield misunderstood(kind, problem, raw, path)
        else:
            yield Skipped("model_call_joined") if event is None else Found(kind, event, path, raw.line)


def _keep(calls: Calls, row: JsonObject) -> None:
    if named(row.get("inference_id")) is None:
        raise NotMapped("the row has no `inference_id`.")
    calls.add(row)


def _inference(calls: Calls, options: Options, row: JsonObject) -> JsonObject:
    request_id = _id(row, "id")
    calls.saw("inference", request_id)
    if episode := named(row.get("episode_id")):
        calls.saw("episode", episode)
    models = calls.of(request_id)
    stored = mapping(json_in(row.get("input")))
    given, variables = tensorzero_content.chat(stored.get("system"), stored.get("messages"))
    if len(models) == 1:
        given, _ = tensorzero_content.chat(models[0].get("system"), models[0].get("messages"))
    function = short(text(row.get("function_name")) or "unnamed")
    tags = mapping(json_in(row.get("tags")))
    defined, beside = tensorzero_content.tools(row)
    schema = present({"output_schema": json_in(row.get("output_schema"))})
    event = {
        "request_id": request_id,
        "timestamp": wire_time(_when(row) + timedelta(milliseconds=number(row.get("processing_time_ms")) or 0)),
        **_model(row, models, options),
        "task": short(options.task) if options.task else function,
        "environment": options.environment,
        "variant": _short(row.get("variant_name")),
        "session_id": _short(episode),
        "user_id": _short(tags.get("user_id")),
        "template": {"id": function, "version": _short(row.get("snapshot_hash")), "variables": variables},
        "tools": defined,
        "parameters": _parameters(row) | beside | schema,
        "system": _system(row, models),
        "metadata": present({"tags": tags, "models": [m.get("model") for m in models] if len(models) > 1 else None}),
    }
    template = mapping(event["template"]) if variables else {}
    told = present(event | {"template": present(template)})
    return told | {"input": given, "output": tensorzero_content.output(row.get("output"))}


def _model(row: JsonObject, models: Sequence[JsonObject], options: Options) -> JsonObject:
    if len(models) == 1 and (model := named(models[0].get("model"))):
        return {"model": short(model), "model_version": short(named(models[0].get("version")) or model)}
    function, variant = text(row.get("function_name")), text(row.get("variant_name"))
    version = options.model_version or variant or UNVERSIONED
    return {"model": short(options.model or function or "unnamed"), "model_version": short(version)}


def _parameters(row: JsonObject) -> JsonObject:
    """`inference_params` without the variant types that say nothing (`{"chat_completion": {}}`)."""
    return present(mapping(json_in(row.get("inference_params")))) | present(
        {"extra_body": json_in(row.get("extra_body"))}
    )


def _system(row: JsonObject, models: Sequence[JsonObject]) -> JsonObject:
    model = models[0] if len(models) == 1 else {}
    return present(
        {
            "latency_ms": number(row.get("processing_time_ms")),
            "ttft_ms": number(row.get("ttft_ms")),
            "usage": model.get("usage"),
            "finish_reason": model.get("finish_reason"),
            "provider": model.get("provider"),
        }
    )


def _feedback(calls: Calls, make: Callable[[JsonObject], JsonObject], row: JsonObject) -> JsonObject:
    target = named(row.get("target_id")) or named(row.get("inference_id"))
    if target is None:
        raise NotMapped("the row names no target (`target_id` or `inference_id`).")
    is_episode = row.get("target_type") == "episode" or (
        row.get("target_type") != "inference" and calls.kind_of(target) == "episode"
    )
    tags = mapping(json_in(row.get("tags")))
    event = {
        "feedback_id": _id(row, "id"),
        "timestamp": wire_time(_when(row)),
        "target": {"session_id": short(target)} if is_episode else {"request_id": safe_id(target)},
        "source": _source(tags),
        "metadata": present({"tags": tags}),
    }
    return present(event) | make(row)


def _thumbs(row: JsonObject) -> JsonObject:
    value = row.get("value")
    if value not in (True, False, "true", "false"):
        raise NotMapped("`value` is neither true nor false.")
    return {**_criterion(row), "feedback_type": "thumbs", "feedback_value": {"up": value in (True, "true")}}


def _outcome(row: JsonObject) -> JsonObject:
    value = number(row.get("value"))
    if value is None:
        raise NotMapped("`value` is no number.")
    named_here = _criterion(row)
    return {**named_here, "feedback_type": "outcome", "feedback_value": {"name": named_here["name"], "value": value}}


def _comment(row: JsonObject) -> JsonObject:
    said = text(row.get("value"))
    if said is None:
        raise Nothing("empty_comment")
    return {"feedback_type": "comment", "feedback_value": {"text": said}}


def _demonstration(row: JsonObject) -> JsonObject:
    shown = tensorzero_content.output(row.get("value"))
    return {"feedback_type": "explicit_correction", "feedback_value": {"output": shown}}


def _criterion(row: JsonObject) -> JsonObject:
    metric = text(row.get("metric_name"))
    if metric is None:
        raise NotMapped("the row has no `metric_name`.")
    return {"name": short(metric)}


def _source(tags: JsonObject) -> JsonObject | None:
    who = _short(tags.get("author")) or _short(tags.get("user_id"))
    if tags.get("tensorzero::human_feedback") == "true":
        return present({"kind": "human", "id": who, "client": "tensorzero"})
    if "tensorzero::evaluator_inference_id" in tags:
        return present({"kind": "model", "id": who or _short(tags.get("tensorzero::evaluator_name"))})
    return present({"id": who})


def _when(row: JsonObject) -> datetime:
    at = uuid7_time(str(row.get("id"))) or instant(row.get("timestamp"))
    if at is None:
        raise NotMapped("neither `id` (a UUIDv7) nor `timestamp` says when this was.")
    return at


def _id(row: JsonObject, name: str) -> str:
    ident = named(row.get(name))
    if ident is None:
        raise NotMapped(f"the row has no `{name}`.")
    return safe_id(ident)


def _short(value: object) -> str | None:
    told = named(value)
    return None if told is None else short(told)


_MAKERS: Mapping[Table, Callable[[JsonObject], JsonObject]] = {
    "booleanmetricfeedback": _thumbs,
    "floatmetricfeedback": _outcome,
    "commentfeedback": _comment,
    "demonstrationfeedback": _demonstration,
}
