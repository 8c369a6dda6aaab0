"""What each field of the wire contract means, for the API's document and its page. Words only; a test holds them complete.

Types and bounds stand in the contract itself. Fields that several objects share are described once, under `*`.
"""

from collections.abc import Mapping

SHARED: Mapping[str, str] = {
    "request_id": "Id of the request.",
    "item_id": "Id of an item of the slate.",
    "score": "Its score.",
    "output": "What was answered, in the same forms as an inference's `output`.",
    "name": "Its name.",
    "version": "Its version.",
    "probabilities": "Class -> probability.",
    "propensity": "The logged probability of showing it, from 0 to 1.",
    "user_id": "The end user. Stored as a pseudonym.",
    "session_id": "The session or conversation. Stored as a pseudonym.",
    "segments": "What to compare groups by: region, device, tier, language, ...",
    "metadata": "Anything else worth keeping; stored and never interpreted.",
    "model_version": "The version of the model.",
    "feedback_id": "Id of a feedback event.",
}

INFERENCE: Mapping[str, str] = {
    "request_id": "Your id of the request, unique within your tenant: feedback names it. `inference_request_id` is "
    "taken as another name of this field. The same id with the same body is answered with the first receipt; with "
    "another body it is refused (409).",
    "timestamp": "When the answer was complete.",
    "model": "Name of the model.",
    "model_version": "Version of the model.",
    "input": 'What the model was given: a text, a chat (`{"messages": [...]}`, the system prompt as its first '
    "message), features (a flat object), or any other JSON but null.",
    "output": "What it answered: a text, a message, a class, a number, or any other JSON.",
    "task": "Which job the model was doing.",
    "environment": "Where it ran: production, staging, ...",
    "variant": "Arm of a canary release or an A/B test.",
    "parameters": "Sampling parameters and the like.",
    "template": "The prompt template that made the input.",
    "tools": "Tools that the model could call.",
    "confidence": "The model's own confidence in its answer.",
    "probabilities": "Class -> probability that the model gave it.",
    "logprob": "Log-probability of the whole answer.",
    "token_logprobs": "Log-probability of each token.",
    "embedding": "An embedding of the input.",
    "embedding_model": "What made the embedding.",
    "items": "The slate: the items that were shown, with their positions.",
    "decision": "What was done on the answer, where that is not the answer itself.",
    "propensity": "The logged probability of that decision.",
    "retrieved": "Passages that were retrieved for the answer.",
    "route": "Sub-models on the way to the answer.",
    "steps": "The agent's trace, step by step.",
    "attributions": "Feature attributions, where the model gives some.",
    "regenerates": "The request that this one answers again.",
    "parent_request_id": "The turn before, in a conversation.",
    "session_id": "The session or conversation; feedback can name it instead of a request. Stored as a pseudonym.",
    "keys": "Your business keys (name -> id), by which late feedback finds this request: a chargeback knows the "
    "transaction and not the request.",
    "system": "Of the serving system: latency_ms, endpoint, error, ...",
    "training_allowed": "False keeps the request out of every dataset.",
}

FEEDBACK: Mapping[str, str] = {
    "feedback_type": "The kind of feedback; it decides what `feedback_value` looks like.",
    "feedback_value": "What was said.",
    "feedback_id": "Your id of this feedback. Left out, it is derived from the body, so that a repeated send counts once.",
    "request_id": "The request that is judged; short for `target: {request_id}`. `inference_request_id` is taken as "
    "another name of this field.",
    "target": "What is judged, where that is not simply a request.",
    "timestamp": "When it was given; when it was received, where left out.",
    "name": "The criterion that was judged: helpful, safe, ...",
    "explanation": "Why, in the rater's words.",
    "source": "Who speaks; a person, where left out.",
    "model_version": "The version that was judged; compared with that of the inference.",
    "user_id": "The end user who gave it. Stored as a pseudonym.",
}

