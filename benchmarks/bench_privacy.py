"""Personal data at the door: how often it is right on real and made-up texts, and what it costs.

    python benchmarks/bench_privacy.py [--data FOLDER]

FOLDER holds `mlqe-pe` and `tensorzero-haiku`; without it only the bundled sample is read. Prints false positives and
recall per detector, texts per second, microseconds per event and per id; all in CPU time of the process.
"""

import argparse
import gzip
import hmac
import io
import json
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from feedback_platform.contracts.events import parse_feedback, parse_inference
from feedback_platform.intake.privacy.detectors import Detectors
from feedback_platform.intake.privacy.leaves import texts
from feedback_platform.intake.privacy.policy import PrivacyPolicy
from feedback_platform.intake.privacy.protect import Event, Privacy
from feedback_platform.intake.privacy.pseudonyms import Pseudonyms
from feedback_platform_tests.intake.privacy import specimens

ROOT = Path(__file__).resolve().parents[1]
KEY = bytes(range(32))
# What a first attempt looks like: seven or more digits with separators between them.
NAIVE_PHONE = r"\+?[0-9][0-9 ().\-]{6,}[0-9]"
# Written forms that are left alone on purpose: plain numbers, tables of numbers and order ids look the same.
LEFT_ALONE = ("4155552671", "415 555 2671", "0301234567", "912 345 678", "0049301234567", "4111111111111112")


def best(act: Callable[[], object], times: int = 5) -> float:
    """CPU seconds of the cheapest call."""
    took = []
    for _ in range(times):
        started = time.process_time()
        act()
        took.append(time.process_time() - started)
    return min(took)


def lines(path: Path) -> Iterator[str]:
    """All strings of a gzip file of JSON lines."""
    for line in gzip.decompress(path.read_bytes()).splitlines():
        yield from texts(json.loads(line))


def translations(folder: Path) -> Iterator[str]:
    """Sources and translations of MLQE-PE: columns 2 and 3, quoting off."""
    for path in sorted(folder.glob("direct-assessments/*/*.tar.gz")):
        with tarfile.open(path) as archive:
            for member in archive.getmembers():
                if member.name.endswith(".df.short.tsv") and (file := archive.extractfile(member)):
                    for row in [*io.TextIOWrapper(file, encoding="utf-8", newline="\n")][1:]:
                        yield from row.split("\t")[1:3]


def precision(name: str, found_in: Sequence[str]) -> None:
    """False positives on texts without personal data, beside those of a naive phone pattern."""
    detectors = Detectors()
    counts = detectors.count(found_in)
    naive = int(pl.Series(found_in).str.contains(NAIVE_PHONE).sum())
    speed = len(found_in) / best(lambda: detectors.find(found_in))
    size = sum(map(len, found_in)) / len(found_in)
    shown = dict(counts) or "none"
    print(f"{name:<34} {len(found_in):>8,} {size:>6.0f} {shown!s:>10} {naive:>8,} {speed:>12,.0f}")


def recall(count: int = 5_000) -> None:
    """Share of made-up specimens that are masked exactly, no more and no less."""
    detectors = Detectors()
    for kind in specimens.MAKERS:
        made = specimens.sentences(kind, count, seed=1)
        masked, _ = detectors.mask([text for text, _ in made])
        token = f"[{kind.upper()}]"
        exact = sum(after == text.replace(found, token) for (text, found), after in zip(made, masked, strict=True))
        took = best(lambda made=made: detectors.mask([text for text, _ in made]), 3)  # type: ignore[misc]
        print(f"{kind:<34} {count:>8,} {exact / count:>17.2%} {count / took:>21,.0f}")
    print(
        f"left alone on purpose: {', '.join(LEFT_ALONE)}: {sum(map(len, detectors.find(LEFT_ALONE).masked.values()))}"
    )


