"""Format `openai-sft`: chats for supervised fine-tuning, `{"messages": [...][, "tools"]}`; Together reads it too.

Only the judged answer trains: assistant turns before it carry weight 0.
"""

from feedback_platform.publish.jsonl import TOOLS, Jsonl

_CONTEXT = """list_transform(json_extract(prompt, '$[*]'), lambda m: CASE
    WHEN json_extract_string(m, '$.role') <> 'assistant' THEN CAST(m AS VARCHAR)
    WHEN json_exists(m, '$.weight') THEN CAST(json_merge_patch(m, '{"weight":0}') AS VARCHAR)
    ELSE left(CAST(m AS VARCHAR), length(CAST(m AS VARCHAR)) - 1) || ',"weight":0}'
  END)"""

OPENAI_SFT = Jsonl(
    "openai-sft",
    "sft",
    line=f"""'{{"messages":[' || array_to_string({_CONTEXT}, ',') || ',' || substr(completion, 2) || {TOOLS} || '}}'""",
    chat=True,
)
