"""What the guards of the HTTP door cost per request.

    python benchmarks/bench_guards.py

Prints microseconds per call, the best of five rounds in one thread: keys, tokens, signatures, buckets, origins. Then
what does not happen per request: loading many keys, and the longest single call of a bucket while its entries turn over.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from feedback_platform.contracts.events import parse_feedback
from feedback_platform.errors import AccessError
from feedback_platform.intake.guards import signatures, tokens
from feedback_platform.intake.guards.buckets import Buckets
from feedback_platform.intake.guards.keys import KeyStore
from feedback_platform.intake.guards.origins import allowed
from feedback_platform.intake.guards.token_rules import restrict, stamped

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
KEYS, CALLS, ENTRIES = 10_000, 20_000, 100_000
BODY = b"x" * 1_000


def micros(act: Callable[[], object], calls: int = CALLS) -> float:
    """Microseconds per call."""
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(calls):
            act()
        best = min(best, time.perf_counter() - started)
    return best / calls * 1e6


def refused(store: KeyStore, presented: str) -> None:
    """A verification that fails."""
    try:
        store.verify(presented, NOW)
    except AccessError:
        return
    raise AssertionError("let in")


def report(what: str, cost: float, unit: str = "us") -> None:
    """One line."""
    print(f"{what:<66} {cost:>9.2f} {unit}")


def keys(folder: Path) -> None:
    """Verification with many keys in the store, and how long it takes to load them."""
    with KeyStore(folder / "keys.sqlite") as store:
        plain = store.create("acme", ["ingest:feedback"], "bench", now=NOW, expires=NOW + timedelta(days=1)).plain
        row = store._row(plain.split("_")[2])
        with store._file.transaction():
            for n in range(KEYS):
                store._file.rows(
                    "INSERT INTO keys SELECT ?, ?, tenant, env, label, scopes, origins, ?, signing, created, expires, revoked, "
                    "last_used, replaced_by FROM keys WHERE key_id = ?",
                    (f"{n:012}", n + 2, row.digest, row.info.key_id),
                )
        started = time.perf_counter()
        store.verify(plain, NOW)
        loading = time.perf_counter() - started
        report(f"verify a key ({KEYS:,} in the store)", micros(lambda: store.verify(plain, NOW)))
        report("refuse an unknown key", micros(lambda: refused(store, plain[:-2] + "xx")))
        ticks = (NOW + timedelta(seconds=n) for n in range(1, 10**9))
        report(
            "verify a key and ask the file for news (once a second)",
            micros(lambda: store.verify(plain, next(ticks)), 2_000),
        )
        report(f"load {KEYS:,} keys at the start", loading * 1e3, "ms")


def messages() -> None:
    """Tokens and signatures."""
    secret, later = tokens.token_key(b"secret"), NOW + timedelta(hours=1)
    token = tokens.issue(secret, "acme", "r1", later, user_id="ann")
    report("issue a feedback token", micros(lambda: tokens.issue(secret, "acme", "r1", later, user_id="ann")))
    report("check a feedback token", micros(lambda: tokens.check(lambda _: secret, token, NOW)))
    said = tokens.check(lambda _: secret, token, NOW)
    event = parse_feedback({"feedback_type": "thumbs", "feedback_value": {"up": True}, "request_id": "r1"})
    report("restrict and stamp an event", micros(lambda: stamped(event, restrict(event, said))))
    headers = signatures.sign([secret], "msg_1", NOW, BODY)
    report("verify a signature over 1,000 bytes", micros(lambda: signatures.verify([secret], headers, BODY, NOW)))


def buckets() -> None:
    """Tokens taken by known, new and refused keys, and the longest call in a flood of new ones."""
    known = Buckets(rate=1e6, burst=1e9)
    report("take from the bucket of a known key", micros(lambda: known.take("ann", 1, 0.0)))
    poor = Buckets(rate=1, burst=1)
    poor.take("ann", 1, 0.0)
    report("be refused by a bucket", micros(lambda: poor.take("ann", 1, 0.0)))
    names = (f"user-{n}" for n in range(10**9))
    full = Buckets(rate=1, burst=1_000, max_entries=1_000)
    report(
        "take for a new key with no room left (its name is made, too)", micros(lambda: full.take(next(names), 1, 0.0))
    )
    flood, longest = Buckets(rate=1, burst=1, max_entries=ENTRIES), 0.0
    for n in range(4 * ENTRIES):
        name, now = f"user-{n}", n * 1.6 / ENTRIES
        started = time.perf_counter()
        flood.take(name, 1, now)
        longest = max(longest, time.perf_counter() - started)
    report(f"longest call while {ENTRIES:,} entries are forgotten at once", longest * 1e3, "ms")


def main() -> None:
    """Measure all guards."""
    with TemporaryDirectory() as folder:
        keys(Path(folder))
    messages()
    buckets()
    patterns = ["https://app.example.com", "https://*.example.org"]
    report("match an origin against two patterns", micros(lambda: allowed("https://a.example.org", patterns)))


if __name__ == "__main__":
    main()
