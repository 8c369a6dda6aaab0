"""The decorator and the context manager: what is logged, and that the function behaves as before."""

import asyncio
import inspect
import threading
import time
from typing import Any

import pytest

from feedback_platform.client import AsyncClient, last_request_id

NAMES: Any = {"model": "m", "model_version": "1"}


def only(client, peer):
    assert client.flush(5)
    assert len(peer.events) == 1
    return peer.events[0]


def test_a_function_is_logged_with_arguments_result_and_latency(make, peer):
    client = make()

    @client.observe(**NAMES, task="t", system={"endpoint": "/ask"})
    def ask(question, *rest, top=3, **more):
        """Doc."""
        time.sleep(0.02)
        return {"answer": question}

    assert ask("why", 1, extra=True) == {"answer": "why"}
    assert (ask.__name__, ask.__doc__) == ("ask", "Doc.")
    event = only(client, peer)
    assert event["input"] == {"question": "why", "rest": [1], "top": 3, "extra": True}
    assert (event["output"], event["task"], event["system"]["endpoint"]) == ({"answer": "why"}, "t", "/ask")
    assert 20 <= event["system"]["latency_ms"] < 500
    assert event["request_id"] == last_request_id()


def test_an_exception_is_logged_and_goes_on(make, peer):
    client = make()

    @client.observe(**NAMES)
    def ask():
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        ask()
    event = only(client, peer)
    assert (event["output"], event["system"]["error"]) == (None, "KeyError: 'lost'")


def test_arguments_are_taken_before_the_function_changes_them(make, peer):
    client = make()

    @client.observe(**NAMES)
    def ask(messages):
        messages.append("answer")

    ask(["question"])
    assert only(client, peer)["input"] == {"messages": ["question"]}


def test_input_and_output_can_be_chosen_and_may_fail(make, peer):
    client = make()

    class Bot:
        @client.observe(**NAMES, input=lambda self, text: text, output=lambda result: result["text"])
        def ask(self, text):
            return {"text": text.upper()}

        @client.observe(**NAMES, input=lambda: 1 / 0, output=lambda result: 1 / 0)
        def odd(self, text):
            return text

    assert Bot().ask("a") == {"text": "A"}
    assert Bot().odd("b") == "b"
    assert client.flush(5)
    assert [(event["input"], event["output"]) for event in peer.events] == [("a", "A"), ({"text": "b"}, "b")]


def test_wrong_arguments_fail_as_they_did(make):
    @make().observe(**NAMES)
    def ask(question):
        return question

    with pytest.raises(TypeError, match="missing 1 required positional argument: 'question'"):
        ask()


def test_async_functions_do_not_mix_their_ids(make, peer):
    client = make()

    @client.observe(**NAMES)
    async def ask(number):
        await asyncio.sleep(0.01 * (3 - number))
        return number

    async def one(number):
        assert await ask(number) == number
        return last_request_id()

    async def app():
        return await asyncio.gather(*(one(number) for number in range(3)))

    assert inspect.iscoroutinefunction(ask)
    ids = asyncio.run(app())
    assert client.flush(5)
    assert {event["request_id"]: event["output"] for event in peer.events} == dict(zip(ids, range(3), strict=True))


def test_a_cancelled_call_is_logged(make, peer):
    client = make()

    @client.observe(**NAMES)
    async def ask():
        await asyncio.sleep(10)

    async def app():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask(), 0.01)

    asyncio.run(app())
    assert only(client, peer)["system"]["error"] == "CancelledError"


def test_nested_calls_leave_the_outer_id_behind(make):
    client = make()
    with client.record(**NAMES, input="outer") as outer:  # noqa: SIM117  one inside the other is the point
        with client.record(**NAMES, input="inner") as inner:
            assert last_request_id() == inner.request_id
    assert last_request_id() == outer.request_id != inner.request_id
    other = []
    thread = threading.Thread(target=lambda: other.append(last_request_id()))
    thread.start()
    thread.join()
    assert other == [None]


