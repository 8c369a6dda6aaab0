"""What changed between two versions of a dataset, counted by reason, with label flips and a few examples."""

from dataclasses import dataclass

from feedback_platform.compile.reading import dataset_changes_sql, dataset_sql
from feedback_platform.compile.window import Compiler

_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class ChangeCount:
    """Examples of one objective with one kind of change for one reason."""

    objective: str
    change: str
    reason: str
    examples: int


@dataclass(frozen=True, slots=True)
class Flip:
    """Examples of one objective whose label is another one now."""

    objective: str
    before: str
    after: str
    examples: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One changed example; `before` is None for an added one, `after` for a removed one; so is the evidence."""

    change: str
    reason: str
    objective: str
    example_id: str
    request_id: str
    before: str | None
    after: str | None
    new_evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes from one version to another; samples are updates with a new label first, then removals."""

    dataset: str
    older: int
    newer: int
    counts: tuple[ChangeCount, ...]
    flips: tuple[Flip, ...]
    samples: tuple[Sample, ...]


def changes_between(compiler: Compiler, older: int, newer: int) -> Changes:
    """Compare two published versions.

    Raises:
        NotFoundError: one of them is not published.
    """
    old, new = compiler.store.version(older), compiler.store.version(newer)
    name = compiler.policy.name
    with compiler.engine() as engine:
        moved = dataset_changes_sql(compiler.lake, name, old, new)
        columns = "change, change_reason, objective, example_id, request_id, label, evidence"
        engine.create("moved", f"SELECT {columns} FROM ({moved})")
        before = dataset_sql(compiler.lake, name, old)
        engine.create("known", f"SELECT example_id, label, evidence FROM ({before}) WHERE example_id IN "
                      "(SELECT example_id FROM moved WHERE change <> 'add')")  # fmt: skip
        counted = engine.rows(
            "SELECT objective, change, change_reason, count(*) FROM moved GROUP BY ALL ORDER BY 2, 4 DESC, 1, 3"
        )
        flips = engine.rows(
            "SELECT m.objective, k.label, m.label, count(*) FROM moved AS m JOIN known AS k USING (example_id) "
            "WHERE m.change = 'update' AND m.label IS DISTINCT FROM k.label GROUP BY ALL ORDER BY 4 DESC, 1, 2, 3"
        )
        samples = engine.rows(
            "SELECT m.change, m.change_reason, m.objective, m.example_id, m.request_id, k.label, "
            "CASE WHEN m.change <> 'remove' THEN m.label END, "
            "list_filter(m.evidence, lambda e: NOT list_contains(coalesce(k.evidence, []), e)) "
            "FROM moved AS m LEFT JOIN known AS k USING (example_id) "
            "ORDER BY m.change <> 'update' OR m.label IS NOT DISTINCT FROM k.label, m.change <> 'remove', "
            f"m.change <> 'update', m.example_id LIMIT {_SAMPLES}"
        )
    return Changes(
        name, older, newer,
        tuple(ChangeCount(str(o), str(c), str(r), int(str(n))) for o, c, r, n in counted),
        tuple(Flip(str(o), str(b), str(a), int(str(n))) for o, b, a, n in flips),
        tuple(_sample(row) for row in samples),
    )  # fmt: skip


def _sample(row: tuple[object, ...]) -> Sample:
    change, reason, objective, example_id, request_id, before, after, fresh = row
    texts = [None if value is None else str(value) for value in (before, after)]
    evidence = tuple(str(e) for e in fresh) if isinstance(fresh, list) else ()
    return Sample(
        str(change), str(reason), str(objective), str(example_id), str(request_id), texts[0], texts[1], evidence
    )
