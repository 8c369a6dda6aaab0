"""Example events and answers of the API's document: one story of a support bot, and a slate, a tabular model, a trace.

A test sends each event through the wire contract.
"""

from typing import Any

Json = dict[str, Any]

REQUEST = "0197f2c4-6f0e-7c3a-9d55-2f1b8a7e4c10"
_SECOND = "0197f2c4-9a41-7be2-8f07-6d3c1e5b2a94"
_FEEDBACK_ID = "0197f2c5-10b2-7d44-a1c9-7be0c2f4d871"
_WHEN = "2026-03-02T09:15:04Z"

CHAT: Json = {
    "request_id": REQUEST,
    "timestamp": _WHEN,
    "model": "support-bot",
    "model_version": "2026-02-27",
    "input": {
        "messages": [
            {"role": "system", "content": "You help customers of a bookshop."},
            {"role": "user", "content": "My parcel has not arrived. What can I do?"},
        ]
    },
    "output": {"role": "assistant", "content": "I am sorry! What is your order number?"},
    "session_id": "chat-7781",
    "user_id": "customer-42",
    "segments": {"region": "eu", "device": "phone"},
    "system": {"latency_ms": 812},
}

INFERENCES: dict[str, Json] = {
    "chat": {"summary": "A language model answers in a chat", "value": CHAT},
    "text": {
        "summary": "The least there can be",
        "value": {
            "request_id": _SECOND,
            "timestamp": _WHEN,
            "model": "translator",
            "model_version": "7",
            "input": "Good morning",
            "output": "Guten Morgen",
        },
    },
    "slate": {
        "summary": "A recommender shows a slate",
        "value": {
            "request_id": "home-page-90144",
            "timestamp": _WHEN,
            "model": "home-ranker",
            "model_version": "41",
            "task": "recommendation",
            "input": {"country": "SE", "hour": 9},
            "output": ["book-17", "book-3"],
            "items": [
                {"item_id": "book-17", "position": 0, "propensity": 0.6, "score": 2.31},
                {"item_id": "book-3", "position": 1, "propensity": 0.25, "score": 1.9},
            ],
            "user_id": "customer-42",
        },
    },
    "tabular": {
        "summary": "A classifier decides on a payment",
        "value": {
            "request_id": "payment-5521",
            "timestamp": _WHEN,
            "model": "fraud",
            "model_version": "12",
            "input": {"amount": 129.9, "country": "FR", "new_device": True},
            "output": "genuine",
            "confidence": 0.93,
            "probabilities": {"genuine": 0.93, "fraud": 0.07},
            "keys": {"transaction": "T-88310"},
        },
    },
}

