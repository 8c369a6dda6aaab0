"""Every exception the platform raises on purpose. Each message names the value at fault and the next step.

FeedbackPlatformError
|-- ConfigError            a policy, setting or YAML file says something that cannot be
|-- EventRejected          an event breaks the wire contract (field, value, fix)
|   |-- IdConflict         the id is taken by another body
|   |-- Forbidden          the sender may not say this; nothing is kept of the event
|   `-- RateLimited        the sender is over its rate; nothing is kept of the event
|-- ImportFormatError      a file is not of the format that it is imported as
|-- AccessError            a key, token or signature is missing, wrong or not enough
|-- Overloaded             too much waits to be written; send again later
|-- LogError               the event log cannot be read or written
|   `-- LogGapError        the log begins after the point that the lake has reached
|-- LakeError              a Delta table is not what it should be
|   |-- ContractViolation  rows break the contract of their table; nothing was committed
|   |-- DamagedTableError  the newest commits are incomplete on disk
|   `-- CommitConflict     another writer moved the table; the outcome is known and nothing was written twice
|-- CompileError           a window cannot be compiled
|   |-- LeaseHeldError     another process compiles this dataset
|   |-- WindowMismatch     the open window was cut for another configuration
|   `-- PublishBlocked     a blocking check or gate refused publication
|-- NotFoundError          no such dataset, version, window or event
|-- ExportError            an export cannot be made from this version
`-- QueryError             an analyst's query cannot be run
"""


class FeedbackPlatformError(Exception):
    """Root of the tree; the CLI prints its message without a traceback."""


class ConfigError(FeedbackPlatformError):
    """A policy, setting or YAML file says something that cannot be."""


class EventRejected(FeedbackPlatformError):
    """An event breaks the wire contract.

    Args:
        reason: short snake_case code, stable across releases.
        field: dotted path of the field at fault, or "" when the whole line is.
        value: what was found there, shortened for display.
        fix: what the sender should do.

    Whatever was sent, all of it can be encoded and stays short (200, 120, 1,500 characters; the message 2,000).
    """

    def __init__(self, reason: str, *, field: str = "", value: str = "", fix: str = "") -> None:
        self.reason, self.field = _told(reason, 100), _told(field, 200)
        self.value, self.fix = _told(value, 120), _told(fix, 1_500)
        where = f" at `{self.field}`" if field else ""
        found = f": found {self.value}" if value else ""
        super().__init__(_told(f"{self.reason}{where}{found}. {self.fix}".rstrip(), 2_000))


def _told(text: str, limit: int) -> str:
    """At most `limit` characters of a text, halves of surrogate pairs spelt out: they have no UTF-8."""
    told = text[: limit + 1]
    if not told.isascii():
        told = told.encode(errors="backslashreplace").decode()
    return told if len(told) <= limit else f"{told[: limit - 3]}..."


class IdConflict(EventRejected):
    """The id is taken by another body."""


class Forbidden(EventRejected):
    """The sender may not say this; the words are those of the `AccessError` behind it."""

    def __init__(self, access: "AccessError") -> None:
        super().__init__(access.reason, fix=str(access))
        self.access = access


class RateLimited(EventRejected):
    """The sender is over its rate; the same event may be sent again after `retry_after` seconds."""

    def __init__(self, retry_after: float, fix: str) -> None:
        self.retry_after = retry_after
        super().__init__("rate_limited", fix=fix)


class Overloaded(FeedbackPlatformError):
    """Too much waits to be written; nothing was taken, and the same may be sent again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(f"{message} Send again in {retry_after:g} s.")


class ImportFormatError(FeedbackPlatformError):
    """A file is not of the format that it is imported as."""


class AccessError(FeedbackPlatformError):
    """A key, token or signature is missing, wrong or not enough for what was asked.

    Args:
        reason: short snake_case code, stable across releases.
        message: what is wrong and what to do; never says whether another tenant has such a thing.
        status: HTTP status that says the same: 401 unknown, 403 not enough.
    """

    def __init__(self, reason: str, message: str, status: int = 401) -> None:
        self.reason, self.status = reason, status
        super().__init__(message)


class LogError(FeedbackPlatformError):
    """The event log cannot be read or written."""


class LogGapError(LogError):
    """The log begins after the point that the lake has reached."""


class LakeError(FeedbackPlatformError):
    """A Delta table is not what it should be."""


class ContractViolation(LakeError):
    """Rows break the contract of their table; nothing was committed."""


class DamagedTableError(LakeError):
    """The newest commits are incomplete on disk."""


class CommitConflict(LakeError):
    """Another writer moved the table; the outcome is known and nothing was written twice."""


class CompileError(FeedbackPlatformError):
    """A window cannot be compiled."""


class LeaseHeldError(CompileError):
    """Another process compiles this dataset."""


class WindowMismatch(CompileError):
    """The open window was cut for another configuration."""


class PublishBlocked(CompileError):
    """A blocking check or gate refused publication."""


class NotFoundError(FeedbackPlatformError):
    """No such dataset, version, window or event."""


class ExportError(FeedbackPlatformError):
    """An export cannot be made from this version."""


class QueryError(FeedbackPlatformError):
    """An analyst's query cannot be run."""
