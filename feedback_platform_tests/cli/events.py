"""One small history that holds an event in every state of law 2, and the dataset `d` that looks at it."""

from pathlib import Path

import msgspec
import yaml

from feedback_platform_tests.builders import (
    Event,
    Line,
    adjudication,
    correction,
    feedback,
    inference,
    rating,
    retraction,
    thumbs,
)

DAY = 24 * 60
FUTURE = 95 * DAY  # after the receipt of everything
POLICY = {
    "name": "d",
    "select": {"models": ["bot"]},
    "objectives": ["unpaired"],
    "maturity": {"after": "1d"},
    "validation": {"action": "review"},
    "sample": {"budget": {"rate": 0.8}},
}
DRAWN = [f"drawn-{n}" for n in range(8)]  # by hash of their ids some are drawn and some are not


def inferences() -> list[Event]:
    """Requests named after where they should end."""
    return [
        inference("used", text="used"),
        inference("foreign", model="other"),
        inference("forbidden", text="forbidden", training_allowed=False),
        inference("silent", text="silent"),
        inference("doubtful", text="doubtful", minute=80 * DAY),
        inference("disputed", text="disputed"),
        inference("first", text="twin", minute=1),
        inference("twin", text="twin", minute=2),
        *(inference(request_id, text=request_id) for request_id in DRAWN),
        inference("fresh", text="fresh", minute=90 * DAY),
        inference("remarked", text="remarked"),
        inference("empty", text="empty"),
        inference("judged", text="judged"),
    ]


def judgements() -> list[Event]:
    """Feedback named after where it should end."""
    return [
        thumbs("f-used", "used", rater="ann"),
        thumbs("f-foreign", "foreign", rater="ann"),
        thumbs("f-forbidden", "forbidden", rater="ann"),
        thumbs("f-review", "doubtful", rater="ann", minute=FUTURE),
        thumbs("f-yes", "disputed", rater="ann"),
        thumbs("f-no", "disputed", rater="bob", up=False),
        thumbs("f-first", "first", rater="ann"),
        thumbs("f-twin", "twin", rater="ann"),
        *(thumbs(f"f-{request_id}", request_id, rater="eve") for request_id in DRAWN),
        thumbs("f-fresh", "fresh", rater="ann", minute=90 * DAY + 60),
        thumbs("f-old", "used", rater="cem", minute=70),
        thumbs("f-new", "used", rater="cem", minute=80),
        thumbs("f-back", "used", rater="dan", up=False),
        retraction("f-takes", "f-back", rater="dan", minute=90),
        thumbs("f-expired", "nobody", rater="ann", minute=5),
        thumbs("f-pending", "not-yet", rater="ann", minute=89 * DAY),
        thumbs("f-early", "silent", rater="ann", minute=-60),
        correction("f-empty", "empty", output="", rater="ann"),
        feedback("f-comment", "comment", {"text": "hm"}, request_id="remarked", rater="ann"),
        rating("f-ruled", "judged", score=10, rater="ann"),
        adjudication("f-ruling", {"verdict": "invalid", "feedback_id": "f-ruled"}, rater="zoe", minute=99),
    ]


def unprivileged() -> list[Event]:
    """Sent without the review scope."""
    return [retraction("f-stranger", "f-used", rater="mallory", minute=95)]


def project(folder: Path) -> Path:
    """A folder that declares the dataset."""
    folder.mkdir(parents=True)
    component = {"type": "feedback_platform.components.FeedbackDataset", "attributes": POLICY}
    (folder / "defs.yaml").write_text(yaml.safe_dump(component), encoding="utf-8")
    return folder


def compiled_home(folder: Path) -> Path:
    """A home where the whole history is compiled into version 1 of `d`."""
    one = Line(folder, {k: v for k, v in POLICY.items() if k != "name"})
    one.send(inferences(), judgements())
    one.send([], unprivileged(), can_review=False)
    manifest = one.compile()
    assert manifest is not None
    assert manifest.version == 1
    return folder


def write_lines(path: Path, *events: Event | str) -> Path:
    """A JSON Lines file; texts are written as they are."""
    lines = [e.encode() if isinstance(e, str) else msgspec.json.encode(e) for e in events]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path
