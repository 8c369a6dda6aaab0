"""Group commit on a real log: who has a receipt is durable, who has none may send again, and nobody fails for another."""

import asyncio
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_platform.errors import EventRejected, LogError, Overloaded
from feedback_platform.intake.door import Arrival, Door, Unmapped
from feedback_platform.intake.group_commit import GROUP_EVENTS, GroupCommit
from feedback_platform.intake.log import Receipt
from feedback_platform.intake.privacy.policy import PrivacyPolicy
from feedback_platform.intake.privacy.protect import Privacy
from feedback_platform.intake.sqlite_log import SqliteEventLog, open_log
from feedback_platform_tests.builders import inference, thumbs


def now():
    return datetime.now(UTC)


@pytest.fixture
def log(tmp_path):
    with open_log(tmp_path / "log" / "events.sqlite") as opened:
        yield opened


@asynccontextmanager
async def queue_before(log, privacy=None, **limits):
    queue = GroupCommit(Door(log, "default", now, privacy), **limits)
    try:
        yield queue
    finally:
        await queue.close()


@contextmanager
def held(log: SqliteEventLog):
    """Another process's transaction: commits wait until the block ends."""
    other = apsw.Connection(str(log.path))
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@contextmanager
def unwritable(log: SqliteEventLog):
    """Every write fails at once, as on a full disk."""
    log.db.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        log.db.execute("PRAGMA query_only = OFF")


def arrivals(*ids, restrict=None):
    return [
        Arrival("inference", msgspec.json.encode(inference(one)), "POST /v1/inferences", restrict=restrict)
        for one in ids
    ]


def stored(log):
    return [msgspec.json.decode(row)["request_id"] for _, row in log.read("inference", 0, 100_000)]


async def started(*coroutines):
    """Tasks that have run until they wait."""
    tasks = [asyncio.ensure_future(one) for one in coroutines]
    await asyncio.sleep(0.02)
    return tasks


def test_requests_that_wait_together_cost_one_commit(log):
    async def scene():
        async with queue_before(log) as queue:
            with held(log):
                first = await started(queue.submit(arrivals("r0")))
                rest = await started(*(queue.submit(arrivals(f"r{n}")) for n in range(1, 40)))
                assert not any(task.done() for task in first + rest), "nothing is acknowledged before it is written"
                assert queue.waiting_events == 40
            answers = await asyncio.gather(*first, *rest)
            assert queue.waiting_events == queue.waiting_bytes == 0
            return queue.groups, [answer[0] for answer in answers]

    groups, receipts = asyncio.run(scene())
    assert groups == 2
    assert [(r.id, r.log_seq) for r in receipts] == [(f"r{n}", n + 1) for n in range(40)]
    assert stored(log) == [f"r{n}" for n in range(40)]


def test_beyond_its_bounds_it_takes_nothing_and_says_when_to_come_again(log):
    async def scene(queue, too_much):
        with held(log):
            tasks = await started(queue.submit(arrivals("a", "b")), queue.submit(arrivals("c")))
            for more in too_much:
                with pytest.raises(Overloaded, match=r"wait to be written\. Send again in 1 s") as refused:
                    await queue.submit(arrivals(*more))
                assert refused.value.retry_after == 1
            assert queue.waiting_events == 3
        for answer in await asyncio.gather(*tasks):
            assert all(isinstance(one, Receipt) for one in answer)
        assert await queue.submit(arrivals("after"))

    async def by_events():
        async with queue_before(log, max_events=4) as queue:
            await scene(queue, [("d", "e"), tuple("defgh")])

    async def by_bytes():
        size = len(arrivals("a")[0].body)
        async with queue_before(log, max_bytes=3 * size + 5) as queue:
            await scene(queue, [("d",)])

    asyncio.run(by_events())
    assert stored(log) == ["a", "b", "c", "after"]
    asyncio.run(by_bytes())
    assert stored(log) == ["a", "b", "c", "after"]


def test_decoded_bodies_count_with_what_they_hold(log):
    async def scene():
        async with queue_before(log, max_bytes=300_000) as queue:
            bodies = [Arrival("inference", inference(f"r{n}", text="x" * 50_000), "here") for n in range(4)]
            with held(log):
                tasks = await started(*(queue.submit([body]) for body in bodies[:2]))
                assert 200_000 < queue.waiting_bytes < 210_000
                with pytest.raises(Overloaded):
                    await queue.submit(bodies[2:])
            await asyncio.gather(*tasks)
            assert queue.waiting_bytes == 0

    asyncio.run(scene())
    assert stored(log) == ["r0", "r1"]


def test_a_batch_larger_than_the_bound_is_taken_when_nothing_waits(log):
    async def scene():
        async with queue_before(log, max_events=4) as queue:
            return await queue.submit(arrivals(*"abcdefgh"))

    assert [one.log_seq for one in asyncio.run(scene())] == list(range(1, 9))


def test_a_commit_that_fails_fails_its_group_and_no_other(log):
    async def scene():
        async with queue_before(log) as queue:
            before = await queue.submit(arrivals("before"))
            with unwritable(log):
                lost = await asyncio.gather(
                    *(queue.submit(arrivals(f"lost-{n}")) for n in range(5)), return_exceptions=True
                )
                assert queue.failure is not None
                assert queue.waiting_events == queue.waiting_bytes == 0
            after = await queue.submit(arrivals("after"))
            assert queue.failure is None
            again = await queue.submit(arrivals("lost-0"))
            return before, lost, after, again

    before, lost, after, again = asyncio.run(scene())
    assert [type(one) for one in lost] == [LogError] * 5
    assert [one[0].log_seq for one in (before, after, again)] == [1, 2, 3]
    assert not again[0].duplicate
    assert stored(log) == ["before", "after", "lost-0"]
    assert log.head("dead_letter") == 0, "what could not be written is nobody's fault"


def test_a_long_submission_of_which_a_later_group_fails_can_be_sent_again(log):
    ids = [f"r{n}" for n in range(GROUP_EVENTS + 50)]

    def then_the_disk_fills(event):
        if event.request_id == ids[-1]:  # read after the first group was written, before the second is
            log.db.execute("PRAGMA query_only = ON")
        return event

    async def scene():
        async with queue_before(log) as queue:
            with pytest.raises(LogError):
                await queue.submit(arrivals(*ids, restrict=then_the_disk_fills))
            assert queue.waiting_events == queue.waiting_bytes == 0
            assert stored(log) == ids[:GROUP_EVENTS]
            log.db.execute("PRAGMA query_only = OFF")
            return await queue.submit(arrivals(*ids))

    again = asyncio.run(scene())
    assert [one.log_seq for one in again] == list(range(1, len(ids) + 1))
    assert [one.duplicate for one in again] == [True] * GROUP_EVENTS + [False] * 50
    assert stored(log) == ids


def test_a_client_that_leaves_costs_the_others_nothing(log):
    async def scene():
        async with queue_before(log) as queue:
            with held(log):
                first = await started(queue.submit(arrivals("first")))
                stays, leaves, last = await started(
                    *(queue.submit(arrivals(one)) for one in ("stays", "leaves", "last"))
                )
                first[0].cancel()
                leaves.cancel()
                await asyncio.sleep(0.01)
            answers = await asyncio.gather(stays, last)
            assert leaves.cancelled()
            assert first[0].cancelled()
            assert queue.waiting_events == 0
            return answers

    answers = asyncio.run(scene())
    assert [(one[0].id, one[0].log_seq) for one in answers] == [("stays", 2), ("last", 4)]
    assert stored(log) == ["first", "stays", "leaves", "last"], "what was sent is kept, whoever waits for the answer"


