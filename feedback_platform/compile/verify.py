"""Holds stored tables against what was promised of them: contracts, hashes, ids and positions. Reads only.

Each function returns what is wrong; whoever asks decides what that means.
"""

from feedback_platform.compile.hashes import MODULUS, sum_hex
from feedback_platform.compile.manifest import Manifest
from feedback_platform.compile.reading import state_sql
from feedback_platform.compile.window import Compiler
from feedback_platform.engines.duckdb import DuckEngine, scan_sql
from feedback_platform.lake.store import LANDING, Lake, window_prefix
from feedback_platform.lake.upkeep import MERGED

NEWEST_POSITIONS = 1_000_000


def contract_faults(compiler: Compiler, manifest: Manifest, table: str) -> tuple[int, dict[str, int]]:
    """Change rows that a window wrote to a table, and per broken rule how many of them break it."""
    opened = compiler.lake.table(table, manifest.dataset)
    prefixes = (window_prefix(manifest.window), MERGED)
    files = [f.path for f in opened.snapshot().files if f.prefix in prefixes]
    rules = opened.contract.row_faults_sql()
    counts = ", ".join(f"count(*) FILTER (WHERE {fault})" for fault in rules.values())
    with compiler.engine() as engine:
        rows = scan_sql(files, opened.contract.columns())
        n, *broken = engine.one(f'SELECT count(*), {counts} FROM ({rows}) WHERE "window" = {manifest.window}')
    found = {rule: int(str(count)) for rule, count in zip(rules, broken, strict=True)}
    return int(str(n)), {rule: count for rule, count in found.items() if count}


def stored_state_hash(compiler: Compiler, manifest: Manifest) -> str:
    """The state hash, summed anew over the rows that the window left in `sampled_dataset`; reads one narrow column."""
    rows = state_sql(compiler.lake, manifest.dataset, "sampled_dataset", manifest.window)
    total = 0
    with compiler.engine() as engine:
        for batch in engine.stream(f"SELECT row_hash FROM ({rows})"):
            total += sum_hex(batch["row_hash"].to_list())
    return f"{total % MODULUS:064x}"


def repeated_ids(lake: Lake, table: str, engine: DuckEngine) -> tuple[int, int]:
    """Rows among the newest log positions of a raw table, and how many of them repeat an id."""
    rows, _ = _newest(lake, table)
    key = lake.table(table).contract.key[0]
    n, distinct = engine.one(f"SELECT count(*), count(DISTINCT {key}) FROM ({rows})")
    return int(str(n)), int(str(n)) - int(str(distinct))


def misplaced_rows(lake: Lake, table: str, engine: DuckEngine) -> tuple[int, int]:
    """The landed position of a raw table, and how many of the newest positions are missing, doubled or beyond it."""
    rows, upto = _newest(lake, table)
    n, distinct, beyond = (
        int(str(value))
        for value in engine.one(
            f"SELECT count(*), count(DISTINCT log_seq), count(*) FILTER (WHERE log_seq > {upto}) FROM ({rows})"
        )
    )
    missing = min(upto, NEWEST_POSITIONS) - (distinct - beyond)
    return upto, missing + (n - distinct) + beyond


def _newest(lake: Lake, table: str) -> tuple[str, int]:
    """SELECT of the rows at the newest log positions, and the landed position."""
    opened = lake.table(table)
    upto = opened.transaction(LANDING) or 0
    scan = scan_sql([f.path for f in opened.snapshot().files], opened.contract.columns())
    return f"SELECT * FROM ({scan}) WHERE log_seq > {upto - NEWEST_POSITIONS}", upto
