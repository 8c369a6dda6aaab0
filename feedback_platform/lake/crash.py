"""Named points at which a process can be told to die, so that tests prove that dying there is harmless.

`FEEDBACK_CRASH_AT=raw_feedback.after_commit` kills the process with SIGKILL when it reaches that point;
`raw_feedback.after_commit:3` the third time; `*` in place of the scope matches any.
"""

import os
import signal
from collections import Counter
from collections.abc import Mapping

COMMIT_POINTS: Mapping[str, str] = {
    "after_parts": "part files are written, nothing is flushed or committed",
    "after_fsync": "part files are durable, nothing is committed",
    "after_commit": "the Delta log names the parts, its entry is not flushed",
    "before_cursor": "the commit is durable, the caller has not moved its cursor",
}
POINTS: Mapping[str, str] = {
    **COMMIT_POINTS,
    "cut": "a window is cut, nothing is computed",
    "noted": "a table is at the window, the next one is not",
    "hashed": "the window's hashes are noted, it has no version",
    "versioned": "the version number is given, nothing that shows it exists",
    "exported": "exports and report are written, the version is not marked published",
    "published": "the version is published, the warehouse does not show it",
}

_reached: Counter[str] = Counter()


def reach(point: str) -> None:
    """Die here if `FEEDBACK_CRASH_AT` says so.

    Args:
        point: `<scope>.<step>`; the scope is a table or a window, the step a key of `POINTS`.

    Raises:
        ValueError: the step is not in `POINTS`, so that no test would ever visit it.
    """
    step = point.rpartition(".")[2]
    if step not in POINTS:
        raise ValueError(f"crash point {point!r}: add the step {step!r} to lake/crash.py POINTS")
    wanted, _, count = os.environ.get("FEEDBACK_CRASH_AT", "").partition(":")
    if wanted not in (point, f"*.{step}"):
        return
    _reached[wanted] += 1
    if _reached[wanted] == int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)
