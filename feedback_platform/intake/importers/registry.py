"""The foreign formats by name. A module is imported when its format is used, so that the list costs nothing."""

from collections.abc import Mapping
from importlib import import_module
from typing import cast

from feedback_platform.errors import NotFoundError
from feedback_platform.intake.importers.foreign import Importer

_PACKAGE = "feedback_platform.intake.importers"

# name -> (module, object in it or "" for the module itself, summary as the module says it)
FORMATS: Mapping[str, tuple[str, str, str]] = {
    "parquet": ("tabular", "PARQUET", "Parquet files, by a mapping of columns to wire fields"),
    "csv": ("tabular", "CSV", "CSV files with a heading, by a mapping of columns to wire fields"),
    "openai-chat": (
        "openai_chat", "",
        "OpenAI-style chat logs: request/response, NVIDIA flywheel, OpenPipe, LiteLLM, fine-tuning JSONL",
    ),
    "otlp": (
        "otlp", "", "OpenTelemetry traces as OTLP JSON, one export per line or file (a collector's file exporter)",
    ),
    "langfuse": (
        "langfuse", "",
        "Langfuse blob storage export: observations, traces and scores in Parquet, CSV, JSON or JSON Lines",
    ),
    "tensorzero": (
        "tensorzero", "",
        "TensorZero's tables as JSON Lines: ChatInference, JsonInference, ModelInference and *Feedback",
    ),
    "mlflow": (
        "mlflow", "",
        "MLflow traces with assessments: Trace.to_json() or search_traces() in JSON, JSON Lines or Parquet",
    ),
    "phoenix": (
        "phoenix", "", "Arize Phoenix spans and annotations: get_spans_dataframe, get_span_annotations, REST pages",
    ),
    "label-studio": (
        "label_studio", "", "Label Studio's JSON export: predictions as inferences, annotations as feedback",
    ),
    "open-webui": (
        "open_webui", "", "Open WebUI's feedback export: thumbs, ratings, comments and comparisons with their chats",
    ),
    "open-bandit": (
        "open_bandit", "", "Open Bandit Dataset: recommended items with position, propensity and click",
    ),
}  # fmt: skip


def importer(name: str) -> Importer:
    """The importer of a format.

    Raises:
        NotFoundError: there is none of that name.
    """
    if name not in FORMATS:
        raise NotFoundError(f"no import format {name!r}. Formats: jsonl, {', '.join(FORMATS)}.")
    module, attribute, _ = FORMATS[name]
    found = import_module(f"{_PACKAGE}.{module}")
    return cast(Importer, getattr(found, attribute) if attribute else found)
