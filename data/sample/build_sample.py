"""Make the bundled sample from the MLQE-PE release: real translations, ratings and post-edits as wire events.

Boundary: standard library only; knows nothing of the platform but the shape of its events. Every judgement,
text and log-probability comes from the source; ids, times and raters are ours (README.md says how). What is
made up is an integer hash of an id: no generator, clock or floating point takes part, so that the same source
gives the same lines everywhere.

    python data/sample/build_sample.py SOURCE [--out DIR]
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import sys
import tarfile
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

Event = dict[str, Any]

RATINGS_ARCHIVE = "direct-assessments/train/en-de-train.tar.gz"
EDITS_ARCHIVE = "post-editing/train/en-de-train.tar.gz"
SYSTEM_PROMPT = "Translate the user's text from English to German."
MODEL, MODEL_VERSION = "ende-transformer", "mlqe-2020"

FIRST_DAY = datetime(2026, 3, 2, 8, tzinfo=UTC)  # a Monday; people work Monday to Friday, 08:00 to 18:00 UTC
CUT = datetime(2026, 3, 30, tzinfo=UTC)  # what has happened by now is slice 1
HOUR = 3600
DAY = 10 * HOUR  # one working day, in seconds of working time
DAYS = 30  # working days over which the requests fall: six weeks
RATING_DELAY = (120, 2 * DAY)  # working seconds after the translation
EDIT_DELAY = (HOUR, 8 * DAY)
BLOCK, RATERS_PER_SLOT, EDITORS = 100, 4, 5
SHORT, MEDIUM = 11, 16  # words of the original, inclusive: thirds of the training set, then fixed


class SourceError(Exception):
    """The source folder is not the MLQE-PE release that this script was written for."""


@dataclass(frozen=True)
class Segment:
    """One sentence of the source.

    `mt` and `pe` are the tokens of translation and post-edit; scores go from 0 to 100; log-probabilities are
    natural, `logprob` the mean of `token_logprobs` (subwords, end of sentence included).
    """

    index: int
    article: str
    original: str
    translation: str
    mt: tuple[str, ...]
    pe: tuple[str, ...]
    scores: tuple[int, ...]
    logprob: float
    token_logprobs: tuple[float, ...]

    @property
    def request_id(self) -> str:
        return f"mlqe-ende-{self.index:05d}"


# --- reading --------------------------------------------------------------------------------------


def read_lines(archive: Path, name: str) -> list[str]:
    """Lines of the member whose path ends in `name`, parted at newlines only: texts may hold other breaks."""
    if not archive.is_file():
        raise SourceError(f"no file {archive}: give the folder of the MLQE-PE release")
    with tarfile.open(archive) as tar:
        member = next((m for m in tar.getmembers() if m.name.endswith("/" + name)), None)
        handle = tar.extractfile(member) if member else None
        if handle is None:
            raise SourceError(f"{archive} has no member {name}: fetch the MLQE-PE release again")
        return handle.read().decode("utf-8").removesuffix("\n").split("\n")


def read_segments(source: Path) -> list[Segment]:
    """All training segments: ratings and post-edits joined by index, the join checked on the texts."""
    ratings, edits = source / RATINGS_ARCHIVE, source / EDITS_ARCHIVE
    rows = [line.split("\t") for line in read_lines(ratings, "train.ende.df.short.tsv")[1:]]
    columns = (
        read_lines(ratings, "train.doc_ids")[1:],
        read_lines(ratings, "word_probas.train.ende"),
        *(read_lines(edits, f"train.{part}") for part in ("src", "mt", "pe")),
    )
    segments = []
    for index, (row, article, probas, src, mt, pe) in enumerate(zip(rows, *columns, strict=True)):
        if int(row[0]) != index or squeeze(row[1]) != squeeze(src) or squeeze(row[2]) != squeeze(mt):
            raise SourceError(f"segment {index}: tsv and post-editing files do not hold the same sentence")
        scores, tokens = tuple(json.loads(row[3])), tuple(map(float, probas.split()))
        pe_tokens = tuple(pe.split())
        texts = (row[1], row[2], tuple(mt.split()), pe_tokens)
        segments.append(Segment(index, article, *texts, scores, float(row[7]), tokens))
    return segments


def squeeze(text: str) -> str:
    """Text without whitespace: what tokenising leaves alone."""
    return "".join(text.split())


# --- post-edits: from tokens back to text ---------------------------------------------------------

NO_SPACE_BEFORE = frozenset([".", ",", ";", ":", "!", "?", ")", "]", "}", "%", "...", "..", "”"])
NO_SPACE_AFTER = frozenset(["(", "[", "{", "„", "£", "$", "¢"])
QUOTES = frozenset(['"', "'", "„", "“"])


def rule_gaps(tokens: tuple[str, ...]) -> list[str]:
    """Whitespace before each token by the rules of German spacing; straight quotes open and close in turn."""
    gaps, glued, open_quotes = [""] * len(tokens), True, set[str]()
    for at, token in enumerate(tokens):
        closes = token in open_quotes or (token == "“" and "„" in open_quotes)
        gaps[at] = "" if glued or closes or token in NO_SPACE_BEFORE else " "
        glued = token in NO_SPACE_AFTER or (token in QUOTES and not closes)
        if closes:
            open_quotes -= {token, "„" if token == "“" else token}
        elif token in QUOTES:
            open_quotes.add(token)
    return gaps


def text_gaps(text: str, tokens: tuple[str, ...]) -> list[str]:
    """Whitespace before each token as `text` has it.

    Raises:
        SourceError: the tokens are not those of the text.
    """
    gaps, at = [], 0
    for token in tokens:
        start = text.find(token, at)
        if start < 0 or text[at:start].strip():
            raise SourceError(f"token {token!r} is not next in {text!r}")
        gaps.append(text[at:start])
        at = start + len(token)
    return gaps


def join(gaps: Iterable[str], tokens: Iterable[str]) -> str:
    """Text of the tokens with these gaps before them."""
    return "".join(gap + token for gap, token in zip(gaps, tokens, strict=True))


def post_edit(segment: Segment) -> str:
    """The human post-edit as text, spaced like the translation where two neighbours were left as they stood.

    So a correction differs from the output by what the editor changed, not by what a detokeniser guessed.
    """
    gaps = rule_gaps(segment.pe)
    known = text_gaps(segment.translation, segment.mt)
    matcher = SequenceMatcher(None, segment.mt, segment.pe, autojunk=False)
    for mt, pe, size in matcher.get_matching_blocks():
        first = 0 if mt == pe == 0 else 1  # the gap before a block has another left neighbour
        gaps[pe + first : pe + size] = known[mt + first : mt + size]
    return join(gaps, segment.pe)


# --- what is made up: times and raters ------------------------------------------------------------


def draw(key: str, below: int) -> int:
    """A whole number in [0, below) that depends on `key` alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) * below >> 64


