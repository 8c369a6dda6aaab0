"""Format `dpo`: TRL's preference data with the prompt apart, `{"prompt", "chosen", "rejected"}`."""

from feedback_platform.publish.jsonl import Jsonl

DPO = Jsonl(
    "dpo",
    "preference",
    line="""'{"prompt":' || prompt || ',"chosen":' || chosen || ',"rejected":' || rejected || '}'""",
)
