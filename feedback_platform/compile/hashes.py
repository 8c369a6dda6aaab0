"""Change hash and state hash of a window: sums modulo 2^256 of SHA-256 over canonical rows, so O(changes) and mergeable.

`state_hash` = the hash before, plus the rows that came, minus the rows that went. Rows carry their own hash.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from feedback_platform.compile.manifest import Manifest
from feedback_platform.compile.relations import define_relations
from feedback_platform.compile.workspace import Workspace
from feedback_platform.engines.duckdb import DuckEngine

MODULUS = 1 << 256


def version_hashes(manifest: Manifest, workspace: Workspace, engine: DuckEngine) -> dict[str, Any]:
    """The manifest's `change_hash`, `state_hash`, `changes` and `rows` for its window."""
    define_relations(engine, workspace, manifest, manifest.dataset_policy())
    changes: dict[str, int] = {"add": 0, "update": 0, "remove": 0}
    change_sum, state = 0, int(manifest.prev_state_hash, 16)
    for batch in engine.stream("SELECT op, example_id, row_hash FROM sampled_dataset__now"):
        for op, example_id, row_hash in batch.iter_rows():
            changes[op] += 1
            change_sum += int.from_bytes(hashlib.sha256(f"{op}|{example_id}|{row_hash}".encode()).digest())
            if op != "remove":
                state += int(row_hash, 16)
    for batch in engine.stream("SELECT row_hash FROM sampled_dataset_old"):
        state -= sum_hex(batch["row_hash"].to_list())
    rows = engine.rows("SELECT objective, count(*) FROM sampled_dataset GROUP BY objective ORDER BY objective")
    return {
        "change_hash": f"{change_sum % MODULUS:064x}",
        "state_hash": f"{state % MODULUS:064x}",
        "changes": changes,
        "rows": {str(objective): int(str(n)) for objective, n in rows},
    }


def sum_hex(hashes: Iterable[str]) -> int:
    """Sum of hashes given in hex."""
    return sum(int(h, 16) for h in hashes)