def skewed(key: str, low: int, high: int) -> int:
    """As `draw`, in [low, high), cubed: half of the values lie in the first eighth of the range."""
    return low + ((high - low) * draw(key, 1 << 32) ** 3 >> 96)


def wall_time(working_seconds: int) -> datetime:
    """The UTC time at which so many seconds of working time have passed since FIRST_DAY."""
    day, second = divmod(working_seconds, DAY)
    return FIRST_DAY + timedelta(days=day // 5 * 7 + day % 5, seconds=second)


def request_times(segments: list[Segment]) -> dict[str, int]:
    """Request id -> working second; an article is one sitting in source order, 20 to 90 s apart."""
    times: dict[str, int] = {}
    articles: dict[str, list[Segment]] = {}
    for segment in segments:
        articles.setdefault(segment.article, []).append(segment)
    for article, members in articles.items():
        steps = [20 + draw(f"step {s.request_id}", 71) for s in members]
        now = draw(f"day {article}", DAYS) * DAY + draw(f"start {article}", DAY - sum(steps))
        for segment, step in zip(members, steps, strict=True):
            now += step
            times[segment.request_id] = now
    return times


def session_id(article: str) -> str:
    """The article as an id: its title for people to read, a hash because titles may slug alike."""
    ascii_title = unicodedata.normalize("NFKD", article).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_title).strip("-")[:40]
    return f"article-{slug}-{hashlib.sha256(article.encode()).hexdigest()[:8]}"


# --- events ---------------------------------------------------------------------------------------


