"""`tenant.yaml`: what may stand in it, and what an open tenant makes of it; its secrets are its own."""

import stat
from pathlib import Path

import pytest

from feedback_platform.errors import ConfigError, LogError, NotFoundError
from feedback_platform.intake.tenants import (
    CONFIG,
    Limits,
    Rate,
    TenantConfig,
    configured_origins,
    open_tenant,
    pseudonym_key,
    read_config,
    token_signing_key,
)
from feedback_platform.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home")


def written(settings: Settings, text: str, tenant: str = "default") -> Path:
    path = settings.home / tenant / CONFIG
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("text", ["", "# only a remark\n", "{}", "privacy:\nlimits:\norigins:\n"])
def test_what_says_nothing_is_the_defaults(settings, text):
    assert read_config(written(settings, text)) == TenantConfig()
    assert read_config(settings.home / "absent.yaml") == TenantConfig()


def test_everything_that_can_be_set(settings):
    text = """
privacy: {mask_text: mask, detect: [email], patterns: {ticket: 'T-\\d+'}, pseudonymise: [user_id]}
limits: {key: {per_second: 50, burst: 100.5}, user: {per_second: 0.5, burst: 1}}
origins: [HTTPS://App.Example.com:443, '*.shop.example.org']
"""
    found = read_config(written(settings, text))
    assert (found.privacy.mask_text, found.privacy.detect, found.privacy.patterns) == (
        "mask",
        ("email",),
        {"ticket": "T-\\d+"},
    )
    assert found.limits == Limits(Rate(50, 100.5), Rate(0.5, 1))
    assert found.origins == ("https://app.example.com", "https://*.shop.example.org")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is not YAML"),
        ("- privacy", "expected a mapping"),
        ("limit: {}", "privacy, limits and origins"),
        ("limits: {keys: {}}", "keys"),
        ("limits: {key: {per_second: 1}}", "burst"),
        ("limits: {key: {per_second: 0, burst: 5}}", "per_second"),
        ("limits: {key: {per_second: -1, burst: 5}}", "per_second"),
        ("limits: {key: {per_second: .nan, burst: 5}}", "per_second"),
        ("limits: {key: {per_second: .inf, burst: 5}}", "per_second"),
        ("limits: {user: {per_second: 1, burst: 0.5}}", "user.burst"),
        ("limits: {user: {per_second: fast, burst: 5}}", "per_second"),
        ("origins: https://a.example.com", "origins|array"),
        ("origins: [a.example.com/path]", "a.example.com/path"),
        ("origins: ['https://*']", "origin"),
        ("privacy: {mask: true}", "mask"),
        ("privacy: {mask_text: perhaps}", "perhaps|mask_text"),
        ("privacy: {patterns: {bad: '('}}", "bad"),
        ("privacy: [a]", "privacy|object|mapping"),
        ("\x00", "is not YAML"),
    ],
)
def test_what_cannot_be_is_refused_with_file_and_place(settings, text, words):
    path = written(settings, text)
    with pytest.raises(ConfigError, match=words) as refused:
        read_config(path)
    assert str(path) in str(refused.value)
    with pytest.raises(ConfigError, match=words):
        open_tenant(settings)
    assert not settings.log_path.exists(), "it is read before anything is made"


def test_a_file_that_cannot_be_read_is_refused_with_its_name(settings):
    path = settings.home / "default" / CONFIG
    path.mkdir(parents=True)
    with pytest.raises(ConfigError, match=CONFIG):
        read_config(path)
    path.rmdir()
    path.write_bytes(b"privacy: \xff")
    with pytest.raises(ConfigError, match="is not YAML"):
        read_config(path)


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "a.b", "-a", "x" * 64, "a\n"])
def test_a_name_that_is_no_tenant_opens_nothing(settings, name):
    with pytest.raises(ConfigError, match="is not a tenant name"):
        open_tenant(Settings(home=settings.home, tenant=name) if not name else settings, name or None)
    assert not settings.home.exists()


def test_tenants_have_secrets_of_their_own_and_keep_them(settings):
    found: dict[str, tuple[bytes, ...]] = {}
    for name in ("one", "two", "one"):
        with open_tenant(settings, name) as tenant:
            own = tenant.settings
            secrets = (tenant.log.key, tenant.token_key, pseudonym_key(own))
            assert found.setdefault(name, secrets) == secrets
            assert tenant.token_key == token_signing_key(own)
            assert own.log_path == settings.home / name / "log" / "events.sqlite"
            for path in own.log_path.parent.glob("*.key"):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len({*found["one"], *found["two"]}) == 6


def test_origins_of_all_tenants_are_found_without_opening_them(settings):
    assert configured_origins(settings) == {}
    written(settings, "origins: ['https://a.example.com']", "one")
    written(settings, "limits: {}", "two")
    written(settings, "origins: [nonsense]", "Not-A-Tenant")
    assert configured_origins(settings) == {"one": ("https://a.example.com",), "two": ()}
    assert not (settings.home / "one" / "log").exists()


@pytest.mark.parametrize("text", ["origins: [nonsense]", "a: [", "since: 2026-13-45", "[" * 2_000])
def test_the_mistake_of_one_tenant_is_not_that_of_the_others(settings, text, caplog):
    written(settings, "origins: ['https://a.example.com']", "one")
    written(settings, text, "two")
    written(settings, "origins: ['https://c.example.com']", "zoo")
    assert configured_origins(settings) == {"one": ("https://a.example.com",), "zoo": ("https://c.example.com",)}
    [told] = caplog.messages
    assert told.startswith("Tenant two cannot be opened")
    assert str(settings.home / "two" / CONFIG) in told
    with pytest.raises(ConfigError, match="two"):
        open_tenant(settings, "two")


@pytest.mark.parametrize(
    ("name", "read", "otherwise"),
    [
        ("pseudonym.key", pseudonym_key, "the same people would get other pseudonyms"),
        ("token.key", token_signing_key, "the feedback tokens that pages hold would be refused"),
    ],
)
def test_a_lost_or_foreign_key_is_told_and_never_replaced(settings, name, read, otherwise):
    with pytest.raises(NotFoundError, match="accepted no event in this home"):
        read(settings)
    assert not settings.home.exists(), "reading makes nothing"
    open_tenant(settings).close()
    path = settings.log_path.with_name(name)
    key, derived = path.read_bytes(), read(settings)
    path.unlink()
    with pytest.raises(LogError, match=f"{name} is gone.*{otherwise}.*Restore it from the backup"):
        open_tenant(settings)
    with pytest.raises(NotFoundError, match="restore the key from the backup"):
        read(settings)
    assert not path.exists()
    path.write_bytes(bytes(32))
    with pytest.raises(LogError, match=f"{name} is not the key.*{otherwise}.*Restore it from the backup"):
        open_tenant(settings)
    path.write_bytes(key)
    open_tenant(settings).close()
    assert read(settings) == derived
