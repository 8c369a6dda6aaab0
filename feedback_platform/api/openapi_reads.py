"""The document's operations that only read: lookups, datasets, health, the documentation itself."""

from feedback_platform.api.call import JSON, NDJSON
from feedback_platform.api.datasets import MEDIA_TYPES, TAR
from feedback_platform.api.health import METRICS_TYPE
from feedback_platform.api.openapi_parts import (
    BINARY,
    TEXT,
    WITH_A_KEY,
    Operation,
    Part,
    answer,
    header_parameter,
    json_answer,
    key_with,
    operation,
    path_parameter,
    problems,
    query_parameter,
)
from feedback_platform.intake.guards.principal import SCOPES
from feedback_platform.publish.export import FORMATS

_NAME = path_parameter("name", "The dataset.", "^[a-z][a-z0-9_]{0,62}$", "support_bot")
_BAD_QUERY = {400: "A query parameter is not known, or has no such value. `detail` lists what there is."}


def reading_paths() -> dict[str, dict[str, Operation]]:
    """Path -> method -> operation."""
    return {
        "/v1/events/{event_id}": {"get": _event()},
        "/v1/datasets/{name}/versions": {"get": _versions()},
        "/v1/datasets/{name}/versions/{version}/export": {"get": _export()},
        "/healthz": {"get": _healthz()},
        "/readyz": {"get": _readyz()},
        "/metrics": {"get": _metrics()},
        "/openapi.json": {"get": _document()},
        "/docs": {"get": _page()},
        "/problems/{reason}": {"get": _reason()},
    }


def _event() -> Operation:
    description = (
        "By its `request_id`, `feedback_id` or example id: where it is in each dataset, by which rule, in which "
        "versions, and what would change that. An event can be looked up as soon as it has a receipt."
    )
    pattern = "^[A-Za-z0-9_.:\\-]{1,128}$"
    return operation(
        "Lookup", "explainEvent", "What became of an event", description,
        {"200": json_answer("Its story.", "Explanation"), **problems(*WITH_A_KEY, 404)},
        security=key_with(*SCOPES),
        parameters=[path_parameter("event_id", "The id.", pattern, "0197f2c4-6f0e-7c3a-9d55-2f1b8a7e4c10")],
    )  # fmt: skip


def _versions() -> Operation:
    description = "Their numbers, sizes, hashes and what they were compiled from. `latest` is the one to train on."
    return operation(
        "Datasets", "listVersions", "The published versions of a dataset", description,
        {
            "200": json_answer("The versions, oldest first.", "VersionList"),
            **problems(400, *WITH_A_KEY, 404, words=_BAD_QUERY),
        },
        security=key_with("read:dataset"),
        parameters=[_NAME],
    )  # fmt: skip


def _export() -> Operation:
    description = (
        "All files of the export in one tar (`curl ... | tar x`), or one of them with `file`. `manifest.json` comes first: "
        "it holds the SHA-256 of each file. A version gives the same bytes each time, so that an interrupted download "
        "goes on where it ended (`curl -C -`). The first request for a version and format makes the export; when that "
        "takes long the answer is 503 with `Retry-After`, and the making goes on. A yanked version is not `latest`; it "
        "stays readable by its number, with the header `Feedback-Yanked`."
    )
    content = _export_content()
    whole = ("ETag", "Cache-Control", "Content-Length", "Content-Disposition", "Accept-Ranges", "Feedback-Version")
    words = _BAD_QUERY | {
        404: "No such dataset or version, or it is another tenant's. `detail` lists what there is.",
        409: "The version has no examples for this format. `detail` says for which it has.",
        503: "The export is being made, or the lake cannot be read just now.",
    }
    return operation(
        "Datasets", "exportVersion", "Download a version for a trainer", description,
        {
            "200": answer("All of it.", content, *whole, "Feedback-Yanked"),
            "206": answer("The range that was asked for.", content, *whole, "Content-Range", "Feedback-Yanked"),
            "304": answer("You have it already.", None, "ETag", "Cache-Control", "Feedback-Version", "Feedback-Yanked"),
            **problems(400, *WITH_A_KEY, 404, 409, 416, words=words),
        },
        security=key_with("read:dataset"),
        parameters=_export_parameters(),
    )  # fmt: skip


def _export_content() -> Part:
    texts = {JSON: {}, NDJSON: TEXT, MEDIA_TYPES[".md"].partition(";")[0]: TEXT}
    types = (TAR, *(kind.partition(";")[0] for kind in MEDIA_TYPES.values()), "application/octet-stream")
    return {kind: {"schema": texts.get(kind, BINARY)} for kind in types}


def _export_parameters() -> list[Part]:
    formats = {"type": "string", "enum": list(FORMATS)}
    return [
        _NAME,
        path_parameter("version", "Its number, or `latest`.", "^(latest|[1-9][0-9]{0,8})$", "latest"),
        query_parameter("format", "What the trainer reads.", formats, "sft", required=True),
        query_parameter("file", "One file of the export, as `manifest.json` names it.", TEXT, "train.jsonl"),
        header_parameter("Range", "`bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-COUNT`."),
        header_parameter("If-Range", "The ETag of what you have; if it is another by now, all of it is sent."),
        header_parameter("If-None-Match", "The ETag of what you have; if it is still that, the answer is 304."),
    ]


def _healthz() -> Operation:
    return operation(
        "Operations", "isAlive", "Does the process answer", "For a liveness probe; asks nothing of the disk.",
        {"200": json_answer("It does.", "Health", example={"status": "ok", "version": "0.1.0"}), **problems()},
    )  # fmt: skip


def _readyz() -> Operation:
    words = {503: "No: the last write failed, or too much waits to be written."}
    return operation(
        "Operations", "isReady", "Does the server take events", "For a readiness probe and a load balancer.",
        {
            "200": json_answer("It does.", "Health", example={"status": "ready", "version": "0.1.0"}),
            **problems(503, words=words),
        },
    )  # fmt: skip


def _metrics() -> Operation:
    kind = METRICS_TYPE.decode().partition(";")[0]
    return operation(
        "Operations", "getMetrics", "Counters for Prometheus",
        "Requests, events by outcome, what waits to be written, positions of the logs.",
        {"200": answer("The exposition format.", {kind: {"schema": TEXT}}), **problems(401, 403, 503)},
        security=key_with("admin"),
    )  # fmt: skip


def _document() -> Operation:
    return operation(
        "Documentation", "getOpenApi", "This description for machines", "OpenAPI 3.1.",
        {
            "200": answer("The document.", {JSON: {"schema": {"type": "object"}}}, "ETag", "Cache-Control"),
            "304": answer("You have it already.", None, "ETag", "Cache-Control"),
            **problems(),
        },
        parameters=[header_parameter("If-None-Match", "The ETag of what you have.")],
    )  # fmt: skip


def _page() -> Operation:
    return operation(
        "Documentation", "getDocs", "This description for people", "With a form to try each operation.",
        {"200": answer("The page.", {"text/html": {"schema": TEXT}}), **problems()},
    )  # fmt: skip


def _reason() -> Operation:
    parameter = path_parameter("reason", "The code, as in a problem's `reason`.", "^[a-z_]{1,64}$", "id_conflict")
    return operation(
        "Documentation", "explainReason", "What a problem's reason means", "Where the `type` of a problem leads.",
        {"200": json_answer("The reason in words.", "Reason"), **problems(404, words={404: "There is no such reason."})},
        parameters=[parameter],
    )  # fmt: skip