OTHERS: Mapping[str, Mapping[str, str]] = {
    "Template": {"id": "Id of the template.", "variables": "What was filled in."},
    "Item": {"position": "Its place, from 0.", "features": "Features of the item.", "output": "What was shown for it."},
    "Chunk": {"chunk_id": "Id of the passage; feedback can name it.", "text": "The passage."},
    "SubModel": {"component": "Which part it played."},
    "Step": {
        "id": "Id of the step; feedback can name it.",
        "input": "What it was given.",
        "output": "What came out of it.",
        "error": "What went wrong, if anything did.",
        "latency_ms": "How long it took, in milliseconds.",
        "cost": "What it cost, in your own unit.",
    },
    "Attributions": {"method": "How they were computed.", "values": "Feature -> share, or as the method has them."},
    "Target": {
        "request_id": "A request. `inference_request_id` is taken as another name of this field.",
        "item_id": "With `request_id`: an item of its slate.",
        "step_id": "With `request_id`: a step of its trace.",
        "chunk_id": "With `request_id`: a passage that it retrieved.",
        "session_id": "A whole session.",
        "keys": "Business keys that an inference carries, all of them.",
    },
    "Source": {
        "kind": "A person, a model that judges, or code.",
        "id": "Id of the rater. Stored as a pseudonym.",
        "client": "The program that sent it.",
    },
    "Ref": {
        "request_id": "The answer to a request.",
        "item_id": "An item of the target's slate.",
        "output": "The output itself.",
    },
    "ThumbsValue": {"up": "True for up, false for down."},
    "RatingValue": {"score": "The score.", "min": "Lowest of the scale.", "max": "Highest of the scale."},
    "LabelValue": {"label": "The right class."},
    "CorrectionValue": {"output": "The corrected output."},
    "PairValue": {"chosen": "The better one.", "rejected": "The worse one.", "tie": "True when neither is better."},
    "RankingValue": {"order": "Best first."},
    "ImplicitValue": {
        "signal": "click, dwell_seconds, copy, regenerate, abandon, edit, ...",
        "value": "Whether it happened, or how much.",
    },
    "OutcomeValue": {"name": "conversion, chargeback, resolved, ...", "value": "Whether, or how much."},
    "CommentValue": {"text": "The remark."},
    "AdjudicationValue": {
        "verdict": "Whether the feedback stands.",
        "feedback_id": "The feedback that is judged; left out, the target itself is settled.",
        "label": "The right class.",
        "output": "The right output.",
    },
    "RetractionValue": {"feedback_id": "The feedback that is taken back."},
    "Accepted": {
        "id": "Its id: the one sent, or derived where feedback was sent without one.",
        "log_seq": "Its position in your event log.",
        "durable": "Always true: it survives a crash and a power cut.",
        "duplicate": "True when the same event had been accepted before; this is then its first receipt.",
    },
    "BatchAnswer": {
        "accepted": "Events that are new.",
        "duplicates": "Events that had been accepted before.",
        "refused": "Events that were refused.",
        "results": "One for each event, in their order.",
    },
    "Result": {
        "index": "Place in the batch, from 0; blank lines do not count.",
        "status": "The HTTP status that the event would have got on its own.",
        "id": "Its id.",
        "log_seq": "Its position in your event log.",
        "durable": "True for an accepted event.",
        "duplicate": "True when the same event had been accepted before.",
    },
    "Token": {"token": "Give it to the browser: it is sent as a bearer.", "expires_in": "Seconds that it counts."},
    "Explanation": {"id": "The id that was asked for.", "subjects": "What has that id; often one thing."},
    "Subject": {
        "kind": "What it is; `accepted` is in the event log and not yet in the lake.",
        "facts": "What is known of it everywhere, in sentences.",
        "stories": "What became of it in each dataset.",
        "would_change": "What would change that.",
    },
    "Story": {
        "state": "One of the ledger's states, such as in_dataset, pending or used; `not_compiled` before it is seen.",
        "reason": "Reason code; null for good states.",
    },
}


def field_note(schema: str, field: str, docstring: Mapping[str, str], *, is_feedback: bool) -> str | None:
    """What a field of an object means; None where nobody said.

    Args:
        schema: name of the object.
        field: name of the field.
        docstring: what the object's docstring says of its fields.
        is_feedback: the object is a kind of feedback.
    """
    own = INFERENCE if schema == "Inference" else FEEDBACK if is_feedback else OTHERS.get(schema, {})
    return own.get(field) or docstring.get(field) or SHARED.get(field)
