"""Format `sft`: TRL's prompt-completion data for supervised fine-tuning, `{"prompt", "completion"[, "tools"]}`."""

from feedback_platform.publish.jsonl import TOOLS, Jsonl

_LINE = f"""'{{"prompt":' || prompt || ',"completion":' || completion || {TOOLS} || '}}'"""
SFT = Jsonl("sft", "sft", line=_LINE)
