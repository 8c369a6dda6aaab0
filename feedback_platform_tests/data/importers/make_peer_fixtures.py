"""Writes the fixtures beside it with the tools that they are named after: run it with a Python that has the tool.

    python -m venv /tmp/mlflow  && /tmp/mlflow/bin/pip install mlflow==3.17.2
    python -m venv /tmp/phoenix && /tmp/phoenix/bin/pip install arize-phoenix==20.26.1 pyarrow
    /tmp/mlflow/bin/python  feedback_platform_tests/data/importers/make_peer_fixtures.py mlflow
    /tmp/phoenix/bin/python feedback_platform_tests/data/importers/make_peer_fixtures.py phoenix

The same conversations in both: 24, each a chain with one or two model calls, with votes, scores, labels, notes and
corrections. Exported by the tools' own clients; only names of the machine and of its user are replaced afterwards.
Ids and times are the tools' own and differ at each run, so the tests state no id.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CONVERSATIONS = 24
MODEL = "small-chat-1"
PORT = 16_123


def question(n: int) -> str:
    return f"How many days are in {n} weeks?"


def answer(n: int) -> str:
    return f"{n} weeks have {7 * n if n % 5 else 7 * n + 1} days."  # every fifth is wrong


def corrected(n: int) -> str:
    return f"{n} weeks have {7 * n} days."


def chain_attributes(n: int) -> dict[str, Any]:
    """Of the step that called the model."""
    return {"openinference.span.kind": "CHAIN", "input.value": question(n), "output.value": answer(n), **who(n)}


def who(n: int) -> dict[str, str]:
    """Who asked."""
    return {"session.id": f"session-{n // 3}", "user.id": f"user-{n % 4}"}


def call_attributes(n: int) -> dict[str, Any]:
    """Of the model call."""
    return {
        "openinference.span.kind": "LLM",
        "llm.model_name": MODEL,
        "llm.invocation_parameters": json.dumps({"temperature": 0.2}),
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.0.message.content": "Be short.",
        "llm.input_messages.1.message.role": "user",
        "llm.input_messages.1.message.content": question(n),
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": answer(n),
        "llm.token_count.prompt": 12,
        "llm.token_count.completion": 6,
        "llm.prompt_template.template": "How many days are in {n} weeks?",
        "llm.prompt_template.version": "v2",
        "llm.prompt_template.variables": json.dumps({"n": n}),
        "metadata": json.dumps({"team": "calendar" if n % 2 else "school"}),
        "tag.tags": ["days"],
        **who(n),
    }


def write(name: str, text: str) -> None:
    """Write a fixture without the names of this machine; JSON may stand in JSON, so quotes may be escaped."""
    text = re.sub(r'(mlflow\.user\\*":\s*\\*")[^"\\]*', r"\1someone", text)
    text = re.sub(r'(stack_trace\\*":\s*\\*")(?:[^"\\]|\\[^"])*', r"\1removed", text)
    text = re.sub(r"(?:\\*/[\w.-]+)+(\\*/mlruns\\*/)", r"\1", text)
    (HERE / name).write_text(text, encoding="utf-8")


def mlflow_fixtures(work: Path) -> None:
    """24 traces; the first three also as rows of search_traces, and one page of them in JSON."""
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
    os.chdir(work)
    mlflow = import_module("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{work}/mlflow.db")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("days", artifact_location="mlruns"))
    traces = [_mlflow_trace(mlflow, n) for n in range(CONVERSATIONS)]
    mlflow.flush_trace_async_logging()
    for n, trace_id in enumerate(traces):
        _mlflow_assessments(mlflow, n, trace_id)
    exported = [mlflow.get_trace(trace_id) for trace_id in traces]
    write("mlflow_traces.jsonl", "".join(trace.to_json() + "\n" for trace in exported))
    write("mlflow_trace_pretty.json", exported[0].to_json(pretty=True) + "\n")
    rows = mlflow.search_traces(max_results=CONVERSATIONS, order_by=["timestamp_ms ASC"]).head(3)
    write("mlflow_search_traces.json", rows.to_json(orient="records"))
    _mlflow_over_opentelemetry(mlflow, work)


def _mlflow_over_opentelemetry(mlflow: Any, work: Path) -> None:
    """A trace that was sent to the server as OTLP by other instrumentation, with a vote."""
    command = [str(Path(sys.executable).with_name("mlflow")), "server", "--port", str(PORT), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{work}/otlp.db", "--default-artifact-root", "mlruns"]
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=env, start_new_session=True, **silent) as run:  # type: ignore[call-overload]
        try:
            base = f"http://127.0.0.1:{PORT}"
            _until(f"{base}/health")
            headers = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": "0"}
            urllib.request.urlopen(urllib.request.Request(f"{base}/v1/traces", _export(), headers)).close()
            mlflow.set_tracking_uri(base)
            [trace] = mlflow.search_traces(locations=["0"], return_type="list")
            person = mlflow.entities.AssessmentSource("HUMAN", "rater-1")
            mlflow.log_feedback(trace_id=trace.info.trace_id, name="thumbs", value=True, source=person)
            write("mlflow_otlp_trace.json", mlflow.get_trace(trace.info.trace_id).to_json() + "\n")
        finally:
            os.killpg(run.pid, signal.SIGKILL)


def _export() -> bytes:
    """A chain and its model call as an OTLP export, with the attributes of OpenInference."""
    common = import_module("opentelemetry.proto.common.v1.common_pb2")
    tree = import_module("opentelemetry.proto.trace.v1.trace_pb2")
    service = import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

    def pairs(attributes: dict[str, Any]) -> list[Any]:
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in attributes.items()}
        return [common.KeyValue(key=k, value=common.AnyValue(string_value=v)) for k, v in texts.items()]

    now, trace_id, root, leaf = time.time_ns(), bytes(range(1, 17)), bytes(range(1, 9)), bytes(range(9, 17))
    spans = [
        tree.Span(
            trace_id=trace_id, span_id=own, parent_span_id=parent, name=name, attributes=pairs(attributes),
            start_time_unix_nano=now - 2 * 10**9, end_time_unix_nano=now - 10**9,
        )
        for own, parent, name, attributes in (
            (root, b"", "days_bot", chain_attributes(3)), (leaf, root, "call", call_attributes(3))
        )
    ]  # fmt: skip
    groups = [tree.ResourceSpans(scope_spans=[tree.ScopeSpans(spans=spans)])]
    return bytes(service.ExportTraceServiceRequest(resource_spans=groups).SerializeToString())


def _mlflow_trace(mlflow: Any, n: int) -> str:
    """A chain with one model call, for every eighth with two; every twelfth is a plain function."""

    def call(messages: list[dict[str, str]], model: str, temperature: float) -> dict[str, str]:
        return {"role": "assistant", "content": answer(n)}

    def run(question: str) -> str:
        mlflow.update_current_trace(
            metadata={"mlflow.trace.user": f"user-{n % 4}", "mlflow.trace.session": f"session-{n // 3}"},
            tags={"team": "calendar" if n % 2 else "school"},
        )
        if n % 12 == 11:
            return answer(n)
        traced = mlflow.trace(call, span_type="CHAT_MODEL")
        if n % 8 == 7:
            traced([{"role": "user", "content": "Is this about time?"}], model=MODEL, temperature=0.0)
        messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": question}]
        return str(traced(messages, model=MODEL, temperature=0.2)["content"])

    mlflow.trace(run, name="days_bot")(question(n))
    return str(mlflow.get_last_active_trace_id())


def _mlflow_assessments(mlflow: Any, n: int, trace_id: str) -> None:
    person = mlflow.entities.AssessmentSource("HUMAN", f"rater-{n % 3}")
    judge = mlflow.entities.AssessmentSource("LLM_JUDGE", "judge-1")
    good = n % 5 != 0
    if n % 2 == 0:
        why = None if good else "It is one too many."
        vote = mlflow.log_feedback(trace_id=trace_id, name="thumbs", value=good, source=person, rationale=why)
        if n == 6:
            mlflow.override_feedback(trace_id=trace_id, assessment_id=vote.assessment_id, value=not good, source=person)
    if not good:
        mlflow.log_expectation(trace_id=trace_id, name="expected_response", value=corrected(n), source=person)
        mlflow.log_expectation(trace_id=trace_id, name="expected_facts", value=[f"{7 * n} days"], source=person)
    if n % 3 == 0:
        mlflow.log_feedback(trace_id=trace_id, name="quality", value=0.75, source=judge, rationale="Plausible.")
        mlflow.log_feedback(trace_id=trace_id, name="length", value=len(answer(n)))
        mlflow.log_feedback(trace_id=trace_id, name="tone", value="friendly", source=judge)
    if n == 9:
        mlflow.log_feedback(
            trace_id=trace_id, name="safety", error=ValueError("the judge did not answer"), source=judge
        )


def phoenix_fixtures(work: Path) -> None:
    """The spans as the REST API and as the client's data frame have them, and annotations of three kinds."""
    base = f"http://127.0.0.1:{PORT}"
    settings = {"HOST": "127.0.0.1", "PORT": PORT, "GRPC_PORT": PORT + 1, "WORKING_DIR": work}
    quiet = {"TELEMETRY_ENABLED": "false", "ALLOW_EXTERNAL_RESOURCES": "false"}
    env = {f"PHOENIX_{name}": str(value) for name, value in {**settings, **quiet}.items()}
    command = [str(Path(sys.executable).with_name("phoenix")), "serve"]
    with subprocess.Popen(
        command, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as run:
        try:
            _until(f"{base}/healthz")
            _phoenix_exports(base)
        finally:
            run.kill()


def _phoenix_exports(base: str) -> None:
    provider = import_module("phoenix.otel").register(
        project_name="days", endpoint=f"{base}/v1/traces", protocol="http/protobuf", batch=False,
        set_global_tracer_provider=False, verbose=False,
    )  # fmt: skip
    client = import_module("phoenix.client").Client(base_url=base)
    ids = [_phoenix_trace(provider.get_tracer("days"), n) for n in range(CONVERSATIONS)]
    provider.force_flush()
    _until(f"{base}/v1/projects/days")
    while len(client.spans.get_spans(project_identifier="days", limit=1000)) < 2 * CONVERSATIONS:
        time.sleep(0.2)
    for n, (trace_id, span_id) in enumerate(ids):
        _phoenix_annotations(client, n, trace_id, span_id)
    frame = client.spans.get_spans_dataframe(project_identifier="days", limit=1000)
    frame.to_parquet(HERE / "phoenix_spans.parquet")
    write("phoenix_spans.jsonl", frame.to_json(orient="records", lines=True, date_format="iso"))
    pages = f"{base}/v1/projects/days"
    spans, traces = [s for _, s in ids], [t for t, _ in ids]
    write("phoenix_spans_page.json", _get(f"{pages}/spans?limit=1000"))
    write(
        "phoenix_trace_annotations_page.json", _get(f"{pages}/trace_annotations?trace_ids={'&trace_ids='.join(traces)}")
    )
    write("phoenix_session_annotations_page.json", _get(f"{pages}/session_annotations?session_ids=session-0"))
    everything: dict[str, Any] = {"exclude_annotation_names": []}  # by default notes stay behind
    annotations = client.spans.get_span_annotations(span_ids=spans, project_identifier="days", limit=1000, **everything)
    write("phoenix_span_annotations.json", json.dumps(annotations))
    table = client.spans.get_span_annotations_dataframe(span_ids=spans, project_identifier="days", limit=1000)
    write("phoenix_span_annotations.jsonl", table.reset_index().to_json(orient="records", lines=True))


def _phoenix_trace(tracer: Any, n: int) -> tuple[str, str]:
    """A chain and its model call, with the attributes of OpenInference; ids of the trace and of the call."""
    chain, call = chain_attributes(n), call_attributes(n)
    with (
        tracer.start_as_current_span("days_bot", attributes=chain),
        tracer.start_as_current_span("call", attributes=call) as span,
    ):
        if n == 10:  # a model that called a tool instead of answering
            span.set_attribute("llm.output_messages.0.message.content", "")
            prefix = "llm.output_messages.0.message.tool_calls.0.tool_call"
            span.set_attribute(f"{prefix}.id", "call_1")
            span.set_attribute(f"{prefix}.function.name", "multiply")
            span.set_attribute(f"{prefix}.function.arguments", '{"a": 7, "b": 10}')
        context = span.get_span_context()
        return format(context.trace_id, "032x"), format(context.span_id, "016x")


def _phoenix_annotations(client: Any, n: int, trace_id: str, span_id: str) -> None:
    good = n % 5 != 0

    def add(name: str, kind: str, **more: Any) -> None:
        client.spans.add_span_annotation(
            span_id=span_id, annotation_name=name, annotator_kind=kind, identifier=more.pop("identifier", ""),
            sync=True, **more,
        )  # fmt: skip

    if n % 2 == 0:
        label = "thumbs-up" if good else "thumbs-down"
        add("thumbs", "HUMAN", label=label, score=float(good), explanation="Checked.", identifier=f"rater-{n % 3}")
    if not good:
        add("correction", "HUMAN", explanation=corrected(n), identifier=f"rater-{n % 3}")
    if n % 3 == 0:
        add("quality", "LLM", score=0.75, explanation="Plausible.", metadata={"judge": "judge-1"})
        add("length", "CODE", score=float(len(answer(n))))
        add("tone", "LLM", label="friendly", score=0.5)
    if n == 4:
        client.spans.add_span_note(span_id=span_id, note="Ask about leap years, too.")
    if n == 8:
        client.traces.add_trace_annotation(
            trace_id=trace_id, annotation_name="solved", annotator_kind="HUMAN", label="yes", sync=True
        )
    if n == 0:
        client.sessions.add_session_annotation(
            session_id="session-0", annotation_name="satisfied", annotator_kind="HUMAN", score=1.0, sync=True
        )


def _get(address: str) -> str:
    with urllib.request.urlopen(address) as reply:
        return str(reply.read().decode())


def _until(address: str) -> None:
    for _ in range(600):
        try:
            _get(address)
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(address)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        {"mlflow": mlflow_fixtures, "phoenix": phoenix_fixtures}[sys.argv[1]](Path(folder))