def test_a_generator_streams_and_is_logged_at_its_end(make, peer):
    client = make()

    @client.observe(**NAMES)
    def ask(n):
        return [(yield "t0 "), (yield "t1 "), (yield f"t{n} ")]

    stream = ask(2)
    assert inspect.isgeneratorfunction(ask)
    assert [next(stream), stream.send("x"), stream.send("y")] == ["t0 ", "t1 ", "t2 "]
    with pytest.raises(StopIteration) as end:
        stream.send("z")
    assert end.value.value == ["x", "y", "z"]
    event = only(client, peer)
    assert (event["input"], event["output"]) == ({"n": 2}, "t0 t1 t2 ")


def test_what_is_thrown_into_a_generator_arrives_there(make, peer):
    client = make()

    @client.observe(**NAMES)
    def ask():
        try:
            yield 1
        except KeyError:
            yield 2
        raise ValueError("bad")

    stream = ask()
    assert (next(stream), stream.throw(KeyError())) == (1, 2)
    with pytest.raises(ValueError, match="bad"):
        next(stream)
    event = only(client, peer)
    assert (event["output"], event["system"]["error"]) == ([1, 2], "ValueError: bad")


def test_a_generator_closed_early_is_logged_with_what_came(make, peer):
    client = make()
    closed = []

    @client.observe(**NAMES)
    def ask():
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(True)

    for _ in ask():
        break
    event = only(client, peer)
    assert closed
    assert event["output"] == "a"
    assert event["system"]["stream"] == "closed_early"
    assert "error" not in event["system"]


def test_an_async_generator_streams_and_is_logged(make, peer):
    client = make()

    @client.observe(**NAMES)
    async def ask(n):
        for number in range(n):
            await asyncio.sleep(0)
            yield number
        raise ValueError("end")

    async def app():
        full = ask(2)
        got = [await anext(full), await anext(full)]
        with pytest.raises(ValueError, match="end"):
            await anext(full)
        early = ask(5)
        assert await anext(early) == 0
        await early.aclose()
        return got

    assert inspect.isasyncgenfunction(ask)
    assert asyncio.run(app()) == [0, 1]
    assert client.flush(5)
    full, early = peer.events
    assert (full["output"], full["system"]["error"]) == ([0, 1], "ValueError: end")
    assert (early["output"], early["system"]["stream"]) == ([0], "closed_early")


def test_a_recorded_block_may_add_fields_and_fail(make, peer):
    client = make()
    question = {"text": "q"}
    call = client.record(**NAMES, input=question, user_id="u", request_id="r-1")

    def answer():
        with call:
            question["text"] = "changed"
            call.add(retrieved=[{"chunk_id": "c"}], system={"endpoint": "/x"})
            call.model_version = "2"
            call.output = "half"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        answer()
    event = only(client, peer)
    assert event["request_id"] == call.request_id == "r-1"
    assert (event["input"], event["output"], event["model_version"]) == ({"text": "q"}, "half", "2")
    assert (event["user_id"], event["retrieved"]) == ("u", [{"chunk_id": "c"}])
    assert (event["system"]["endpoint"], event["system"]["error"]) == ("/x", "ZeroDivisionError")


def test_the_async_client_logs_in_a_running_loop_without_blocking_it(make, peer):
    async def app():
        async with AsyncClient(peer.url, linger=0.01) as client:
            peer.script.append(lambda request: time.sleep(0.3))
            client.log_inference(**NAMES, input="q", output="a")
            ticks = 0

            async def ticking():
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.01)
                    ticks += 1

            ticker = asyncio.create_task(ticking())
            assert await client.flush(5)
            ticker.cancel()
            client.send_feedback(request_id="r", thumbs=True)
        return ticks, client.stats()

    ticks, stats = asyncio.run(app())
    assert ticks > 10
    assert stats.accepted == 2
