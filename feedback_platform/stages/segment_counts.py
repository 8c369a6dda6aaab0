"""The counts behind every bias statement: one cell per (objective, segment, value), mergeable by addition.

The engines count, `bias.py` and `response_bounds.py` judge; this file only holds, checks and adds.
Values of one segment partition the inferences; a missing value is a value like any other.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from feedback_platform.errors import ContractViolation

Comparison = Literal["inferences_feedback", "feedback_dataset", "inferences_dataset"]
Group = tuple[str | None, str]
COMPARISONS: tuple[Comparison, ...] = ("inferences_feedback", "feedback_dataset", "inferences_dataset")


@dataclass(frozen=True)
class SegmentCount:
    """One cell: the three populations of one segment value, and what is known of its labels.

    n_inferences: selected inferences; n_feedback: those with attributed feedback; n_dataset: rows in the
    dataset; n_labelled, n_positive: labelled rows and those with a positive label, both 0 when the objective
    has no such thing.

    Raises:
        ContractViolation: a count is negative, or a part is larger than its whole.
    """

    objective: str | None
    segment: str
    value: str
    n_inferences: int
    n_feedback: int
    n_dataset: int
    n_labelled: int = 0
    n_positive: int = 0

    def __post_init__(self) -> None:
        numbers = (self.n_inferences, self.n_feedback, self.n_dataset, self.n_labelled, self.n_positive)
        if min(numbers) < 0 or self.n_feedback > self.n_inferences or self.n_positive > self.n_labelled:
            raise ContractViolation(
                f"bias counts of {self.segment}={self.value!r} cannot be: {numbers} (inferences, feedback, "
                "dataset, labelled, positive). Count distinct inferences in the first two; positives are "
                "part of labelled."
            )


def merge(left: Iterable[SegmentCount], right: Iterable[SegmentCount] = ()) -> tuple[SegmentCount, ...]:
    """Add up the cells of two shards; associative and commutative, so counts can be kept incrementally."""
    totals: dict[tuple[str, str, str, bool], list[int]] = defaultdict(lambda: [0] * 5)
    for c in (*left, *right):
        cell = totals[(c.objective or "", c.segment, c.value, c.objective is None)]
        for i, n in enumerate((c.n_inferences, c.n_feedback, c.n_dataset, c.n_labelled, c.n_positive)):
            cell[i] += n
    return tuple(SegmentCount(None if none else o, s, v, *n) for (o, s, v, none), n in sorted(totals.items()))


def groups(counts: Iterable[SegmentCount]) -> Iterator[tuple[Group, list[SegmentCount]]]:
    """Merged cells by (objective, segment), both in sorted order whatever the order given."""
    found: dict[Group, list[SegmentCount]] = {}
    for c in merge(counts):
        found.setdefault((c.objective, c.segment), []).append(c)
    yield from found.items()


def populations(cell: SegmentCount, comparison: Comparison) -> tuple[int, int]:
    """(base, hit) of one cell in one comparison."""
    base = cell.n_feedback if comparison == "feedback_dataset" else cell.n_inferences
    return base, cell.n_feedback if comparison == "inferences_feedback" else cell.n_dataset
