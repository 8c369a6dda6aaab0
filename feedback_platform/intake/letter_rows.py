"""A dead letter as the row that the log keeps: the columns of the lake's table, and what only a replay needs.

The table has no column for the sender's rights, so the fact that must outlive pruning stands in the origin: that of a
letter which came with a feedback token ends with `BY_TOKEN`. Pure.
"""

from datetime import datetime

import msgspec

from feedback_platform.contracts.events import MAX_EVENT_BYTES
from feedback_platform.intake.log import MAX_DEAD_LETTER_BYTES, DeadLetter

MAX_MESSAGE = 2_000
BY_TOKEN = " (token)"
RESTRICTED = b'{"restricted":true,'
"""How the row of a letter that came with a feedback token begins."""


def letter_row(letter: DeadLetter, received_at: datetime) -> bytes:
    """The row as JSON; `restricted` and `can_review` are left out where there is nothing to say."""
    row: dict[str, object] = {"restricted": True} if letter.restricted else {}
    if letter.can_review is not None:
        row["can_review"] = letter.can_review
    row |= {
        "received_at": received_at,
        "origin": _writable(letter.origin) + (BY_TOKEN if letter.restricted else ""),
        "line": letter.line,
        "kind": letter.kind,
        "event_id": letter.event_id,
        "reason": letter.reason,
        "message": _writable(letter.message[:MAX_MESSAGE]),
        "body": letter.body[:MAX_DEAD_LETTER_BYTES].decode(errors="replace"),
        "size_bytes": letter.size_bytes,
    }
    return msgspec.json.encode(row)


def looked_at(body: bytes, size: int) -> bytes:
    """A refused body as far as it is read for its letter: all of it, or its beginning where it is beyond the limit.

    The beginning is longer than what is kept, so that no personal data is overlooked where the kept part ends.
    """
    if size <= MAX_EVENT_BYTES:
        return body
    end = most = 2 * MAX_DEAD_LETTER_BYTES
    while len(body) > end > most - 4 and body[end] & 0xC0 == 0x80:
        end -= 1  # no character is cut in two
    return body[:end]


def came_by_token(origin: str) -> bool:
    """Whether the origin of a kept letter says that it came with a feedback token; no file name looks like that."""
    return origin.startswith("POST /") and origin.endswith(BY_TOKEN)


def _writable(text: str) -> str:
    """The text with `?` for half surrogate pairs, which a file's name or a refused event may hold and UTF-8 may not."""
    return text.encode(errors="replace").decode()
