"""A small lake with versions of a dataset in it, written state by state through the committer."""

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from feedback_platform.compile.manifest import Cuts, Manifest, ManifestStore, evolve
from feedback_platform.contracts.canonical import canonical_json
from feedback_platform.contracts.policies import policy_mapping, resolve_policy
from feedback_platform.contracts.stage_tables import SAMPLED_DATASET
from feedback_platform.lake.committer import commit
from feedback_platform.lake.store import COMPILE, Lake, window_prefix
from feedback_platform.settings import Settings
from feedback_platform.stages.training_views import ALL_RANKS

NAME = "bot"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Row = dict[str, Any]


def row(example_id: str, objective: str, **columns: Any) -> Row:
    """A row of `sampled_dataset`; `input` and the outputs are plain values, stored as canonical JSON."""
    texts = {
        k: canonical_json(v) for k, v in columns.items() if k in ("input", "output", "target", "chosen", "rejected")
    }
    given = {"input": '"Hi"', "output": '"Hello"', "input_kind": "text", **columns, **texts}
    made: Row = dict.fromkeys(SAMPLED_DATASET.names())
    made |= {
        "example_id": example_id, "objective": objective, "unit": "inference", "unit_key": example_id,
        "criterion": "overall", "request_id": f"r-{example_id}", "model": "bot", "model_version": "1",
        "event_at": NOON, "label_at": NOON, "label_kind": "target", "label_confidence_ppm": 900_000,
        "label_source": "event", "rule_id": "test", "n_raters": 1, "agreement_ppm": 1_000_000,
        "evidence": [f"f-{example_id}"], "cluster_id": "c", "group_id": "g", "dup_count": 1, "split": "train",
        "stratum": "all", "arm": "weighted", "weight_ppm": 1_000_000, "sampling_rank": 1, **given,
    }  # fmt: skip
    content = json.dumps({k: str(v) for k, v in made.items()}, sort_keys=True)
    return made | {"row_hash": hashlib.sha256(content.encode()).hexdigest()}


def sft(example_id: str, **columns: Any) -> Row:
    return row(example_id, "sft", **{"target": "Hello", **columns})


def pair(example_id: str, **columns: Any) -> Row:
    return row(
        example_id, "preference", **{"chosen": "Hello", "rejected": "Go away", "label_kind": "preference", **columns}
    )


def thumb(example_id: str, good: bool, **columns: Any) -> Row:
    return row(example_id, "unpaired", **{"label": str(good).lower(), "label_kind": "binary", **columns})


def classified(example_id: str, features: object, label: str, **columns: Any) -> Row:
    kind = {"input": features, "input_kind": "features", "label": label, "label_kind": "class"}
    return row(example_id, "classification", **{**kind, **columns})


def chat(*turns: str) -> object:
    """A conversation, the user first."""
    return {"messages": [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]}


class Book:
    """A dataset's lake and manifests; each `publish` is one window."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, memory_limit="1GB", threads=2)
        self.lake = Lake(self.settings.lake)
        self.store = ManifestStore(self.lake.dataset_folder(NAME))
        self._standing: dict[str, tuple[int, Row]] = {}

    def publish(self, state: Iterable[Row], threshold: int = ALL_RANKS, status: str = "published") -> Manifest:
        """A window that leaves exactly these rows, and a version of it unless it is left `open` or `blocked`."""
        window = self.store.next_window()
        rows = {r["example_id"]: r for r in state}
        self._write("sampled_dataset", window, list(self._changes(window, rows)))
        self._write("sampling_thresholds", window, _thresholds(window, threshold))
        version = len(self.store.versions()) + 1 if status in ("published", "publishing") else None
        policy = resolve_policy({"name": NAME, "objectives": ["sft", "preference", "unpaired", "classification"]})
        return self.store.save(
            Manifest(
                dataset=NAME, window=window, status=status, trigger="manual", cuts=Cuts(window, window),  # type: ignore[arg-type]
                prev_cuts=Cuts(window - 1, window - 1), prev_window=window - 1, recompile=False,
                policy=policy_mapping(policy), config_hash="c" * 64, semantics={}, watermark=0,
                opened_at="2026-03-02T00:00:00Z", closed_at="2026-03-02T00:00:01Z", version=version,
                rows={"sft": len(rows)}, changes={"added": len(rows)}, state_hash="5" * 64, change_hash="7" * 64,
            )
        )  # fmt: skip

    def put(self, table: str, rows: list[Row]) -> None:
        """Add rows to another table of the dataset, in the window to come."""
        window = self.store.next_window()
        self._write(table, window, [{"window": window, "op": "add", "op_reason": "new", **r} for r in rows])

    def yank(self, manifest: Manifest) -> None:
        self.store.save(evolve(manifest, yanked="a bad day"))

    def _changes(self, window: int, rows: dict[str, Row]) -> Iterable[Row]:
        for example_id, new in rows.items():
            before = self._standing.get(example_id)
            if before is None:
                yield {"window": window, "op": "add", "op_reason": "new", "prev_window": None, **new}
            elif before[1]["row_hash"] != new["row_hash"]:
                yield {"window": window, "op": "update", "op_reason": "target", "prev_window": before[0], **new}
            else:
                continue
            self._standing[example_id] = (window, new)
        for example_id in [e for e in self._standing if e not in rows]:
            since, old = self._standing.pop(example_id)
            yield {"window": window, "op": "remove", "op_reason": "retracted", "prev_window": since, **old}

    def _write(self, name: str, window: int, rows: list[Row]) -> None:
        table = self.lake.table(name, NAME)
        part = table.staging(window_prefix(window)) / "part-0.parquet"
        frame = pl.DataFrame(rows, schema=table.contract.polars_schema())
        pq.write_table(frame.to_arrow(), part)
        commit(table, [part], app=COMPILE, txn=window, replace_prefix=window_prefix(window))


def _thresholds(window: int, threshold: int) -> list[Row]:
    return [
        {
            "window": window, "op": "add" if window == 1 else "update", "op_reason": "new",
            "prev_window": None if window == 1 else window - 1, "cell": f"{objective}|all|weighted",
            "objective": objective, "stratum": "all", "arm": "weighted", "n_candidates": 9, "n_drawn": 9,
            "threshold": threshold,
        }
        for objective in ("sft", "preference", "unpaired", "classification")
    ]  # fmt: skip
