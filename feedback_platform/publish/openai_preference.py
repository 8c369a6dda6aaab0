"""Format `openai-preference`: `{"input": {"messages"[, "tools"]}, "preferred_output", "non_preferred_output"}`.

Together and Fireworks read it too.
"""

from feedback_platform.publish.jsonl import TOOLS, Jsonl

OPENAI_PREFERENCE = Jsonl(
    "openai-preference",
    "preference",
    line=f"""'{{"input":{{"messages":' || prompt || {TOOLS} || '}},"preferred_output":' || chosen
      || ',"non_preferred_output":' || rejected || '}}'""",
    chat=True,
    extra=("tools",),
)