def event(place: int, people: int, feedback: bool, session: int) -> Event:
    """A chat answer or a thumb by one of so many people, `session` events in a row by the same one."""
    who = place // session % people
    ids = {"user_id": f"user-{who}", "session_id": f"session-{place // session}"}
    if feedback:
        return parse_feedback(
            {
                "feedback_type": "thumbs",
                "feedback_value": {"up": True},
                "request_id": "r",
                **ids,
                "source": {"kind": "human", "id": f"user-{who}"},
            }
        )
    chat = {"messages": [{"role": "user", "content": "How do I change the address of my order? " * 3}]}
    return parse_inference(
        {
            "request_id": "r",
            "timestamp": "2026-01-01T00:00:00Z",
            "model": "m",
            "model_version": "1",
            "input": chat,
            "output": "Open the order, choose its address and press change. " * 4,
            **ids,
        }
    )


def door(name: str, people: int, session: int, feedback: bool, count: int = 20_000) -> None:
    """Microseconds per event of `protect` (batches of 1,000 and of 1), of `observe`, and of `protect` that masks."""

    def took(size: int, mode: str = "report", look: bool = False) -> float:
        fastest = float("inf")
        for turn in range(4):
            privacy = Privacy(PrivacyPolicy(mask_text=mode), KEY)  # type: ignore[arg-type]
            events = [event(turn * count + place, people, feedback, session) for place in range(count)]
            batches = [events[at : at + size] for at in range(0, count, size)]
            started = time.process_time()
            for batch in batches:
                (privacy.observe if look else privacy.protect)(batch)
            fastest = min(fastest, time.process_time() - started)
        return fastest / count * 1e6

    row = (took(1_000), took(1), took(1_000, look=True), took(1_000, "mask"))
    print(f"{name:<34} {row[0]:>8.2f} {row[1]:>8.2f} {row[2]:>8.2f} {row[3]:>8.2f}")


def ids(count: int = 100_000) -> None:
    """Microseconds per id: ours one by one, known and new, ours in batches, and the standard library's HMAC."""
    values = [f"user-{place}@example.com" for place in range(count)]
    made = Pseudonyms(KEY)
    few = values[:1_000] * (count // 1_000)
    rows: dict[str, Callable[[], object]] = {
        "of, new ids": lambda: [*map(Pseudonyms(KEY).person, values)],
        "of, 1,000 ids that repeat": lambda: [*map(made.person, few)],
        "many, batches of 1,000": lambda: [
            made.many("person", values[at : at + 1_000]) for at in range(0, count, 1_000)
        ],
        "hmac.digest, new ids": lambda: [hmac.digest(KEY, v.encode(), "sha256").hex()[:32] for v in values],
    }
    for name, act in rows.items():
        print(f"{name:<34} {best(act, 3) / count * 1e6:>8.2f}")


def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with mlqe-pe and tensorzero-haiku")
    data = parser.parse_args().data
    print(f"{'no personal data in':<34} {'texts':>8} {'length':>6} {'hits':>10} {'naive':>8} {'texts/s':>12}")
    precision("bundled sample", [t for p in sorted((ROOT / "data/sample").glob("*.gz")) for t in lines(p)])
    if data:
        precision("mlqe-pe, all four sets", [*translations(data / "mlqe-pe")])
        for path in sorted((data / "tensorzero-haiku/converted").glob("*.gz")):
            precision(f"haiku {path.name.removesuffix('.jsonl.gz')}", [*lines(path)])
    precision("made-up lookalikes", specimens.lookalikes(20_000, seed=1))
    print(f"\n{'made up':<34} {'texts':>8} {'masked exactly':>17} {'texts/s, all hit':>21}")
    recall()
    print(f"\n{'microseconds per event':<34} {'by 1,000':>8} {'by 1':>8} {'observe':>8} {'mask':>8}")
    for kind, feedback in (("inference", False), ("feedback", True)):
        door(f"{kind}, 500 people, 4 a session", 500, 4, feedback)
        door(f"{kind}, nobody comes twice", 10**9, 1, feedback)
    print(f"\n{'microseconds per id':<34}")
    ids()


if __name__ == "__main__":
    main()
