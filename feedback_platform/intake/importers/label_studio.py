"""Label Studio's JSON export (also one task per file, as storages hold them) becomes inferences and feedback.

- A **prediction** is an inference: input = the task's `data`, output = what was predicted, `model_version` and score as
  told. The default export holds only the predictions' ids: export a snapshot with complete predictions.
- A task whose `data` holds our `request_id` (or `inference_request_id`) judges that request; its predictions are then
  no answers of their own and are skipped.
- An **annotation** is feedback of `completed_by` on that request, else on each prediction of its task: Choices and
  Taxonomy -> `label`, Rating -> `rating` (1 to 5, or as a hints file says), Number -> `outcome` (`rating` with a scale
  in the hints), TextArea -> `explicit_correction` where a model predicted that text box or its name says so (correct,
  edit, answer, ...), else `comment`; Pairwise -> `preference_pair` of the two texts in `data`. The criterion is the
  control's name (`from_name`). Regions and other results are skipped by type, cancelled annotations as `cancelled`.
- An annotation on a task with neither request nor prediction is misunderstood: nothing says which answer it judges.

The hints file (`--mapping`) is described in `label_studio_results`. Ids are made of project, task, prediction or
annotation, control and `updated_at`: an annotation that changed between two exports replaces the earlier one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from feedback_platform.intake.importers import label_studio_results, line_files
from feedback_platform.intake.importers.foreign import Found, Item, Misunderstood, Options, Skipped, UnreadableRest
from feedback_platform.intake.importers.ids import UNVERSIONED, content_id, instant, safe_id, short, wire_time
from feedback_platform.intake.importers.label_studio_results import Hints
from feedback_platform.intake.importers.line_files import Raw
from feedback_platform.intake.importers.values import (
    JsonObject,
    Nothing,
    NotMapped,
    items,
    mapping,
    named,
    number,
    present,
    text,
)

NAME = "label-studio"
SUMMARY = "Label Studio's JSON export: predictions as inferences, annotations as feedback"

_SUFFIXES = (".json", ".jsonl")
_EXPECTED = "Label Studio's JSON export (tasks with `data` and `annotations`; JSON_MIN and CSV lack what is needed)"
_NO_TARGET = (
    "nothing says which answer this annotation judges. Put `request_id` into the task's data, "
    "or export a snapshot with complete predictions."
)


@dataclass(frozen=True, slots=True)
class _Task:
    """A task, where it stands, and what its feedback judges."""

    body: JsonObject
    path: Path
    line: int
    ident: str
    request_id: str | None
    predictions: dict[str, JsonObject]

    @property
    def targets(self) -> list[tuple[str, str]]:
        """Ids of the judged requests, each with what tells them apart in a feedback id."""
        if self.request_id is not None:
            return [(self.request_id, "")]
        return [(safe_id(self.ident, "p", i), i) for i in self.predictions]

    def misunderstood(self, problem: NotMapped, part: JsonObject) -> Misunderstood:
        """A part of the task that could not be mapped."""
        return Misunderstood("feedback", str(problem), msgspec.json.encode(part), self.path, self.line)


def read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    """Per task its predictions, then its annotations.

    Raises:
        ConfigError: the hints file cannot be read.
        ImportFormatError: none of a file's first records is a task.
        UnreadableRest: at the end, when some files could not be read to theirs.
    """
    hints = label_studio_results.read_hints(options.mapping)
    damage: list[str] = []
    for path in line_files.files(paths, _SUFFIXES):
        records = line_files.decoded(line_files.listed(path), path, damage)
        for record in line_files.recognised(path, records, _is_known, _EXPECTED):
            if isinstance(record, Misunderstood):
                yield record
            elif not _is_known(record[1]):
                message = "no task: `data` or `annotations` is absent or of another type."
                yield Misunderstood("unknown", message, record[0].body, path, record[0].line)
            else:
                yield from _task(*record, path, options, hints)
    if damage:
        raise UnreadableRest("; ".join(damage))


def _is_known(record: JsonObject) -> bool:
    lists = (record.get("annotations"), record.get("completions"), record.get("predictions"))
    return isinstance(record.get("data"), dict) and any(isinstance(inner, list) for inner in lists)


def _task(raw: Raw, body: JsonObject, path: Path, options: Options, hints: Hints) -> Iterator[Item]:
    data = mapping(body["data"])
    ours = named(data.get("request_id")) or named(data.get("inference_request_id"))
    ident = safe_id("ls", named(body.get("project")) or "0", named(body.get("id")) or content_id("t", data))
    annotations = [mapping(a) for a in items(body.get("annotations")) or items(body.get("completions"))]
    predictions, unknown = _predictions(body, annotations)
    task = _Task(body, path, raw.line, ident, safe_id(ours) if ours else None, predictions)
    if task.request_id is None:
        yield from _inferences(task, options)
        yield from (Skipped("prediction_id_only") for _ in unknown)
    else:
        yield from (Skipped("prediction_of_named_request") for _ in (*predictions, *unknown))
    for annotation in annotations:
        yield from _annotation(task, annotation, hints)
    yield from (Skipped("draft") for _ in items(body.get("drafts")))
    if not annotations and not predictions and not unknown:
        yield Skipped("unlabelled_task")


def _predictions(body: JsonObject, annotations: Sequence[JsonObject]) -> tuple[dict[str, JsonObject], set[str]]:
    """Complete predictions by id, also those shown to annotators; and ids of which nothing more is known."""
    listed = items(body.get("predictions")) + [annotation.get("prediction") for annotation in annotations]
    full: dict[str, JsonObject] = {}
    for place, prediction in enumerate(map(mapping, listed)):
        if prediction.get("result"):
            full.setdefault(named(prediction.get("id")) or f"n{place}", prediction)
    ids = {ident for prediction in listed if (ident := named(prediction))}
    return full, ids - set(full)


def _inferences(task: _Task, options: Options) -> Iterator[Item]:
    for key, prediction in task.predictions.items():
        at = instant(prediction.get("created_at")) or instant(prediction.get("updated_at"))
        at = at or instant(task.body.get("created_at"))
        score = number(prediction.get("score"))
        version = named(prediction.get("model_version")) or options.model_version or UNVERSIONED
        try:
            if at is None:
                raise NotMapped("neither the prediction nor its task says when it was made.")
            output = label_studio_results.predicted(items(prediction.get("result")))
        except NotMapped as problem:
            letter = task.misunderstood(problem, prediction)
            yield Misunderstood("inference", letter.message, letter.body, letter.path, letter.line)
            continue
        event = {
            "request_id": safe_id(task.ident, "p", key),
            "timestamp": wire_time(at),
            "model": short(options.model or f"label-studio-{named(task.body.get('project')) or 'project'}"),
            "model_version": short(version),
            "task": options.task,
            "environment": options.environment,
            "confidence": score if score is not None and 0 < score <= 1 else None,
            "metadata": present({"score": score, "task": task.ident}),
        }
        told = present(event) | {"input": task.body["data"], "output": output}
        yield Found("inference", told, task.path, task.line)


def _annotation(task: _Task, annotation: JsonObject, hints: Hints) -> Iterator[Item]:
    if annotation.get("was_cancelled"):
        yield Skipped("cancelled")
        return
    results = [mapping(result) for result in items(annotation.get("result"))]
    if not results:
        yield Skipped("empty_annotation")
        return
    if not task.targets:
        yield task.misunderstood(NotMapped(_NO_TARGET), annotation)
        return
    controls = {
        str(mapping(result).get("from_name"))
        for prediction in task.predictions.values()
        for result in items(prediction.get("result"))
    }
    for result in results:
        try:
            said = label_studio_results.judged(result, mapping(task.body["data"]), controls, hints)
            events = [_event(task, annotation, told, *target) for told in said for target in task.targets]
        except Nothing as reason:
            yield reason.skipped()
        except NotMapped as problem:
            yield task.misunderstood(problem, annotation | {"result": [result]})
        else:
            yield from (Found("feedback", event, task.path, task.line) for event in events)


def _event(task: _Task, annotation: JsonObject, said: JsonObject, request_id: str, mark: str) -> JsonObject:
    at = instant(annotation.get("updated_at")) or instant(annotation.get("created_at"))
    if at is None:
        raise NotMapped("the annotation has neither `updated_at` nor `created_at`.")
    who = annotation.get("completed_by")
    rater = named(who) or named(mapping(who).get("id")) or text(mapping(who).get("email"))
    ident = named(annotation.get("unique_id")) or named(annotation.get("id"))
    ident = ident or content_id("a", annotation.get("result"))
    parts = [part for part in (said["name"], said.get("part"), mark) if part]
    told = {"ground_truth": annotation.get("ground_truth") or None, "lead_time": annotation.get("lead_time")}
    return {
        "feedback_id": safe_id(task.ident, ident, *parts, int(at.timestamp() * 1000)),
        "timestamp": wire_time(at),
        "target": {"request_id": request_id},
        "source": present({"kind": "human", "id": short(rater) if rater else None, "client": "label-studio"}),
        "metadata": present(told),
        **{name: value for name, value in said.items() if name != "part"},
    }
