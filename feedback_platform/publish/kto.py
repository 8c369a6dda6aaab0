"""Format `kto`: TRL's unpaired preference data, `{"prompt", "completion", "label"}`, label true for a good answer."""

from feedback_platform.errors import ExportError
from feedback_platform.publish.jsonl import Jsonl
from feedback_platform.publish.source import Source


def _check(source: Source, view: str) -> None:
    """KTO learns from the contrast of the two labels, so the part that trains must have both."""
    tallies = "count(*) FILTER (label), count(*) FILTER (NOT label)"
    sql = f"SELECT split, {tallies} FROM ({view}) GROUP BY split ORDER BY split"
    found = source.connection.execute(sql).fetchall()
    if not any(split == "train" and good and bad for split, good, bad in found):
        counts = "; ".join(f"{split}: {good} good, {bad} bad" for split, good, bad in found) or "no examples"
        raise ExportError(
            f"format 'kto' needs good and bad answers in the train split, and {source.title} has {counts}. Collect "
            "thumbs or ratings of the missing kind, or use format 'sft' on the good answers."
        )


KTO = Jsonl(
    "kto",
    "unpaired",
    line="""'{"prompt":' || prompt || ',"completion":' || completion || ',"label":'
      || CASE WHEN label THEN 'true' ELSE 'false' END || '}'""",
    check=_check,
)
