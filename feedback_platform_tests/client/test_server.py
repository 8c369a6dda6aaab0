"""The client against the real server: everything arrives once, also when the server is killed in between."""

import time

import msgspec

from feedback_platform.client import Client
from feedback_platform.intake.sqlite_log import open_log
from feedback_platform_tests.api.serving import served, start


def stored(home, stream):
    with open_log(home / "default" / "log" / "events.sqlite") as log:
        batches = log.read_range(stream, 0, log.head(stream))
        return [msgspec.json.decode(row) for batch in batches for _, row in batch]


def logged(client, texts):
    return [client.log_inference(model="m", model_version="1", input=text, output="x") for text in texts]


def test_the_server_accepts_every_kind_of_event_that_the_client_sends(tmp_path):
    with served(tmp_path, "--dev") as server, Client(server.url, linger=0.01) as client:
        first, second = (
            client.log_inference(model="m", model_version="1", input={"messages": [{"role": "user", "content": q}]},
                                 output="a", user_id="ann", segments={"region": "eu"}, confidence=0.5)
            for q in ("one?", "two?")
        )  # fmt: skip
        client.thumbs(first, up=True)
        client.rating(first, 4, min=1, max=5)
        client.label(first, "good")
        client.correction(first, "better")
        client.preference({"request_id": first}, {"request_id": second})
        client.implicit(first, "copy", True)
        client.outcome(first, "conversion", 2.5)
        client.comment(first, "nice")
        taken_back = client.thumbs(second, up=False)
        client.retract(taken_back)
        assert client.flush(20)
        stats = client.stats()
    assert (stats.accepted, dict(stats.refused), dict(stats.dropped)) == (12, {}, {})
    assert {row["request_id"] for row in stored(tmp_path, "inference")} == {first, second}
    assert len(stored(tmp_path, "feedback")) == 10


def test_nothing_is_lost_or_doubled_when_the_server_is_killed(tmp_path):
    server = start(tmp_path, "--dev")
    port = server.port
    ids = []
    try:
        with Client(server.url, linger=0.01, batch_events=20, spill=tmp_path / "spill", max_backoff=0.5) as client:
            for round_ in range(3):
                ids += logged(client, [f"{round_}-{n}" for n in range(100)])
                time.sleep(0.05)
                server.kill()
                ids += logged(client, [f"{round_}-{n}" for n in range(100, 150)])
                server = start(tmp_path, "--dev", port=port)
            assert client.flush(30)
            stats = client.stats()
    finally:
        server.drop()
        server.process.terminate()
        server.process.wait()
        assert server.process.stdout is not None
        server.process.stdout.close()
    assert (dict(stats.refused), dict(stats.dropped)) == ({}, {})
    assert stats.accepted + stats.duplicates >= len(ids)
    assert sorted(row["request_id"] for row in stored(tmp_path, "inference")) == sorted(ids)
