"""A process of its own that traces with the real OpenTelemetry SDK and exports over HTTP: `sender.py ENDPOINT COMPRESSION`."""

import json
import sys

from openinference.semconv.trace import MessageAttributes, OpenInferenceSpanKindValues, SpanAttributes
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode


def main(endpoint: str, compression: str) -> None:
    """Trace one request of an agent and export it."""
    resource = Resource.create({"service.name": "shop", "deployment.environment.name": "staging"})
    provider = TracerProvider(resource=resource)
    exporter = OTLPSpanExporter(endpoint, compression=Compression(compression), timeout=10)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("shop.agent", "1.2")
    with tracer.start_as_current_span("agent", attributes={"openinference.span.kind": "AGENT"}):
        genai_call(tracer)
        openinference_call(tracer)
        with tracer.start_as_current_span("GET /stock", kind=SpanKind.CLIENT):
            pass
        with tracer.start_as_current_span("chat gpt-4", attributes={"gen_ai.operation.name": "chat"}) as failed:
            failed.set_status(Status(StatusCode.ERROR, "timeout"))
    provider.shutdown()


def genai_call(tracer):
    with tracer.start_as_current_span("chat gpt-4", kind=SpanKind.CLIENT) as span:
        span.set_attributes({
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4",
            "gen_ai.response.model": "gpt-4-0613",
            "gen_ai.response.id": "chatcmpl-1",
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.usage.input_tokens": 12,
            "gen_ai.request.temperature": 0.5,
            "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Größe?"}]}]),
            "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "42"}]}]),
        })  # fmt: skip
        span.add_event(
            "gen_ai.evaluation.result", {"gen_ai.evaluation.name": "Relevance", "gen_ai.evaluation.score.value": 0.9}
        )


def openinference_call(tracer):
    with tracer.start_as_current_span("llm") as span:
        span.set_attributes({
            SpanAttributes.OPENINFERENCE_SPAN_KIND: OpenInferenceSpanKindValues.LLM.value,
            SpanAttributes.LLM_MODEL_NAME: "claude-4",
            f"{SpanAttributes.LLM_INPUT_MESSAGES}.0.{MessageAttributes.MESSAGE_ROLE}": "user",
            f"{SpanAttributes.LLM_INPUT_MESSAGES}.0.{MessageAttributes.MESSAGE_CONTENT}": "Stock?",
            f"{SpanAttributes.LLM_OUTPUT_MESSAGES}.0.{MessageAttributes.MESSAGE_ROLE}": "assistant",
            f"{SpanAttributes.LLM_OUTPUT_MESSAGES}.0.{MessageAttributes.MESSAGE_CONTENT}": "Seven.",
            "annotations.0.annotation.name": "correctness",
            "annotations.0.annotation.label": "correct",
            "annotations.0.annotation.annotator_kind": "HUMAN",
            "annotations.0.annotation.identifier": "reviewer-42",
            "session.id": "s-1",
        })  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