def stamp(working_seconds: int) -> str:
    """Wall time as RFC 3339."""
    return wall_time(working_seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def inference(segment: Segment, at: int) -> Event:
    """The translation as an inference event, completed at working second `at`."""
    words = len(segment.original.split())
    length = "short" if words <= SHORT else "medium" if words <= MEDIUM else "long"
    messages = [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": segment.original}]
    return {
        "request_id": segment.request_id,
        "timestamp": stamp(at),
        "model": MODEL,
        "model_version": MODEL_VERSION,
        "task": "translation",
        "input": {"messages": messages},
        "output": segment.translation,
        "logprob": segment.logprob,
        "token_logprobs": list(segment.token_logprobs),
        "session_id": session_id(segment.article),
        "segments": {"language_pair": "en-de", "length": length},
        "metadata": {"article": segment.article},
    }


def feedback(segment: Segment, at: int) -> Iterator[Event]:
    """Every rating of the segment, then its post-edit; a block of segments keeps its raters."""
    block = segment.index // BLOCK
    for slot, score in enumerate(segment.scores):
        when = at + skewed(f"delay {segment.request_id} {slot}", *RATING_DELAY)
        rater = f"rater-{slot}-{block % RATERS_PER_SLOT}"
        yield judgement(segment, f"da-{slot}", when, rater, "rating", {"score": score, "min": 0, "max": 100})
    when = at + skewed(f"delay {segment.request_id} edit", *EDIT_DELAY)
    editor = f"editor-{block % EDITORS}"
    yield judgement(segment, "pe", when, editor, "explicit_correction", {"output": post_edit(segment)})


def judgement(segment: Segment, suffix: str, when: int, rater: str, kind: str, value: Event) -> Event:
    """One feedback event by a person, at working second `when`."""
    return {
        "feedback_id": f"{segment.request_id}-{suffix}",
        "request_id": segment.request_id,
        "timestamp": stamp(when),
        "feedback_type": kind,
        "feedback_value": value,
        "source": {"kind": "human", "id": rater},
    }


# --- writing --------------------------------------------------------------------------------------


def slices(segments: list[Segment]) -> dict[str, list[Event]]:
    """File stem -> its events in order of time: what had happened by CUT, and the rest."""
    times, cut = request_times(segments), CUT.strftime("%Y-%m-%dT%H:%M:%SZ")
    made = {
        "inferences": [inference(s, times[s.request_id]) for s in segments],
        "feedback": [event for s in segments for event in feedback(s, times[s.request_id])],
    }
    files: dict[str, list[Event]] = {}
    for part in (1, 2):
        for kind, events in made.items():
            chosen = [event for event in events if (event["timestamp"] < cut) == (part == 1)]
            files[f"{kind}-{part}"] = sorted(chosen, key=in_time)
    return files


def in_time(event: Event) -> tuple[str, str]:
    """Sort key: time, then id."""
    return str(event["timestamp"]), str(event.get("feedback_id", event["request_id"]))


def write(files: dict[str, list[Event]], out: Path) -> None:
    """Gzipped JSON lines without a time or name in the header, and their SHA-256 sums."""
    out.mkdir(parents=True, exist_ok=True)
    sums = []
    for stem, events in sorted(files.items()):
        lines = "".join(json.dumps(e, ensure_ascii=False, separators=(",", ":")) + "\n" for e in events)
        packed = gzip.compress(lines.encode(), compresslevel=9, mtime=0)
        (out / f"{stem}.jsonl.gz").write_bytes(packed)
        sums.append(f"{hashlib.sha256(packed).hexdigest()}  {stem}.jsonl.gz\n")
    (out / "SHA256SUMS").write_text("".join(sums))


def report(segments: list[Segment], files: dict[str, list[Event]]) -> str:
    """The counts that README.md quotes."""
    untouched = [s for s in segments if s.mt == s.pe]
    by_rule = [s for s in segments if join(rule_gaps(s.mt), s.mt) == s.translation]
    outputs = {e["request_id"]: e["output"] for part in (1, 2) for e in files[f"inferences-{part}"]}
    first = {e["request_id"] for e in files["inferences-1"]}
    judged = files["feedback-1"] + files["feedback-2"]
    edits = [e for e in judged if e["feedback_type"] == "explicit_correction"]
    late = [e["feedback_type"] for e in files["feedback-2"] if e["request_id"] in first]
    counts = {
        "translations": len(outputs),
        "articles (sessions)": len({s.article for s in segments}),
        "ratings": len(judged) - len(edits),
        "corrections": len(edits),
        "of them acceptances": sum(e["feedback_value"]["output"] == outputs[e["request_id"]] for e in edits),
        "late ratings": late.count("rating"),
        "late corrections": late.count("explicit_correction"),
        "translations with late feedback": len({e["request_id"] for e in files["feedback-2"]} & first),
        "untouched translations": len(untouched),
        "of them restored by the rules alone": sum(s.mt == s.pe for s in by_rule),
        "all translations restored by the rules alone": len(by_rule),
    }
    counts |= {f"{stem}.jsonl.gz": len(events) for stem, events in files.items()}
    return "\n".join(f"{name:<46}{count:>7,}" for name, count in counts.items())


def main() -> None:
    """Build the files and print the counts."""
    parser = argparse.ArgumentParser(description="Make the bundled sample from the MLQE-PE source folder.")
    parser.add_argument("source", type=Path, help="folder with direct-assessments/ and post-editing/")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the files go")
    options = parser.parse_args()
    try:
        segments = read_segments(options.source)
    except SourceError as error:
        sys.exit(str(error))
    files = slices(segments)
    write(files, options.out)
    sys.stdout.write(report(segments, files) + "\n")


if __name__ == "__main__":
    main()
