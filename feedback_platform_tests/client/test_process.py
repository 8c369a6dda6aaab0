"""The ends and the children of processes: exit, SIGKILL, fork, multiprocessing; each in a process of its own."""

import os
import signal
import subprocess
import sys
import time

import pytest

from feedback_platform_tests.client.conftest import balanced, log, until

PRELUDE = """
import os, sys, time
from feedback_platform.client import Client
def log(client, number):
    return client.log_inference(model="m", model_version="1", input=f"q{number}", output="a")
"""


def python(code: str, peer, **environment: str) -> subprocess.Popen[str]:
    env = {"FEEDBACK_URL": peer.url, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment}
    return subprocess.Popen([sys.executable, "-W", "error", "-c", PRELUDE + code], env=env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def ended(process: subprocess.Popen[str]) -> None:
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, ""), err


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def test_what_is_queued_at_the_end_of_the_process_is_sent(peer):
    ended(python("c = Client(linger=30)\nfor n in range(100): log(c, n)", peer))
    assert [event["input"] for event in peer.events] == [f"q{number}" for number in range(100)]


def test_an_exit_during_an_outage_leaves_the_events_to_the_next_process(peer, make, tmp_path):
    peer.stop()
    started = time.monotonic()
    code = "c = Client(linger=30)\nfor n in range(100): log(c, n)"
    process = python(code, peer, FEEDBACK_SPILL=str(tmp_path / "spill"))
    assert "Cannot send" in process.communicate(timeout=20)[1]
    assert process.returncode == 0
    assert time.monotonic() - started < 4.9  # one attempt is enough when the events are safe
    peer.start()
    client = make(spill=tmp_path / "spill")
    assert client.flush(5)
    assert balanced(client.stats()).recovered == 100
    assert [event["input"] for event in peer.events] == [f"q{number}" for number in range(100)]


def test_a_process_killed_in_an_outage_leaves_its_spill_to_the_next(peer, make, tmp_path):
    peer.stop()
    code = """
c = Client()
for n in range(500): log(c, n)
while c.stats().waiting < 500: time.sleep(0.01)
print("spilled", flush=True)
time.sleep(60)
"""
    process = python(code, peer, FEEDBACK_SPILL=str(tmp_path / "spill"))
    assert read_line(process) == "spilled\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    peer.start()
    client = make(spill=tmp_path / "spill")
    assert client.flush(5)
    stats = balanced(client.stats())
    assert (stats.recovered, stats.accepted) == (500, 500)
    assert [event["input"] for event in peer.events] == [f"q{number}" for number in range(500)]
    assert list(tmp_path.iterdir()) == []


def test_a_torn_tail_costs_one_event_and_is_counted(peer, make, tmp_path):
    peer.stop()
    first = make(spill=tmp_path / "spill")
    ids = [log(first, number) for number in range(10)]
    first.close(0)
    file = tmp_path / "spill"
    file.write_bytes(file.read_bytes()[:-3])
    peer.start()
    second = make(spill=file)
    assert second.flush(5)
    stats = balanced(second.stats())
    assert (stats.recovered, stats.accepted, dict(stats.dropped)) == (10, 9, {"spill_damaged": 1})
    assert peer.order == ids[:9]


def test_a_damaged_event_is_passed_over(peer, make, tmp_path):
    peer.stop()
    first = make(spill=tmp_path / "spill")
    ids = [log(first, number) for number in range(3)]
    first.close(0)
    file = tmp_path / "spill"
    data = file.read_bytes()
    file.write_bytes(data.replace(b"q1", b"qX"))
    peer.start()
    second = make(spill=file)
    assert second.flush(5)
    assert dict(balanced(second.stats()).dropped) == {"spill_damaged": 1}
    assert peer.order == [ids[0], ids[2]]


def test_two_processes_share_a_spill_name_but_no_file(peer, make, tmp_path):
    peer.stop()
    first = make(spill=tmp_path / "spill")
    log(first, 1)
    until(lambda: first.stats().waiting == 1)
    code = (
        "c = Client()\nlog(c, 2)\nwhile not c.stats().waiting: time.sleep(0.01)\nprint(c.stats().recovered, flush=True)"
    )
    process = python(code, peer, FEEDBACK_SPILL=str(tmp_path / "spill"))
    assert process.communicate(timeout=20)[0] == "0\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spill", "spill.1"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())
    first.close(0)
    peer.start()
    third = make(spill=tmp_path / "spill")
    assert third.flush(5)
    assert balanced(third.stats()).recovered == 2
    assert [event["input"] for event in peer.events] == ["q1", "q2"]


@pytest.mark.parametrize("spill", [False, True])
def test_a_forked_child_sends_its_own_events_and_never_its_parents(peer, tmp_path, spill):
    code = """
c = Client(linger=0.3)
log(c, 0); c.flush()                    # the connection is open
parents = [log(c, n) for n in range(1, 50)]
child = os.fork()
if child == 0:
    assert c.stats().logged == 0
    mine = [log(c, n) for n in range(100, 150)]
    assert not set(mine) & set(parents)
    sys.exit(0)                         # runs the exit handlers
log(c, 50)
assert os.waitpid(child, 0)[1] == 0
assert c.flush()
assert c.stats().accepted == 51, c.stats()
"""
    ended(python(code, peer, **({"FEEDBACK_SPILL": str(tmp_path / "spill")} if spill else {})))
    sent = [event_input for request in peer.requests for event_input in request.lines]
    assert len(sent) == len(peer.order) == 101  # nothing was sent twice
    assert {event["input"] for event in peer.events} == {f"q{n}" for n in [*range(51), *range(100, 150)]}


def test_a_fork_during_an_outage_leaves_the_spill_to_the_parent(peer, tmp_path):
    peer.stop()
    code = f"""
c = Client(max_backoff=0.05)
log(c, 0)
while not c.stats().waiting: time.sleep(0.01)
child = os.fork()
if child == 0:
    log(c, 1)
    while not c.stats().waiting: time.sleep(0.01)
    c.close(0)
    os._exit(0 if c.stats().recovered == 0 else 1)
assert os.waitpid(child, 0)[1] == 0
print(sorted(os.listdir({str(tmp_path)!r})), flush=True)
sys.stdin.readline()
assert c.flush(), c.stats()
"""
    env = {"FEEDBACK_URL": peer.url, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
           "FEEDBACK_SPILL": str(tmp_path / "spill")}  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", PRELUDE + code], env=env, text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert read_line(process) == "['spill', 'spill.1']\n"
    peer.start()
    assert process.stdin
    process.stdin.write("\n")
    assert process.communicate(timeout=20)[1].count("Traceback") == 0
    assert process.returncode == 0
    assert [event["input"] for event in peer.events] == ["q0"]  # the child's waits for the next process


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_of_multiprocessing_send_before_they_end(peer, tmp_path, method):
    script = tmp_path / "job.py"  # a file, for spawned children import it
    job = f"""
import multiprocessing
client = Client(linger=30)
def child():
    log(client, 1)
if __name__ == "__main__":
    process = multiprocessing.get_context({method!r}).Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
"""
    script.write_text(PRELUDE + job)
    env = {"FEEDBACK_URL": peer.url, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run(
        [sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=20, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [event["input"] for event in peer.events] == ["q1"]
