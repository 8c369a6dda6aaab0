"""Log inferences and feedback from a running application, without slowing it down.

    from feedback_platform.client import Client, last_request_id

    client = Client(spill="feedback.spill")  # address and key from FEEDBACK_URL and FEEDBACK_API_KEY

    @client.observe(model="support-bot", model_version="3", task="support")
    def answer(question: str) -> str:
        return f"You asked: {question}"

    print(answer("Where is my parcel?"))
    client.thumbs(last_request_id(), up=True, user_id="u-17")

    with client.record(model="support-bot", model_version="3", input="Is it late?") as call:
        call.output = "It arrives tomorrow."
    client.correction(call.request_id, "It arrives on Monday.", user_id="u-17")
    client.close()  # or nothing: whatever is left is sent when the process ends

A call that logs encodes the event, puts it into a bounded queue and returns its id: it does not wait for the network and
does not raise. One background thread sends batches and retries for as long as the server is away; ids are made here, so
a repeat counts once. What cannot be kept is counted by reason in `client.stats()` and logged, never lost in silence.
With `spill` the events of an outage wait in a file, and the next process that opens it sends them.

`AsyncClient` is the twin for asyncio; `wrap_chat` logs a chat-completion callable with its messages and tools whole.
This package needs only the standard library and msgspec.
"""

from feedback_platform.client.aio import AsyncClient
from feedback_platform.client.capture import Call, last_request_id
from feedback_platform.client.chat import wrap_chat
from feedback_platform.client.client import Client
from feedback_platform.client.fields import FeedbackFields, InferenceFields
from feedback_platform.client.ids import uuid7
from feedback_platform.client.stats import Refusal, Stats

__all__ = [
    "AsyncClient", "Call", "Client", "FeedbackFields", "InferenceFields", "Refusal", "Stats",
    "last_request_id", "uuid7", "wrap_chat",
]  # fmt: skip
