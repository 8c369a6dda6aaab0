"""Files of OTLP trace exports as JSON, such as a collector's file exporter writes: one export per line, or one per file.

Plain or gzip. The mapping is the HTTP door's (`intake.otlp`); each line is an export of its own, so a judgement finds
the call that it names by response id only in its own line, as over HTTP. Other signals in the same file are skipped.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from feedback_platform.errors import EventRejected
from feedback_platform.intake.importers import line_files
from feedback_platform.intake.importers.foreign import Found, Item, Misunderstood, Options, Skipped, UnreadableRest
from feedback_platform.intake.otlp.inferences import Defaults
from feedback_platform.intake.otlp.json_spans import spans_in
from feedback_platform.intake.otlp.mapping import map_spans
from feedback_platform.intake.otlp.spans import Limits

NAME = "otlp"
SUMMARY = "OpenTelemetry traces as OTLP JSON, one export per line or file (a collector's file exporter)"

LIMITS = Limits(body_bytes=line_files.MAX_RECORD_BYTES, spans=200_000)
_SUFFIXES = (".json", ".jsonl", ".ndjson")
_TRACES = {"resourceSpans", "resource_spans"}
_OTHER_SIGNALS = {"resourceLogs", "resource_logs", "resourceMetrics", "resource_metrics", "resourceProfiles"}
_EXPECTED = (
    'OTLP JSON: one export {"resourceSpans": [...]} per line or file '
    "(collector's file exporter with `format: json`, not compressed or with gzip)"
)
_PROBED_BYTES = 4096


def read(paths: Sequence[Path], options: Options) -> Iterator[Item]:
    """The inferences and feedback in the files, export by export.

    Raises:
        ImportFormatError: none of a file's first records is an OTLP export.
        UnreadableRest: at the end, when some files could not be read to theirs.
    """
    defaults = Defaults(options.model, options.model_version, options.task, options.environment)
    damage: list[str] = []
    for path in line_files.files(paths, _SUFFIXES):
        raws = line_files.listed(path) if _goes_over_lines(path) else line_files.lines(path)
        records = line_files.decoded(raws, path, damage)
        for record in line_files.recognised(path, records, _is_known, _EXPECTED):
            if isinstance(record, Misunderstood):
                yield record
            else:
                yield from _export(path, *record, defaults)
    if damage:
        raise UnreadableRest("; ".join(damage))


def _export(
    path: Path, raw: line_files.Raw, body: dict[str, object], defaults: Defaults
) -> Iterator[Found | Misunderstood | Skipped]:
    if not _TRACES & body.keys() and _OTHER_SIGNALS & body.keys():
        yield Skipped("not_traces")
        return
    try:
        found = map_spans(spans_in(body, LIMITS), defaults)
    except EventRejected as refusal:
        yield Misunderstood("unknown", str(refusal), raw.body, path, raw.line)
        return
    for mapped in found.mapped:
        yield Found(mapped.kind, mapped.event, path, raw.line)
    for misfit in found.misfits:
        yield Misunderstood(misfit.kind, misfit.message, misfit.body, path, raw.line)
    for reason, count in found.skipped.items():
        yield from (Skipped(reason) for _ in range(count))


def _is_known(body: dict[str, object]) -> bool:
    return bool((_TRACES | _OTHER_SIGNALS) & body.keys())


def _goes_over_lines(path: Path) -> bool:
    """True where the file is a list, or its first object goes over several lines."""
    if line_files.beginning(path) == b"[":
        return True
    with line_files.opened(path) as file:
        line, newline, _ = file.read(_PROBED_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")
    try:
        msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return newline != b""
    return False
