"""Origins: scheme, host and port all agree, or a whole label lies below the star; nothing else passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.errors import AccessError, ConfigError
from feedback_platform.intake.guards.origins import allowed, normal_pattern, require_origin
from feedback_platform.intake.guards.principal import Principal

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
HOSTS = st.lists(LABELS, min_size=2, max_size=4).map(".".join)
SCHEMES = st.sampled_from(["http", "https"])
PORTS = st.sampled_from(["", ":8443", ":3000"])
ORIGINS = st.builds(lambda scheme, host, port: f"{scheme}://{host}{port}", SCHEMES, HOSTS, PORTS)


@given(ORIGINS, ORIGINS)
def test_an_exact_pattern_allows_itself_and_nothing_else(origin, other):
    pattern = normal_pattern(origin)
    assert allowed(origin, [pattern])
    assert allowed(other, [pattern]) == (other == origin)


@given(SCHEMES, HOSTS, PORTS, st.lists(LABELS, min_size=1, max_size=3))
def test_a_star_stands_for_one_or_more_whole_labels(scheme, host, port, labels):
    pattern = normal_pattern(f"{scheme}://*.{host}{port}")
    below = ".".join(labels)
    assert allowed(f"{scheme}://{below}.{host}{port}", [pattern])
    assert not allowed(f"{scheme}://{host}{port}", [pattern])
    assert not allowed(f"{scheme}://{below}{host}{port}", [pattern])
    assert not allowed(f"{scheme}://{below}.{host}.evil.example{port}", [pattern])
    assert not allowed(f"{scheme}://{below}.{host}:9999", [pattern])
    assert not allowed(f"{'http' if scheme == 'https' else 'https'}://{below}.{host}{port}", [pattern])


@given(ORIGINS)
def test_a_pattern_has_one_spelling(origin):
    pattern = normal_pattern(f" {origin.upper()} ")
    assert pattern == normal_pattern(pattern) == origin


@given(st.text(max_size=40))
def test_any_text_is_answered(text):
    assert not allowed(text, [normal_pattern("https://app.example.com")]) or text.lower() == "https://app.example.com"


@pytest.mark.parametrize(
    "origin",
    [
        None, "", "null", "NULL", "https://", "app.example.com", "https://app.example.com/", "https://app.example.com/x",
        "https://user@app.example.com", "https://app.example.com.", "https://app.example.com:0", "file://app.example.com",
        "https://app.example.com\n", "https://app.example.com https://app.example.com", "https://\u212Aey.example.com",
        "https://*.example.com", "https://" + "a" * 400,
    ],
)  # fmt: skip
def test_what_is_no_origin_matches_nothing(origin):
    patterns = ["https://*.example.com", "https://app.example.com", "https://key.example.com", "null", "*", str(origin)]
    assert not allowed(origin, patterns)


def test_a_default_port_may_be_written_or_not():
    assert normal_pattern("https://a.example.com:443") == "https://a.example.com"
    assert normal_pattern("http://a.example.com:80") == "http://a.example.com"
    assert normal_pattern("*.example.com") == "https://*.example.com"
    assert allowed("https://a.example.com:443", ["https://a.example.com"])
    assert not allowed("http://a.example.com:443", ["https://a.example.com"])
    assert allowed("http://localhost:3000", ["http://localhost:3000"])
    assert allowed("http://[::1]:3000", ["http://[::1]:3000"])


@pytest.mark.parametrize(
    "text", ["*", "null", "https://*", "https://*.com", "https://a.*.example.com", "app.example.com", "https://a b",
             "ftp://a.example.com", "https://a.example.com/path", "https://a.example.com:99999", "https://*a.example.com"],
)  # fmt: skip
def test_what_is_no_pattern_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match="Write scheme, host and perhaps a port"):
        normal_pattern(text)


def test_a_key_bound_to_pages_wants_an_origin_and_another_does_not():
    server = Principal("acme", "k", frozenset())
    browser = Principal("acme", "k", frozenset(), ("https://app.example.com",))
    require_origin(server, None)
    require_origin(server, "https://anywhere.example")
    require_origin(browser, "https://app.example.com")
    for origin in (None, "null", "https://evil.example"):
        with pytest.raises(AccessError) as caught:
            require_origin(browser, origin)
        assert (caught.value.reason, caught.value.status) == ("origin_refused", 403)
