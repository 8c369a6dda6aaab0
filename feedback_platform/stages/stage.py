"""What a stage is: a unit, the keys that a window touches, SQL steps that compute their state, and batch functions.

A stage says what; `compile/advance.py` runs every stage alike. Its SQL stands in a `.sql` file beside its module, cut
into relations by lines `-- step: <name>` (computed once and kept for the window) and `-- view: <name>` (computed where
it is used). Two names are fixed: `touched` gives the keys of the units to recompute, `body` their rows in the
contract's columns.

Relations that SQL may name: `inferences`, `feedback` (up to the cut), `new_inferences`, `new_feedback` (of the window),
and for each derived table T: `T` (current state), `T_new` and `T_old` (rows that the window made, and those they
replaced or removed), `T_before` (state before the window), `T_history` (all change rows before it). `@name` is a parameter.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files

import polars as pl

from feedback_platform.contracts.policies import DatasetPolicy
from feedback_platform.contracts.table import TableContract

Batch = Callable[[pl.DataFrame, DatasetPolicy], pl.DataFrame]
_MARK = re.compile(r"^-- (step|view): (\w+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Step:
    """A named relation of a stage; a view is not kept."""

    sql: str
    is_view: bool


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage.

    Attributes:
        table: contract of what it writes.
        unit: column that names the unit it decides on; every row belongs to one unit.
        semantics: bumped by hand when the same input would give another result; golden tests guard it.
        sql: its steps and views, in order.
        batches: step name -> row-wise function over that step's rows (Arrow in, Arrow out).
        params: SQL parameters from the policy: whole numbers or text.
        frames: small relations from the policy, such as the order of precedence.
        reasons: SQL giving (key, reason) for rows that go, where "gone" would say too little.
    """

    table: TableContract
    unit: str
    semantics: int
    sql: Mapping[str, Step]
    batches: Mapping[str, Batch] = field(default_factory=dict)
    params: Callable[[DatasetPolicy], Mapping[str, int | str]] = lambda policy: {}
    frames: Callable[[DatasetPolicy], Mapping[str, pl.DataFrame]] = lambda policy: {}


def load_steps(name: str) -> dict[str, Step]:
    """The steps and views of `stages/<name>.sql`, in order."""
    text = files("feedback_platform.stages").joinpath(f"{name}.sql").read_text(encoding="utf-8")
    _, *parts = _MARK.split(text)
    return {
        title: Step(body.strip().rstrip(";"), kind == "view")
        for kind, title, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }
