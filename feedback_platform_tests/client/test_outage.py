"""Servers that are away, slow or overloaded; queues and spills that are full: what is kept, what is counted."""

import itertools
import logging
import random
import signal
import threading
import time

import pytest

from feedback_platform_tests.client.conftest import balanced, log, until
from feedback_platform_tests.client.peer import Reply, problem


def test_nothing_is_lost_in_an_outage_within_the_spill(make, peer, tmp_path):
    client = make(spill=tmp_path / "spill", max_queue_events=50, batch_events=20)
    ids = [log(client, number) for number in range(10)]
    assert client.flush(5)
    peer.stop()
    for number in range(10, 1_010):
        ids.append(log(client, number))
        if number % 100 == 0:
            time.sleep(0.05)
    assert not client.flush(0.3)
    stats = balanced(client.stats())
    assert (stats.accepted, dict(stats.dropped)) == (10, {})
    assert stats.waiting + stats.queued == 1_000
    assert "ConnectionRefusedError" in str(stats.last_error)
    peer.start()
    assert client.flush(10)
    stats = balanced(client.stats())
    assert (stats.accepted + stats.duplicates, stats.waiting, stats.spill_bytes) == (1_010, 0, 0)
    assert sorted(peer.order) == sorted(ids)
    assert list(tmp_path.iterdir()) == []  # the files went when the last event was settled


def test_spilled_events_are_sent_in_order(make, peer, tmp_path):
    peer.stop()
    client = make(spill=tmp_path / "spill", batch_events=7)
    ids = [log(client, number) for number in range(100)]
    until(lambda: client.stats().waiting == 100)
    peer.start()
    assert client.flush(5)
    assert peer.order == ids


def test_without_a_spill_the_queue_holds_what_it_can_and_counts_the_rest(make, peer, caplog):
    peer.stop()
    client = make(max_queue_events=100)
    with caplog.at_level(logging.WARNING, "feedback_platform.client"):
        ids = [log(client, number) for number in range(250)]
        until(lambda: "queue_full 150" in caplog.text)
    stats = balanced(client.stats())
    assert (stats.queued, dict(stats.dropped)) == (100, {"queue_full": 150})
    assert sum("were not kept" in line for line in caplog.messages) == 1
    assert sum("Cannot send" in line for line in caplog.messages) == 1
    peer.start()
    assert client.flush(5)
    assert peer.order == ids[:100]


def test_the_queue_is_bounded_by_bytes(make, peer):
    peer.stop()
    client = make(max_queue_bytes=50_000)
    for number in range(20):
        log(client, number, input="x" * 10_000)
    stats = balanced(client.stats())
    assert (stats.queued, stats.dropped["queue_full"]) == (4, 16)
    assert 40_000 < stats.queued_bytes <= 50_000


def test_the_spill_is_bounded_too(make, peer, tmp_path):
    peer.stop()
    client = make(spill=tmp_path / "spill", max_spill_bytes=20_000, max_queue_events=5)
    for number in range(100):
        log(client, number, input="x" * 1_000)
        if number % 10 == 0:
            time.sleep(0.01)
    until(lambda: client.stats().queued == 5 and client.stats().waiting)
    stats = balanced(client.stats())
    assert 15_000 < stats.spill_bytes <= 20_000
    assert set(stats.dropped) == {"spill_full"}
    kept = stats.queued + stats.waiting
    peer.start()
    assert client.flush(5)
    assert (balanced(client.stats()).accepted, len(peer.order)) == (kept, kept)


@pytest.mark.parametrize("status", [429, 503])
def test_the_server_says_when_to_come_back(make, peer, status):
    client = make()
    peer.script.append(Reply(status, problem(status, "overloaded"), {"Retry-After": "1"}))
    started = time.monotonic()
    log(client)
    assert not client.flush(0.3)  # asking does not shorten the time that the server named
    assert len(peer.requests) == 1
    assert client.flush(20)
    assert time.monotonic() - started >= 1.0
    assert balanced(client.stats()).accepted == 1


def test_pauses_grow_to_a_limit_and_vary(make, peer):
    client = make(max_backoff=0.2)
    times = []

    def refuse(request):
        times.append(time.monotonic())
        return Reply(503, {}) if len(times) < 8 else None

    peer.always = refuse
    log(client)
    until(lambda: client.stats().accepted == 1)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert 0.05 <= pauses[0] < 1
    assert all(0.1 <= pause < 2 for pause in pauses[1:])
    assert len({round(pause, 4) for pause in pauses}) > 1


def test_a_server_that_hangs_does_not_hold_up_the_callers(make, peer):
    client = make(timeout=0.3)
    answer = threading.Event()
    peer.script.append(lambda request: answer.wait(5) and None)
    log(client)
    until(lambda: peer.requests)
    started = time.monotonic()
    for number in range(100):
        log(client, number)
    assert time.monotonic() - started < 3  # waiting for the server, they would take half a minute
    until(lambda: client.stats().retries)
    answer.set()
    assert client.flush(5)
    stats = balanced(client.stats())
    assert stats.accepted + stats.duplicates == 101  # the first was taken although its answer never came
    assert stats.last_error == "TimeoutError: timed out"


def test_a_refused_key_may_be_put_right_when_events_are_on_disk(make, peer, tmp_path):
    client = make(spill=tmp_path / "spill")
    peer.always = Reply(401, problem(401, "key_unknown"))
    log(client)
    until(lambda: client.stats().waiting == 1)
    assert balanced(client.stats()).refused == {}
    assert client.stats().last_error == "HTTP 401: the API key is not accepted"
    client.close()
    peer.always = None
    again = make(spill=tmp_path / "spill")
    assert again.flush(5)
    assert balanced(again.stats()).recovered == 1
    assert len(peer.order) == 1


def test_many_threads_and_an_unreliable_server_lose_nothing(make, peer, tmp_path):
    dice = random.Random(7)
    client = make(spill=tmp_path / "spill", max_queue_events=200, batch_events=50, max_backoff=0.02)

    def moody(request):
        throw = dice.random()
        if throw < 0.2:
            return Reply(503, {})
        if throw < 0.3:
            peer.accept(request.lines)
            return Reply(500, "the answer got lost")
        if throw < 0.5:
            taken = [peer.keep(index, line) for index, line in enumerate(request.lines) if index % 2]
            return Reply(207, {"results": taken})
        return None

    peer.always = moody
    ids: list[list[str]] = [[] for _ in range(4)]

    def work(mine):
        for number in range(500):
            mine.append(log(client, number))
            if number % 50 == 0:
                time.sleep(0.005)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    peer.always = None
    assert client.flush(10)
    stats = balanced(client.stats())
    assert (stats.logged, stats.queued, stats.waiting, dict(stats.dropped)) == (2_000, 0, 0, {})
    assert sorted(peer.order) == sorted(itertools.chain(*ids))


def test_close_sends_what_is_left_and_later_events_are_counted(make, peer):
    client = make(linger=5.0)
    log(client)
    client.close()
    assert len(peer.order) == 1
    log(client)
    assert dict(balanced(client.stats()).dropped) == {"closed": 1}


def test_close_tries_once_more_whatever_the_pause(make, peer, tmp_path):
    client = make(spill=tmp_path / "spill")
    peer.script.append(Reply(503, {}, {"Retry-After": "60"}))
    log(client)
    until(lambda: client.stats().waiting == 1)
    client.close(5)
    assert (balanced(client.stats()).accepted, len(peer.order)) == (1, 1)
    assert list(tmp_path.iterdir()) == []


def test_close_without_spill_gives_up_in_time_and_says_so(make, peer, caplog):
    peer.stop()
    client = make()
    log(client)
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, "feedback_platform.client"):
        client.close(0.3)
    assert time.monotonic() - started < 4
    assert dict(balanced(client.stats()).dropped) == {"exit": 1}
    assert "1 events were not kept so far (exit 1)" in caplog.text


def test_close_during_a_request_that_hangs_keeps_the_event(make, peer, tmp_path):
    client = make(spill=tmp_path / "spill")
    answer = threading.Event()
    peer.script.append(lambda request: answer.wait(5) and None)
    log(client)
    until(lambda: peer.requests)
    started = time.monotonic()
    client.close(0.2)
    assert time.monotonic() - started < 4
    answer.set()
    assert balanced(client.stats()).waiting == 1
    again = make(spill=tmp_path / "spill")
    assert again.flush(5)
    stats = balanced(again.stats())
    assert (stats.recovered, stats.accepted + stats.duplicates) == (1, 1)


def test_the_thread_survives_errors_that_nobody_foresaw(make, peer, tmp_path):
    """A disk that fails under the spill; the events stay in memory and arrive."""
    folder = tmp_path / "gone"
    client = make(spill=folder / "spill")
    folder.rmdir()
    peer.stop()
    ids = [log(client, number) for number in range(3)]
    until(lambda: "No such file" in (client.stats().last_error or ""))
    assert balanced(client.stats()).queued == 3
    peer.start()
    assert client.flush(5)
    assert peer.order == ids


def test_an_unlucky_signal_handler_may_log(make, peer):
    """Logging within logging, at any byte code, neither deadlocks nor loses: what a signal handler or finaliser does."""
    client = make()
    seen = []
    previous = signal.signal(signal.SIGALRM, lambda *_: seen.append(log(client, 9)))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        ids = [log(client, number) for number in range(3_000)]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert client.flush(10)
    assert seen
    assert sorted(peer.order) == sorted(ids + seen)
    assert client.stats().queued == 0
