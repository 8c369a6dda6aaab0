"""The JSON Lines writer behind every trainer's and vendor's format: data per split, provenance beside it, same order.

Lines are put together in SQL from JSON text that is canonical already, so nothing is parsed on the way, and streamed.
A version whose rows are partly chats and partly plain texts is told as chats throughout: a text prompt becomes one user
message, since loaders refuse a column of two types.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from feedback_platform.errors import ExportError
from feedback_platform.publish.source import Source

PROVENANCE = (
    "example_id", "request_id", "model_version", "evidence", "label_confidence", "selection_prob", "sample_weight",
    "split", "version", "row_hash",
)  # fmt: skip
TOOLS = """CASE WHEN json_array_length(tools) > 0 THEN ',"tools":' || tools ELSE '' END"""
_EXTRA = ("request_id", "model_version", "evidence", "label_confidence_ppm", "row_hash")
_SIDES: Mapping[str, tuple[str, ...]] = {
    "sft": ("completion",),
    "preference": ("chosen", "rejected"),
    "unpaired": ("completion",),
}
_BATCH_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Jsonl:
    """A JSON Lines format.

    Attributes:
        name: what users call it.
        objective: whose examples it holds.
        line: SQL expression of a line over the training view's columns.
        chat: True when the format knows only messages.
        check: judges the version before anything is written; raises `ExportError`.
        extra: further columns of `sampled_dataset` that `line` names.
    """

    name: str
    objective: str
    line: str
    chat: bool = False
    check: Callable[[Source, str], None] | None = None
    extra: tuple[str, ...] = ()

    def write(self, source: Source, folder: Path) -> tuple[dict[str, int], dict[str, object]]:
        """Fill the folder; returns the rows of each file and what the manifest should say."""
        examples = source.require(self.objective, self.name)
        view = source.view_sql(self.objective, (*_EXTRA, *self.extra))
        as_chat = self.chat or _is_mixed(source, view)
        shown = _as_chat(view, self.objective) if as_chat else view
        if self.check is not None:
            self.check(source, shown)
        rows = self._stream(source, shown, folder)
        written = sum(rows.values())
        if not written:
            raise ExportError(
                f"none of the {examples} {self.objective} examples of {source.title} can be told in format "
                f"{self.name!r}. `feedback query` on `{source.manifest.dataset}.sampled_dataset` shows them."
            )
        form = "messages" if as_chat or _count(source, view, _IS_CHAT) else "text"
        both = {**rows, **{_beside(name): n for name, n in rows.items()}}
        return both, {"objective": self.objective, "form": form, "rows": rows, "left_out": examples - written}

    def _stream(self, source: Source, view: str, folder: Path) -> dict[str, int]:
        sql = (
            f"SELECT split, {self.line} AS line, {_provenance(source.manifest.version or 0)} AS provenance "
            f"FROM ({view}) ORDER BY split, example_id"
        )
        rows: dict[str, int] = {}
        with ExitStack() as stack:
            files: dict[str, tuple[BinaryIO, BinaryIO]] = {}
            reader: pa.RecordBatchReader = source.connection.sql(sql).to_arrow_reader(_BATCH_ROWS)
            for batch in reader:
                for split, lines, notes in _by_split(batch):
                    name = f"{split}.jsonl"
                    if name not in files:
                        one, two = (stack.enter_context((folder / n).open("wb")) for n in (name, _beside(name)))
                        files[name] = one, two
                    files[name][0].write(_joined(lines))
                    files[name][1].write(_joined(notes))
                    rows[name] = rows.get(name, 0) + len(lines)
        return rows


_IS_CHAT = "starts_with(prompt, '[')"


def _beside(name: str) -> str:
    return name.removesuffix(".jsonl") + ".provenance.jsonl"


def _is_mixed(source: Source, view: str) -> bool:
    return _count(source, view, _IS_CHAT) not in (0, _count(source, view, "true"))


def _count(source: Source, view: str, condition: str) -> int:
    [(n,)] = source.connection.execute(f"SELECT count(*) FROM ({view}) WHERE {condition}").fetchall()
    return int(n)


def _as_chat(view: str, objective: str) -> str:
    """The view with every string told as a list of one message."""
    roles = {"prompt": "user", **dict.fromkeys(_SIDES[objective], "assistant")}
    told = ", ".join(
        f"CASE WHEN starts_with({c}, '[') THEN {c} "
        f"""ELSE '[{{"content":' || {c} || ',"role":"{role}"}}]' END AS {c}"""
        for c, role in roles.items()
    )
    return f"SELECT * REPLACE ({told}) FROM ({view})"


def _provenance(version: int) -> str:
    values = {"label_confidence": "label_confidence_ppm / 1e6::DOUBLE", "version": str(version)}
    fields = ", ".join(f"'{name}': {values.get(name, name)}" for name in PROVENANCE)
    return f"CAST(to_json({{{fields}}}) AS VARCHAR)"


def _by_split(batch: pa.RecordBatch) -> list[tuple[str, list[str], list[str]]]:
    """Runs of one split in a batch that is sorted by split."""
    splits, lines, notes = (column.to_pylist() for column in batch.columns)
    names = sorted(set(splits))
    bounds = [(splits.index(name), len(splits) - splits[::-1].index(name)) for name in names]
    return [(name, lines[a:b], notes[a:b]) for name, (a, b) in zip(names, bounds, strict=True)]


def _joined(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
