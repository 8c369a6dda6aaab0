"""Requests share a commit and nothing else: what cannot be written fails alone, whatever the reason."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from feedback_platform.errors import EventRejected
from feedback_platform.intake.door import Arrival, Door, Outcome
from feedback_platform.intake.group_commit import GROUP_EVENTS, GroupCommit
from feedback_platform.intake.log import Receipt
from feedback_platform.intake.privacy.policy import PrivacyPolicy
from feedback_platform.intake.privacy.protect import Privacy
from feedback_platform.intake.sqlite_log import open_log
from feedback_platform_tests.builders import inference


class Faulty(Privacy):
    """A policy with a fault: it cannot scrub."""

    def scrub_refusal(self, refusal: EventRejected) -> EventRejected:
        """Fails while the group is being written."""
        raise ArithmeticError("a fault")


def test_a_fault_while_writing_fails_one_request_and_each_other_gets_its_own_receipts(tmp_path: Path) -> None:
    names = [[f"a{n}" for n in range(3)], [f"b{n}" for n in range(3 * GROUP_EVENTS)], ["c"]]

    async def scene() -> list[list[Outcome] | BaseException]:
        queue = GroupCommit(Door(log, "default", lambda: datetime.now(UTC), Faulty(PrivacyPolicy(), bytes(32))))
        bad = Arrival("inference", b'{"request_id":"bad"}', "x")
        jobs = [[arrival(name) for name in job] for job in names]
        done = await asyncio.gather(
            *(queue.submit(job) for job in (jobs[0], [bad], jobs[1], jobs[2])), return_exceptions=True
        )
        assert queue.waiting_events == queue.waiting_bytes == 0
        assert queue.failure is None, "the log can be written"
        await queue.close()
        return done

    with open_log(tmp_path / "log" / "events.sqlite") as log:
        first, fault, second, third = asyncio.run(scene())
        entries = {msgspec.json.decode(row)["request_id"]: seq for seq, row in log.read("inference", 0, 10**6)}
    assert isinstance(fault, ArithmeticError)
    for job, outcomes in zip(names, (first, second, third), strict=True):
        assert isinstance(outcomes, list)
        told = [(one.id, one.log_seq) for one in outcomes if isinstance(one, Receipt)]
        assert told == [(name, entries[name]) for name in job]
    assert len(entries) == sum(map(len, names))


@pytest.mark.parametrize("origin", ["POST /v1/batch", "events-\udcff.jsonl"])
def test_a_refusal_with_half_a_surrogate_pair_is_kept_and_fails_nobody(tmp_path: Path, origin: str) -> None:
    bodies = (b'{"a\\ud800":1,"a\\ud800":2}', msgspec.json.encode(inference("good")))
    with open_log(tmp_path / "log" / "events.sqlite") as log:
        door = Door(log, "default", lambda: datetime.now(UTC), Privacy(PrivacyPolicy(), bytes(32)))
        refused, good = door.admit([Arrival("inference", body, origin) for body in bodies])
        [(_, letter)] = log.read("dead_letter", 0, 10)
    assert isinstance(refused, EventRejected)
    assert isinstance(good, Receipt)
    assert msgspec.json.decode(letter)["reason"] == refused.reason == "duplicate_key"


def arrival(name: str) -> Arrival:
    """A good inference."""
    return Arrival("inference", msgspec.json.encode(inference(name)), "x")
