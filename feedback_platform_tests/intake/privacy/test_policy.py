"""The policy: defaults that protect ids, and refusals that name what cannot be."""

import pytest

from feedback_platform.errors import ConfigError
from feedback_platform.intake.privacy.policy import BUILT_IN, PrivacyPolicy, parse_privacy


def test_nothing_said_means_pseudonyms_and_a_report():
    policy = parse_privacy({})
    assert policy == PrivacyPolicy()
    assert (policy.mask_text, policy.detect) == ("report", BUILT_IN)
    assert policy.pseudonymise == ("user_id", "session_id", "source.id")


def test_what_is_said_is_kept():
    said = {"mask_text": "mask", "detect": ["email"], "patterns": {"staff": r"\bE-\d{5}\b"}, "pseudonymise": []}
    policy = parse_privacy(said)
    assert policy == PrivacyPolicy("mask", ("email",), {"staff": r"\bE-\d{5}\b"}, ())


def test_a_bare_off_in_yaml_is_off():
    assert parse_privacy({"mask_text": False}).mask_text == "off"


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"mask": "report"}, "unknown field `mask`"),
        ({"mask_text": "erase"}, "'erase'"),
        ({"detect": ["passport"]}, "'passport'"),
        ({"pseudonymise": ["keys"]}, "'keys'"),
        ({"patterns": {"staff": "("}}, "patterns.staff does not compile: '('"),
        ({"patterns": {"staff": "(?=a)b"}}, "look-around"),
        ({"patterns": {"staff": "x*"}}, "patterns.staff matches the empty text: 'x*'"),
        ({"patterns": {"staff": r"\b"}}, "patterns.staff matches the empty text"),
        ({"patterns": {"staff": r"(?m)$"}}, "patterns.staff matches the empty text"),
        ({"patterns": {"email": "x"}}, "patterns.email is the name of a built-in"),
        ({"patterns": {"Staff id": "x"}}, "patterns.Staff id is no name"),
        ({"patterns": {"staff": r"[A-Z]{4}"}}, "matches 'EMAI' of a mask"),
        ({"patterns": {"a": "x1", "staff": r"\[A"}}, "patterns.staff matches '[A' of a mask"),
    ],
)
def test_what_cannot_be_is_refused_by_name(said, named):
    with pytest.raises(ConfigError) as refused:
        parse_privacy(said)
    assert named in str(refused.value)
