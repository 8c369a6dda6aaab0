"""Finding and masking: everything made up is found, nothing real is changed, and masking twice is masking once."""

import gzip
import json
import random
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_platform.errors import ConfigError
from feedback_platform.intake.privacy import detectors as module
from feedback_platform.intake.privacy.detectors import Detectors
from feedback_platform.intake.privacy.leaves import texts as strings
from feedback_platform.intake.privacy.spans import FINDERS
from feedback_platform_tests.intake.privacy import specimens

SAMPLE = Path(__file__).resolve().parents[3] / "data" / "sample"
ALL = Detectors()
OWN = Detectors(patterns={"staff": r"\bE-[0-9]{5}\b", "foo": r"foo."})

scraps = st.one_of(
    st.sampled_from([m(random.Random(i)) for m in specimens.MAKERS.values() for i in range(12)]),
    st.sampled_from(
        ["foo", "E-12345", "[EMAIL]", "+", "@", "(0)", "::", "00", "0", ".", "-", "\u00a0", "\n", "é", "v"]
    ),
    st.text("0123456789 .-+/():@abcdefABCDEF", max_size=12),
    st.text(st.characters(codec="utf-8"), max_size=5),
)
texts = st.lists(scraps, max_size=8).flatmap(lambda parts: st.sampled_from(["", " "]).map(lambda gap: gap.join(parts)))


@pytest.mark.parametrize("kind", specimens.MAKERS)
def test_made_up_personal_data_is_all_found(kind):
    made = specimens.sentences(kind, 600)
    masked, counts = ALL.mask([text for text, _ in made])
    token = f"[{kind.upper()}]"
    missed = [text for (text, found), after in zip(made, masked, strict=True) if after != text.replace(found, token)]
    assert missed == []
    assert counts == {kind: 600}


def test_lookalikes_are_left_alone():
    texts = specimens.lookalikes(4_000)
    masked, counts = ALL.mask(texts)
    assert [before for before, after in zip(texts, masked, strict=True) if before != after] == []
    assert counts == {}


def test_real_translations_are_left_alone():
    """The bundled sample: 7,000 sentences and as many translations and post-edits, with no personal data in them."""
    lines = [
        line for file in sorted(SAMPLE.glob("*.jsonl.gz")) for line in gzip.decompress(file.read_bytes()).splitlines()
    ]
    found = ALL.find([text for line in lines for text in strings(json.loads(line))])
    assert len(lines) == 36_779
    assert found.masked == {}


@settings(max_examples=60)
@given(st.lists(texts, max_size=6))
def test_masked_texts_hold_nothing_more(batch):
    for detectors in (ALL, OWN):
        masked, counts = detectors.mask(batch)
        assert len(masked) == len(batch)
        assert detectors.count(masked) == {}
        assert detectors.mask(masked) == (masked, Counter())
        assert detectors.count(batch) == counts


@settings(max_examples=60)
@given(st.lists(texts, max_size=6))
def test_a_batch_is_its_texts_one_by_one(batch):
    masked, counts = OWN.mask(batch)
    single = [OWN.mask([text]) for text in batch]
    assert masked == [after for (after,), _ in single]
    assert counts == sum((counted for _, counted in single), Counter())
    assert OWN.find(batch).hits == {place for place, (_, counted) in enumerate(single) if counted}


@settings(max_examples=500)
@given(texts)
def test_the_search_lets_through_whatever_a_finder_would_find(text):
    for name, find in FINDERS.items():
        if [*find(text)]:
            assert pl.Series([text]).str.contains(module._CANDIDATES[name]).item(), name


@settings(max_examples=300)
@given(texts)
def test_places_lie_within_the_text_and_are_not_empty(text):
    for find in FINDERS.values():
        assert all(0 <= start < end <= len(text) for start, end in find(text))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a@b.co, c@d.co", "[EMAIL], [EMAIL]"),
        ("write to .foo@bar.com. Thanks", "write to .[EMAIL]. Thanks"),
        ("https://user:pw@host.org/x", "https://user:[EMAIL]/x"),
        ("12 4111 1111 1111 1111 20", "12 [CARD] 20"),
        ("4111 1111-1111 1111", "4111 1111-1111 1111"),
        ("DE89 3704 0044 0532 0130 00 BANK", "[IBAN] BANK"),
        ("BE68 5390 0754 7034 WORD", "[IBAN] WORD"),
        ("+49 30 1234567, +1 (415) 555-2671", "[PHONE], [PHONE]"),
        ("(+44 20 7946 0958)", "([PHONE])"),
        ("tel:+33123456789", "tel:[PHONE]"),
        ("0049 30 1234567, not 0038 6775 2011 or 0378-5955 2001", "[PHONE], not 0038 6775 2011 or 0378-5955 2001"),
        ("10.0.0.1/24 8.8.8.8:53 1.2.3.4.5", "[IP]/24 [IP]:53 1.2.3.4.5"),
        ("[2001:db8:0:0:1:2:3:4]:80 fe80::1%eth0", "[[IP]]:80 [IP]%eth0"),
        ("section 3.2.1.4 of version 1.2.3.4", "section 3.2.1.4 of version 1.2.3.4"),
    ],
)
def test_where_a_mask_begins_and_ends(before, after):
    assert ALL.mask([before])[0] == [after]


def test_a_card_is_not_also_a_phone():
    text = "4111-1111-1111-1111 and 0151 23456789"
    assert ALL.mask([text]) == (["[CARD] and [PHONE]"], Counter(card=1, phone=1))
    assert Detectors(["phone"]).count(["4111-1111-1111-1111"]) == {}


def test_own_patterns_take_what_is_left():
    found = OWN.find(["E-12345 of a@b.co", "nothing", "foo! E-1 E-54321E-1"])
    assert found.masked == {0: "[STAFF] of [EMAIL]", 2: "[FOO] E-1 E-54321E-1"}
    assert found.counts == {"staff": 1, "email": 1, "foo": 1}


def test_only_what_is_asked_for_is_looked_for():
    assert Detectors([]).find(["a@b.co 4111111111111111"]).masked == {}
    assert Detectors(["card"]).mask(["a@b.co 4111111111111111"])[0] == ["a@b.co [CARD]"]


def test_a_bad_pattern_is_refused():
    with pytest.raises(ConfigError, match="staff does not compile"):
        Detectors(patterns={"staff": "["})


@pytest.mark.parametrize("piece", ["a@", "1 ", "+1", "+49 30 ", "0151-", "1.", "2001:", "DE89 ", "@a.", "(0", "4111 "])
def test_hostile_texts_take_linear_time(piece):
    """A quadratic finder would need minutes for half a megabyte."""
    text = "x@y.co 8.8.8.8 +49 30 1234567 " + piece * (500_000 // len(piece))
    assert ALL.count([text]).total() >= 3
