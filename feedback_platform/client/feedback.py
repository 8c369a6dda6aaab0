"""A method per common kind of feedback; each builds the value of the wire contract and hands it to `send_feedback`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Unpack

from feedback_platform.client.fields import FeedbackFields


class FeedbackMixin(ABC):
    """The shortcuts; all return the feedback's id at once, and take `FeedbackFields` beside what they name."""

    @abstractmethod
    def send_feedback(
        self,
        *,
        request_id: str | None = None,
        feedback_type: str | None = None,
        feedback_value: object = None,
        thumbs: bool | None = None,
        label: str | None = None,
        correction: object = None,
        comment: str | None = None,
        **fields: Unpack[FeedbackFields],
    ) -> str:
        """Send one piece of feedback."""

    def thumbs(self, request_id: str | None, up: bool, **fields: Unpack[FeedbackFields]) -> str:
        """A thumb up or down."""
        return self._say(request_id, "thumbs", {"up": up}, fields)

    def rating(
        self, request_id: str | None, score: float, *, min: float, max: float, **fields: Unpack[FeedbackFields]
    ) -> str:
        """A score on a scale from `min` to `max`."""
        return self._say(request_id, "rating", {"score": score, "min": min, "max": max}, fields)

    def label(self, request_id: str | None, label: str, **fields: Unpack[FeedbackFields]) -> str:
        """The right class."""
        return self._say(request_id, "label", {"label": label}, fields)

    def correction(self, request_id: str | None, output: object, **fields: Unpack[FeedbackFields]) -> str:
        """What the output should have been; equal to the output it is an acceptance."""
        return self._say(request_id, "explicit_correction", {"output": output}, fields)

    def preference(
        self, chosen: Mapping[str, Any], rejected: Mapping[str, Any], *, tie: bool = False,
        request_id: str | None = None, **fields: Unpack[FeedbackFields],
    ) -> str:  # fmt: skip
        """The better and the worse of two, each `{"request_id"}`, `{"item_id"}` or `{"output"}`.

        Without a target the pair is attached to the chosen request.
        """
        if request_id is None and not fields.get("target"):
            request_id = chosen.get("request_id") or rejected.get("request_id")
        value = {"chosen": chosen, "rejected": rejected, **({"tie": True} if tie else {})}
        return self._say(request_id, "preference_pair", value, fields)

    def implicit(
        self, request_id: str | None, signal: str, value: bool | float = True, **fields: Unpack[FeedbackFields]
    ) -> str:
        """A signal read off behaviour: `click`, `copy`, `dwell_seconds`, ..."""
        return self._say(request_id, "implicit", {"signal": signal, "value": value}, fields)

    def outcome(
        self, request_id: str | None, outcome: str, value: bool | float, **fields: Unpack[FeedbackFields]
    ) -> str:
        """What came of it, often days later and known by a business key: `target={"keys": {"order": "A-1"}}`."""
        return self._say(request_id, "outcome", {"name": outcome, "value": value}, fields)

    def comment(self, request_id: str | None, text: str, **fields: Unpack[FeedbackFields]) -> str:
        """Free text."""
        return self._say(request_id, "comment", {"text": text}, fields)

    def retract(self, earlier: str, **fields: Unpack[FeedbackFields]) -> str:
        """Take back the feedback with the id `earlier`; only the same rater can."""
        return self._say(None, "retraction", {"feedback_id": earlier}, fields)

    def _say(self, request_id: str | None, kind: str, value: object, fields: FeedbackFields) -> str:
        return self.send_feedback(request_id=request_id, feedback_type=kind, feedback_value=value, **fields)