FEEDBACK: dict[str, Json] = {
    "thumbs": {
        "summary": "Thumb up or down",
        "value": {
            "feedback_type": "thumbs",
            "feedback_value": {"up": False},
            "request_id": REQUEST,
            "user_id": "customer-42",
            "explanation": "It asked what I had told it already.",
        },
    },
    "rating": {
        "summary": "A score on a scale, for one criterion",
        "value": {
            "feedback_type": "rating",
            "feedback_value": {"score": 2, "min": 1, "max": 5},
            "request_id": REQUEST,
            "name": "helpful",
            "source": {"kind": "model", "id": "judge-3"},
        },
    },
    "label": {
        "summary": "The right class",
        "value": {
            "feedback_type": "label",
            "feedback_value": {"label": "fraud"},
            "request_id": "payment-5521",
            "source": {"kind": "human", "id": "analyst-9"},
        },
    },
    "explicit_correction": {
        "summary": "What the answer should have been",
        "value": {
            "feedback_type": "explicit_correction",
            "feedback_value": {"output": "Guten Morgen!"},
            "request_id": _SECOND,
            "source": {"id": "editor-1"},
        },
    },
    "preference_pair": {
        "summary": "One answer is better than another",
        "value": {
            "feedback_type": "preference_pair",
            "feedback_value": {
                "chosen": {"output": "I am sorry! I have found your order and sent it again."},
                "rejected": {"request_id": REQUEST},
            },
            "request_id": REQUEST,
        },
    },
    "ranking": {
        "summary": "An order of several, best first",
        "value": {
            "feedback_type": "ranking",
            "feedback_value": {"order": [{"item_id": "book-3"}, {"item_id": "book-17"}]},
            "request_id": "home-page-90144",
        },
    },
    "implicit": {
        "summary": "A click on an item",
        "value": {
            "feedback_type": "implicit",
            "feedback_value": {"signal": "click", "value": True},
            "target": {"request_id": "home-page-90144", "item_id": "book-3"},
            "user_id": "customer-42",
        },
    },
    "outcome": {
        "summary": "A chargeback, weeks later, that knows only the transaction",
        "value": {
            "feedback_type": "outcome",
            "feedback_value": {"name": "chargeback", "value": True},
            "target": {"keys": {"transaction": "T-88310"}},
            "timestamp": "2026-03-30T00:00:00Z",
            "source": {"kind": "code", "id": "billing"},
        },
    },
    "comment": {
        "summary": "A remark on a whole session",
        "value": {
            "feedback_type": "comment",
            "feedback_value": {"text": "Friendly, but it took long."},
            "target": {"session_id": "chat-7781"},
        },
    },
    "adjudication": {
        "summary": "A reviewer settles a doubtful case",
        "value": {
            "feedback_type": "adjudication",
            "feedback_value": {"verdict": "invalid", "feedback_id": _FEEDBACK_ID},
            "source": {"kind": "human", "id": "reviewer-2"},
        },
    },
    "retraction": {
        "summary": "Feedback is taken back",
        "value": {
            "feedback_type": "retraction",
            "feedback_value": {"feedback_id": _FEEDBACK_ID},
            "user_id": "customer-42",
        },
    },
}

BATCH: list[Json] = [INFERENCES["text"]["value"], FEEDBACK["explicit_correction"]["value"]]

TOKEN_REQUEST: Json = {"request_id": REQUEST, "user_id": "customer-42", "types": ["thumbs", "comment"]}


def _attribute(key: str, value: str) -> Json:
    return {"key": key, "value": {"stringValue": value}}


TRACES: Json = {
    "resourceSpans": [
        {
            "resource": {"attributes": [_attribute("service.name", "support-bot")]},
            "scopeSpans": [
                {
                    "scope": {"name": "my-instrumentation"},
                    "spans": [
                        {
                            "traceId": "5b8efff798038103d269b633813fc60c",
                            "spanId": "eee19b7ec3c1b174",
                            "name": "chat support-bot",
                            "kind": 3,
                            "startTimeUnixNano": "1772442903000000000",
                            "endTimeUnixNano": "1772442904000000000",
                            "attributes": [
                                _attribute("gen_ai.operation.name", "chat"),
                                _attribute("gen_ai.request.model", "support-bot"),
                                _attribute("gen_ai.response.model", "support-bot-2026-02-27"),
                                _attribute(
                                    "gen_ai.input.messages",
                                    '[{"role":"user","parts":[{"type":"text","content":"Where is my parcel?"}]}]',
                                ),
                                _attribute(
                                    "gen_ai.output.messages",
                                    '[{"role":"assistant","parts":[{"type":"text","content":"It is on its way."}]}]',
                                ),
                            ],
                        }
                    ],
                }
            ],
        }
    ]
}

PROBLEM: Json = {
    "type": "/problems/rating_out_of_scale",
    "title": "a rating's score is outside its own scale",
    "status": 422,
    "detail": "rating_out_of_scale at `feedback_value.score`: found 7. It must be within 1 and 5.",
    "reason": "rating_out_of_scale",
    "field": "feedback_value.score",
    "value": "7",
    "fix": "It must be within 1 and 5.",
}
ACCEPTED: Json = {"id": REQUEST, "log_seq": 1042, "durable": True, "duplicate": False}
BATCH_ANSWER: Json = {
    "accepted": 1,
    "duplicates": 0,
    "refused": 1,
    "results": [
        {"index": 0, "status": 202, "id": _SECOND, "log_seq": 1043, "durable": True, "duplicate": False},
        {"index": 1, "status": 422, "problem": PROBLEM},
    ],
}
