"""Errors as the API tells them: RFC 9457 problem details that name the field, the value and the fix."""

import math
from collections.abc import Mapping
from typing import Any

from feedback_platform.contracts.events import REASONS
from feedback_platform.errors import (
    AccessError,
    EventRejected,
    ExportError,
    FeedbackPlatformError,
    Forbidden,
    IdConflict,
    LogError,
    NotFoundError,
    Overloaded,
    RateLimited,
)

UNAVAILABLE_SECONDS = 5

# Reasons beyond those of the wire contract, with what they mean.
API_REASONS: Mapping[str, str] = {
    "media_type": "the Content-Type is not one that this endpoint takes",
    "content_encoding": "the Content-Encoding is not known",
    "gzip_invalid": "the body is not gzip",
    "body_too_large": "the body is larger than this endpoint takes",
    "body_too_slow": "the body did not arrive in time",
    "body_incomplete": "the connection ended in the middle of the body",
    "body_not_ours": "the body is not what this endpoint takes",
    "batch_too_large": "the batch has more events than the limit",
    "query_invalid": "a query parameter is not known or has no such value",
    "path_unknown": "there is nothing at this path",
    "method_unknown": "the path does not take this method",
    "not_found": "there is no such thing, or it is not yours",
    "range_unsatisfiable": "the byte range begins behind the end",
    "export_impossible": "the version has nothing in this format",
    "export_in_progress": "the export is being made; ask again",
    "overloaded": "too much waits to be written",
    "log_unavailable": "the event log cannot be written",
    "keys_unavailable": "the API keys cannot be read",
    "tenant_unavailable": "the tenant cannot be served; its operator finds the cause in the server's log",
    "internal": "the server has a fault; it was logged",
    "key_missing": "no API key was sent",
    "key_malformed": "what was sent is not an API key",
    "key_unknown": "the API key is not known",
    "key_revoked": "the API key was revoked",
    "key_expired": "the API key has expired",
    "scope_missing": "the API key lacks a scope",
    "origin_refused": "the browser's origin is not allowed for this key",
    "signature_missing": "this key asks for signed requests",
    "signature_malformed": "the signature's headers are not of their form",
    "signature_stale": "the request was signed too long ago, or ahead of the server's clock",
    "signature_invalid": "the signature does not fit the body",
    "token_malformed": "what was sent is not a feedback token",
    "token_invalid": "the feedback token was not signed here",
    "token_expired": "the feedback token has expired",
    "token_other_request": "the feedback token is for another request",
    "token_other_user": "the feedback names another user than the feedback token",
    "token_target_refused": "a feedback token judges one request, no session and no business keys",
    "token_type_refused": "the feedback token does not allow this type of feedback",
    "token_source_refused": "a feedback token speaks for a person",
    "token_id_refused": "with a feedback token an id must be a UUID",
}


class Problem(Exception):
    """An answer that is an error.

    Args:
        status: HTTP status.
        reason: short snake_case code, stable across releases; its page is `/problems/{reason}`.
        detail: what is wrong here and what to do.
        more: further members, such as `field`, `value` and `fix`.
        retry_after: seconds after which the same request may succeed.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        more: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        extra_headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail = status, reason, detail
        self.more, self.retry_after, self.extra_headers = more or {}, retry_after, extra_headers

    def details(self) -> dict[str, Any]:
        """The members of the problem object."""
        title = REASONS.get(self.reason) or API_REASONS.get(self.reason) or self.reason.replace("_", " ")
        return {
            "type": f"/problems/{self.reason}", "title": title, "status": self.status, "detail": self.detail,
            "reason": self.reason, **self.more,
        }  # fmt: skip

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers that go with the status."""
        found = list(self.extra_headers)
        if self.retry_after is not None:
            found.append((b"retry-after", str(max(1, math.ceil(self.retry_after))).encode()))
        if self.status == 401:
            found.append((b"www-authenticate", b'Bearer realm="feedback_platform"'))
        return found


def of_refusal(refusal: EventRejected) -> Problem:
    """The problem that a refused event is: 409 taken id, 413 too large, 429 over its rate, 400 no JSON, else 422."""
    more = {k: v for k, v in (("field", refusal.field), ("value", refusal.value), ("fix", refusal.fix)) if v}
    if isinstance(refusal, Forbidden):
        return of_error(refusal.access)
    if isinstance(refusal, RateLimited):
        return Problem(429, refusal.reason, str(refusal), more, refusal.retry_after)
    status = 422
    if isinstance(refusal, IdConflict):
        status = 409
    elif refusal.reason == "event_too_large":
        status = 413
    elif refusal.reason in ("json_invalid", "not_utf8"):
        status = 400
    return Problem(status, refusal.reason, str(refusal), more)


def of_error(error: Exception) -> Problem:
    """The problem that an error of the platform is; anything unforeseen is a 500 that tells nothing of the inside."""
    match error:
        case Problem():
            return error
        case EventRejected():
            return of_refusal(error)
        case AccessError():
            return Problem(error.status, error.reason, str(error))
        case Overloaded():
            return Problem(503, "overloaded", str(error), retry_after=error.retry_after)
        case LogError():
            detail = "Nothing was acknowledged that is not durable. Send the same events again."
            return Problem(503, "log_unavailable", detail, retry_after=UNAVAILABLE_SECONDS)
        case NotFoundError():
            return Problem(404, "not_found", str(error))
        case ExportError():
            return Problem(409, "export_impossible", str(error))
        case FeedbackPlatformError():
            detail = "This tenant cannot be served now; its operator finds the cause in the server's log."
            return Problem(503, "tenant_unavailable", detail, retry_after=UNAVAILABLE_SECONDS)
        case _:
            return Problem(
                500, "internal", "The server has a fault; it was logged. Nothing that has a receipt is lost."
            )
