"""Counts for the drift sensor: how many inferences old enough to judge, and how many of them had feedback by then.

Reads narrow columns of the newest `MOST_EVENTS` log positions only, so that a look costs the same for ever.
"""

from dataclasses import dataclass

from feedback_platform.compile.manifest import Cuts, Manifest, evolve
from feedback_platform.compile.relations import define_relations
from feedback_platform.compile.window import Compiler
from feedback_platform.compile.workspace import LakeWorkspace
from feedback_platform.engines.duckdb import DuckEngine

MOST_EVENTS = 200_000
FEWEST_INFERENCES = 100

_JUDGED = """
    SELECT r.request_id, min(r.event_at) AS first_at FROM (
      SELECT unnest(request_ids) AS request_id, event_at FROM feedback
      WHERE log_seq > {feedback_after} AND feedback_type NOT IN ('retraction', 'adjudication')
    ) AS r GROUP BY r.request_id
"""
_AGES = """
    SELECT i.event_at,
      CASE WHEN j.first_at IS NOT NULL THEN greatest(epoch_us(j.first_at) - epoch_us(i.event_at), 0) END AS delay
    FROM inferences AS i LEFT JOIN judged AS j ON j.request_id = i.request_id
    WHERE i.is_selected AND i.log_seq > {inference_after}
"""
_CLOCKS = """
    SELECT
      (SELECT max(epoch_us(least(event_at, received_at))) FROM inferences WHERE log_seq > {inference_after}),
      (SELECT max(epoch_us(least(event_at, received_at))) FROM feedback WHERE log_seq > {feedback_after})
"""


@dataclass(frozen=True, slots=True)
class Reference:
    """The feedback rate of a published version, and what makes later rates comparable with it. Times in microseconds.

    Attributes:
        window: the version's window.
        n: its inferences that were old enough.
        k: those that had feedback within `delay`.
        delay: nine in ten inferences that get feedback have it by then.
        lag: 99 in 100 feedback events are received that soon after they were given.
        upto: event time up to which inferences are counted.
    """

    window: int
    n: int
    k: int
    delay: int
    lag: int
    upto: int


@dataclass(frozen=True, slots=True)
class RateCount:
    """Inferences that became old enough since the last look, those with feedback, and up to which event time."""

    n: int
    k: int
    upto: int


def measure_reference(compiler: Compiler, manifest: Manifest) -> Reference | None:
    """The reference that a version sets; None when it saw too few inferences or no feedback."""
    with compiler.engine() as engine:
        _define(engine, compiler, manifest, manifest.cuts)
        delay = engine.one("SELECT quantile_disc(delay, 0.9) FROM ages WHERE delay IS NOT NULL")[0]
        if delay is None:
            return None
        lag_sql = "SELECT quantile_disc(greatest(epoch_us(received_at) - epoch_us(event_at), 0), 0.99) FROM feedback"
        lag = engine.one(f"{lag_sql} WHERE log_seq > {manifest.cuts.feedback - MOST_EVENTS}")[0]
        wait, late = int(str(delay)), int(str(lag))
        upto = _clock(engine, manifest.cuts, late) - wait
        n, k = _rate(engine, wait, None, upto)
    if n < FEWEST_INFERENCES or k == 0:
        return None
    return Reference(manifest.window, n, k, wait, late, upto)


def count_since(compiler: Compiler, manifest: Manifest, reference: Reference, since: int) -> RateCount:
    """Inferences of event times after `since` that are old enough by now; `manifest` is the reference's."""
    cuts = Cuts(*compiler.lake.landed())
    with compiler.engine() as engine:
        _define(engine, compiler, manifest, cuts)
        upto = max(since, _clock(engine, cuts, reference.lag) - reference.delay)
        n, k = _rate(engine, reference.delay, since, upto)
    return RateCount(n, k, upto)


def _define(engine: DuckEngine, compiler: Compiler, manifest: Manifest, cuts: Cuts) -> None:
    work = LakeWorkspace(compiler.lake, manifest.dataset, manifest.window)
    define_relations(engine, work, evolve(manifest, cuts=cuts), compiler.policy)
    after = _after(cuts)
    engine.define("judged", _JUDGED.format(**after))
    engine.define("ages", _AGES.format(**after))


def _after(cuts: Cuts) -> dict[str, int]:
    return {"inference_after": cuts.inference - MOST_EVENTS, "feedback_after": cuts.feedback - MOST_EVENTS}


def _clock(engine: DuckEngine, cuts: Cuts, lag: int) -> int:
    """Event time up to which feedback is known.

    That of the newest feedback; when feedback falls silent, time goes on with the inferences, less the usual lag, or
    the very drift that matters most would never be seen.
    """
    inference, feedback = engine.one(_CLOCKS.format(**_after(cuts)))
    return max(int(str(feedback or 0)), int(str(inference or 0)) - lag)


def _rate(engine: DuckEngine, delay: int, since: int | None, upto: int) -> tuple[int, int]:
    after = "true" if since is None else f"epoch_us(event_at) > {since}"
    row = engine.one(
        f"SELECT count(*), count(*) FILTER (WHERE delay <= {delay}) FROM ages "
        f"WHERE {after} AND epoch_us(event_at) <= {upto}"
    )
    return int(str(row[0])), int(str(row[1]))
