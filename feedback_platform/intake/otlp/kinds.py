"""Which spans are model calls, and what the others are.

A call that two layers record (an agent over a chat) counts once, at the layer that talks to the model.
"""

from feedback_platform.intake.otlp.attributes import first, text
from feedback_platform.intake.otlp.spans import Attributes

MODEL_CALL = "model_call"
NO_MODEL_CALL = "not_a_model_call"

# `gen_ai.operation.name`; an operation that is not listed is a model call where a model is named.
_OPERATIONS = {
    "chat": MODEL_CALL, "text_completion": MODEL_CALL, "generate_content": MODEL_CALL, "completion": MODEL_CALL,
    "execute_tool": "tool_span", "embeddings": "embedding_span", "retrieval": "retriever_span",
    "invoke_agent": "agent_span", "create_agent": "agent_span", "invoke_workflow": "chain_span", "plan": "chain_span",
    "create_memory": "memory_span", "create_memory_store": "memory_span", "delete_memory": "memory_span",
    "delete_memory_store": "memory_span", "search_memory": "memory_span", "update_memory": "memory_span",
    "upsert_memory": "memory_span",
}  # fmt: skip
# `openinference.span.kind`
_OPENINFERENCE = {
    "llm": MODEL_CALL, "tool": "tool_span", "chain": "chain_span", "retriever": "retriever_span",
    "embedding": "embedding_span", "agent": "agent_span", "reranker": "reranker_span",
    "guardrail": "guardrail_span", "evaluator": "evaluator_span", "prompt": "prompt_span", "decision": "decision_span",
}  # fmt: skip
# `traceloop.span.kind` of OpenLLMetry's frameworks, `llm.request.type` of its model calls
_TRACELOOP = {"workflow": "chain_span", "task": "chain_span", "agent": "agent_span", "tool": "tool_span"}
_REQUESTS = {"chat": MODEL_CALL, "completion": MODEL_CALL, "embedding": "embedding_span", "rerank": "reranker_span"}
_MODELS = ("gen_ai.request.model", "gen_ai.response.model", "llm.request.model", "llm.model_name")
_CONTENT = ("gen_ai.prompt", "gen_ai.completion", "llm.input_messages", "llm.output_messages", "gen_ai.input.messages")


def kind_of(attributes: Attributes) -> str:
    """`MODEL_CALL`, or what else the span is, such as `tool_span`; `NO_MODEL_CALL` where nothing says."""
    declared = (
        ("openinference.span.kind", _OPENINFERENCE),
        ("gen_ai.operation.name", _OPERATIONS),
        ("traceloop.span.kind", _TRACELOOP),
        ("llm.request.type", _REQUESTS),
    )
    for name, kinds in declared:
        found = kinds.get((text(attributes.get(name)) or "").lower())
        if found is not None:
            return found
    return MODEL_CALL if _looks_like_a_call(attributes) else NO_MODEL_CALL


def _looks_like_a_call(attributes: Attributes) -> bool:
    if first(attributes, *_MODELS) is None:
        return False
    if first(attributes, "gen_ai.system", "gen_ai.provider.name", "gen_ai.operation.name") is not None:
        return True
    return any(key.startswith(_CONTENT) for key in attributes)