def test_one_that_cannot_be_prepared_does_not_fail_its_neighbours(log):
    def broken(event):
        if event.request_id == "bad":
            raise ZeroDivisionError("a fault of ours")
        return event

    async def scene():
        async with queue_before(log) as queue:
            with held(log):
                waits = await started(queue.submit(arrivals("first")))
                tasks = await started(*(queue.submit(arrivals(one, restrict=broken)) for one in ("a", "bad", "b")))
            answers = await asyncio.gather(*waits, *tasks, return_exceptions=True)
            alone = await asyncio.gather(queue.submit(arrivals("bad", restrict=broken)), return_exceptions=True)
            assert queue.waiting_events == 0
            return answers, alone

    answers, alone = asyncio.run(scene())
    assert [type(one) for one in answers] == [list, list, ZeroDivisionError, list]
    assert isinstance(alone[0], ZeroDivisionError)
    assert stored(log) == ["first", "a", "b"]


def test_closing_writes_what_waits(log):
    async def scene():
        queue = GroupCommit(Door(log, "default", now))
        with held(log):
            tasks = await started(*(queue.submit(arrivals(f"r{n}")) for n in range(7)))
            closing = asyncio.ensure_future(queue.close())
            await asyncio.sleep(0.02)
            assert not closing.done()
        await closing
        return [task.result()[0].log_seq for task in tasks]

    assert asyncio.run(scene()) == list(range(1, 8))
    assert len(stored(log)) == 7


def test_refusals_and_both_kinds_keep_their_places(log):
    mixed = [
        Arrival("inference", msgspec.json.encode(inference("i1")), "x", 1),
        Arrival("feedback", b"{}", "x", 2),
        Arrival("feedback", msgspec.json.encode(thumbs("f1")), "x", 3),
        Arrival("inference", msgspec.json.encode(inference("i1", text="other")), "x", 4),
        Arrival("inference", msgspec.json.encode(inference("i2")), "x", 5),
    ]

    async def scene():
        async with queue_before(log) as queue:
            assert await queue.submit([]) == []
            found = await queue.submit(mixed)
            await queue.bury([Unmapped("unknown", "no idea what it is", b"{}", "x", 6)])
            return found

    found = asyncio.run(scene())
    assert [one.reason if isinstance(one, EventRejected) else (one.id, one.log_seq) for one in found] == [
        ("i1", 1), "field_missing", ("f1", 1), "id_conflict", ("i2", 2),
    ]  # fmt: skip
    letters = [msgspec.json.decode(row) for _, row in log.read("dead_letter", 0, 10)]
    assert [(one["line"], one["reason"]) for one in letters] == [
        (2, "field_missing"), (4, "id_conflict"), (6, "not_mapped"),
    ]  # fmt: skip


def test_personal_data_is_counted_behind_the_writing(log):
    privacy = Privacy(PrivacyPolicy(mask_text="report"), bytes(32))
    told = Arrival("inference", msgspec.json.encode(inference("r1", text="write to ann@example.com")), "x")

    async def scene():
        async with queue_before(log, privacy) as queue:
            await queue.submit([told])
            while not privacy.counts().found:
                await asyncio.sleep(0.05)
        return privacy.counts()

    counts = asyncio.run(asyncio.wait_for(scene(), 20))
    assert counts.found["email"] == 2  # in the input, and in the answer that repeats it
    assert b"ann@example.com" in log.read("inference", 0, 1)[0][1], "report masks nothing"


@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=12),
    pauses=st.lists(st.booleans(), min_size=12, max_size=12),
)
@settings(max_examples=15)
def test_however_submissions_come_together_each_is_answered_for_itself(sizes, pauses):
    """Positions follow the order of arrival, without gaps; each submission gets its own receipts in its own order."""

    async def scene(log):
        async with queue_before(log) as queue:
            tasks = []
            for number, size in enumerate(sizes):
                tasks.append(asyncio.ensure_future(queue.submit(arrivals(*(f"s{number}-{n}" for n in range(size))))))
                await asyncio.sleep(0.001 if pauses[number] else 0)
            return await asyncio.gather(*tasks)

    with TemporaryDirectory() as folder, open_log(Path(folder) / "log" / "events.sqlite") as log:
        answers = asyncio.run(scene(log))
        expected = [f"s{number}-{n}" for number, size in enumerate(sizes) for n in range(size)]
        assert [one.id for answer in answers for one in answer] == expected == stored(log)
        assert [one.log_seq for answer in answers for one in answer] == list(range(1, len(expected) + 1))
