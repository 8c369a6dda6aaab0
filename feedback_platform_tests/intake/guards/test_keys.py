"""API keys: whoever presents the right text gets in until it ends, nobody else does, and the text is kept nowhere."""

import base64
import logging
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.errors import AccessError, ConfigError, NotFoundError
from feedback_platform.intake.guards import signatures
from feedback_platform.intake.guards.key_file import KeyFile
from feedback_platform.intake.guards.keys import KeyStore, key_store_path
from feedback_platform.intake.guards.principal import (
    LOOPBACK_DEV,
    SCOPES,
    Principal,
    checked_tenant,
    is_tenant,
    loopback_dev,
)
from feedback_platform.settings import Settings

T0 = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
REVOKER = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from feedback_platform.intake.guards.keys import KeyStore
with KeyStore(Path(sys.argv[1])) as store:
    store.revoke(sys.argv[2], now=datetime.now(UTC))
"""


@pytest.fixture
def store(tmp_path):
    with KeyStore(tmp_path / "home" / "keys.sqlite") as opened:
        yield opened


def create(store, scopes=("ingest:feedback",), tenant="acme", **fields):
    return store.create(tenant, scopes, fields.pop("label", "a server"), now=T0, **fields)


def refusal(store, presented, now=T0):
    with pytest.raises(AccessError) as caught:
        store.verify(presented, now)
    assert caught.value.status == 401
    return caught.value


def flipped(key, place):
    """The key with another letter at a place."""
    place %= len(key)
    other = "A" if key[place] != "A" else "B"
    return key[:place] + other + key[place + 1 :]


def test_a_key_speaks_for_its_tenant_with_its_scopes(store):
    issued = create(store, ("review", "ingest:feedback"), tenant="acme-2")
    principal = store.verify(issued.plain, T0)
    assert (principal.tenant, principal.key_id) == ("acme-2", issued.info.key_id)
    assert principal.scopes == {"ingest:feedback", "review"}
    principal.require("review")
    with pytest.raises(AccessError, match="--scope admin") as caught:
        principal.require("admin")
    assert (caught.value.reason, caught.value.status) == ("scope_missing", 403)


def test_a_key_has_the_form_that_secret_scanners_look_for(store):
    issued = create(store, env="test")
    name, env, key_id, secret = issued.plain.split("_")
    assert (name, env, key_id) == ("fp", "test", issued.info.key_id)
    assert len(secret) == 32
    assert secret.isalnum()
    assert len({create(store).plain for _ in range(20)}) == 20


def test_keys_outlive_the_process(store, tmp_path):
    issued = create(store)
    store.close()
    with KeyStore(tmp_path / "home" / "keys.sqlite") as again:
        assert again.verify(issued.plain, T0).key_id == issued.info.key_id
        assert again.list() == (issued.info,)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with KeyStore(tmp_path_factory.mktemp("shared") / "keys.sqlite") as opened:
        yield opened, create(opened).plain


KEY_LIKE = st.from_regex(r"fp_(live|test)_[a-z0-9]{12}_[A-Za-z0-9]{32}", fullmatch=True)


@given(st.text(max_size=80) | KEY_LIKE)
def test_no_other_text_gets_in(shared, text):
    store, plain = shared
    assert store.verify(plain, T0)
    assert refusal(store, text).reason in {"key_missing", "key_malformed", "key_unknown"}


@given(st.integers(0, 10**6), st.characters())
def test_no_key_with_another_letter_gets_in(shared, place, letter):
    store, plain = shared
    place %= len(plain)
    changed = plain[:place] + letter + plain[place + 1 :]
    if changed != plain:
        assert refusal(store, changed).reason in {"key_malformed", "key_unknown"}


@pytest.mark.parametrize("presented", [None, ""])
def test_without_a_key_one_is_asked_for(store, presented):
    assert refusal(store, presented).reason == "key_missing"


def test_what_is_no_key_is_called_malformed_and_never_repeated(store):
    plain = create(store).plain
    for text in (plain[:-1], plain + "x", plain.upper(), f" {plain}", f'"{plain}"', "fp_live", "é" * 50, "a" * 10**6):
        error = refusal(store, text)
        assert error.reason == "key_malformed"
        assert text not in str(error)


def test_a_wrong_secret_and_an_unknown_id_cannot_be_told_apart(store):
    plain = create(store, tenant="acme").plain
    wrong_secret, wrong_id = flipped(plain, -1), plain.replace(plain.split("_")[2], "a" * 12)
    wrong_env = plain.replace("fp_live_", "fp_test_")
    errors = [refusal(store, text) for text in (wrong_secret, wrong_id, wrong_env)]
    assert {(error.reason, str(error)) for error in errors} == {("key_unknown", str(errors[0]))}
    assert "acme" not in str(errors[0])


def test_a_dead_key_says_so_only_to_who_has_its_secret(store):
    plain, info = (issued := create(store, expires=T0 + HOUR)).plain, issued.info
    assert store.verify(plain, T0 + HOUR - SECOND)
    assert refusal(store, plain, T0 + HOUR).reason == "key_expired"
    assert refusal(store, flipped(plain, -1), T0 + HOUR).reason == "key_unknown"
    store.revoke(info.key_id, now=T0)
    assert refusal(store, plain).reason == "key_revoked"
    assert refusal(store, flipped(plain, -1)).reason == "key_unknown"


def test_a_revoked_key_stays_revoked(store):
    issued = create(store)
    first = store.revoke(issued.info.key_id, now=T0 + SECOND)
    assert first.revoked == T0 + SECOND
    assert store.revoke(issued.info.key_id, now=T0 + HOUR) == first
    assert first.state(T0) == "revoked"
    with pytest.raises(ConfigError, match="is revoked"):
        store.rotate(issued.info.key_id, HOUR, now=T0)
    with pytest.raises(NotFoundError, match="keys list"):
        store.revoke("nobody", now=T0)


def test_both_keys_are_good_while_the_overlap_lasts(store):
    old = create(store, ("read:dataset", "admin"), label="trainer")
    new = store.rotate(old.info.key_id, DAY, now=T0 + HOUR)
    before, after = T0 + HOUR + DAY - SECOND, T0 + HOUR + DAY
    assert store.verify(old.plain, before).scopes == store.verify(new.plain, before).scopes == {"read:dataset", "admin"}
    error = refusal(store, old.plain, after)
    assert error.reason == "key_expired"
    assert new.info.key_id in str(error)
    assert store.verify(new.plain, after + 365 * DAY).tenant == "acme"
    assert replace(new.info, key_id="", created=T0) == replace(old.info, key_id="", created=T0)
    with pytest.raises(ConfigError, match=new.info.key_id):
        store.rotate(old.info.key_id, DAY, now=T0 + HOUR)


def test_rotation_begins_a_limited_life_anew_and_never_lengthens_the_old_one(store):
    old = create(store, expires=T0 + 10 * DAY)
    new = store.rotate(old.info.key_id, 30 * DAY, now=T0 + 9 * DAY)
    assert new.info.expires == T0 + 19 * DAY
    assert refusal(store, old.plain, T0 + 10 * DAY).reason == "key_expired"
    with pytest.raises(ConfigError, match="is expired"):
        store.rotate(new.info.key_id, DAY, now=T0 + 19 * DAY)
    for overlap in (-SECOND, 400 * DAY):
        with pytest.raises(ConfigError, match="overlap"):
            store.rotate(new.info.key_id, overlap, now=T0 + 9 * DAY)


def test_a_change_in_another_process_counts_within_a_second(store, tmp_path):
    issued = create(store)
    now = datetime.now(UTC)
    assert store.verify(issued.plain, now)
    path = tmp_path / "home" / "keys.sqlite"
    subprocess.run([sys.executable, "-c", REVOKER, str(path), issued.info.key_id], check=True)
    assert store.verify(issued.plain, now + SECOND - timedelta(microseconds=1)), "not asked yet"
    assert refusal(store, issued.plain, now + SECOND).reason == "key_revoked"


def keep_verifying(store, plain, until):
    while time.monotonic() < until:
        store.verify(plain, datetime.now(UTC))


def test_a_running_server_refuses_a_revoked_key_within_about_a_second(store, tmp_path):
    """As above, by the real clock, while the key is in steady use."""
    issued = create(store)
    with KeyStore(tmp_path / "home" / "keys.sqlite") as other:
        assert store.verify(issued.plain, datetime.now(UTC))
        other.revoke(issued.info.key_id, now=datetime.now(UTC))
        revoked_at = time.monotonic()
        with pytest.raises(AccessError, match="was revoked"):
            keep_verifying(store, issued.plain, until=revoked_at + 30)
        assert time.monotonic() - revoked_at < 5, "about one second, and some for a busy machine"


def test_a_key_made_by_another_process_counts_within_a_second(store, tmp_path):
    assert refusal(store, "fp_live_aaaaaaaaaaaa_" + "a" * 32).reason == "key_unknown"
    with KeyStore(tmp_path / "home" / "keys.sqlite") as other:
        issued = create(other)
    assert refusal(store, issued.plain).reason == "key_unknown"
    assert store.verify(issued.plain, T0 + SECOND)


def test_many_may_make_the_store_and_its_keys_at_once(tmp_path):
    path = tmp_path / "new" / "keys.sqlite"

    def make(number):
        with KeyStore(path) as store:
            return [create(store, label=f"{number}").plain for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        plains = [plain for some in pool.map(make, range(4)) for plain in some]
    with KeyStore(path) as store:
        assert {store.verify(plain, T0).key_id for plain in plains} == {info.key_id for info in store.list()}
        assert len(store.list()) == 20


def test_a_clock_that_is_set_back_does_not_delay_a_revocation(store, tmp_path):
    issued = create(store)
    assert store.verify(issued.plain, T0 + DAY)
    with KeyStore(tmp_path / "home" / "keys.sqlite") as other:
        other.revoke(issued.info.key_id, now=T0)
    assert refusal(store, issued.plain, T0).reason == "key_revoked"


def test_nobody_gets_in_while_the_file_cannot_be_read(store, tmp_path):
    issued = create(store)
    assert store.verify(issued.plain, T0)
    store._ring.close()
    with pytest.raises(AccessError) as caught:
        store.verify(issued.plain, T0 + SECOND)
    assert (caught.value.reason, caught.value.status) == ("keys_unavailable", 503)
    assert str(tmp_path) not in str(caught.value)


def test_the_last_use_is_written_when_asked_and_once_a_minute_at_most(store):
    issued = create(store)
    used = lambda: store.list()[0].last_used  # noqa: E731
    store.verify(issued.plain, T0)
    assert used() is None
    assert (store.flush_used(), used()) == (1, T0)
    store.verify(issued.plain, T0 + 59 * SECOND)
    assert (store.flush_used(), used()) == (0, T0)
    store.verify(issued.plain, T0 + 60 * SECOND)
    assert (store.flush_used(), used()) == (1, T0 + 60 * SECOND)
    assert store.flush_used() == 0


def test_a_refused_key_was_not_used(store):
    issued = create(store)
    refusal(store, flipped(issued.plain, -1))
    store.revoke(issued.info.key_id, now=T0)
    refusal(store, issued.plain)
    assert store.flush_used() == 0


def test_keys_are_listed_by_tenant(store):
    one, two = create(store, tenant="one"), create(store, tenant="two")
    assert {info.key_id for info in store.list()} == {one.info.key_id, two.info.key_id}
    assert store.list("two") == (two.info,)
    assert store.list("three") == ()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tenant": "Acme"}, "'Acme' is not a tenant name"),
        ({"tenant": "../etc"}, "not a tenant name"),
        ({"scopes": ("ingest",)}, "'ingest' is unknown.*ingest:feedback"),
        ({"scopes": ()}, "without a scope"),
        ({"env": "Live"}, "'Live' is not 1 to 16 letters"),
        ({"label": "two\nlines"}, "not one line"),
        ({"expires": T0}, "does not lie ahead"),
        ({"expires": datetime(2030, 1, 1)}, "no time zone"),  # noqa: DTZ001
        ({"origins": ("example",), "signing": False, "expires": None, "label": "x"}, "origin 'example'"),
        ({"origins": ("https://a.example.com",), "scopes": ("ingest:feedback", "review")}, "only"),
        ({"origins": ("https://a.example.com",), "signing": True}, "cannot keep a signing secret"),
    ],
)
def test_what_cannot_be_in_a_key_is_named(store, fields, words):
    with pytest.raises(ConfigError, match=words):
        create(store, **fields)
    assert store.list() == ()


@given(st.text(alphabet=st.sampled_from("ab_-Z9/. é\n"), max_size=70))
def test_a_tenant_name_is_a_safe_folder_name(name):
    fits = 0 < len(name) <= 63 and set(name) <= set("ab_-9") and name[0] not in "_-"
    assert is_tenant(name) == fits
    if fits:
        assert checked_tenant(name) == name
        assert Path("home", name).parts == ("home", name)


def test_in_development_everything_is_allowed():
    principal = loopback_dev("acme")
    assert (principal.tenant, principal.key_id) == ("acme", LOOPBACK_DEV)
    for scope in SCOPES:
        principal.require(scope)
    with pytest.raises(ConfigError):
        loopback_dev("Not a tenant")


def test_a_signing_key_brings_its_secret_and_rotation_keeps_two(store):
    issued = create(store, ("ingest:inference",), signing=True)
    first = signatures.read_secret(issued.signing_secret)
    assert store.verify(issued.plain, T0).signing_secrets(T0) == (first,)
    second = signatures.read_secret(store.rotate_signing(issued.info.key_id, HOUR, now=T0))
    principal = store.verify(issued.plain, T0)
    assert principal.signing_secrets(T0 + HOUR - SECOND) == (second, first)
    assert principal.signing_secrets(T0 + HOUR) == (second,)
    third = signatures.read_secret(store.rotate_signing(issued.info.key_id, HOUR, now=T0))
    assert store.verify(issued.plain, T0).signing_secrets(T0) == (third, second)
    heir = store.rotate(issued.info.key_id, HOUR, now=T0)
    secrets = store.verify(heir.plain, T0).signing_secrets(T0)
    assert secrets == (signatures.read_secret(heir.signing_secret),)
    assert secrets[0] not in (first, second, third)
    plain = create(store)
    assert plain.signing_secret is None
    with pytest.raises(ConfigError, match="not signed"):
        store.rotate_signing(plain.info.key_id, HOUR, now=T0)


def every_form(issued):
    """All spellings of the secrets of an issued key."""
    secret = issued.plain.split("_")[3]
    raw = signatures.read_secret(issued.signing_secret)
    encoded = base64.b64encode(raw)
    return [issued.plain.encode(), secret.encode(), raw, encoded, raw.hex().encode(), repr(raw)[2:-1].encode()]


def test_no_secret_is_in_any_file(store, tmp_path):
    issued = [create(store, signing=True)]
    issued.append(store.rotate(issued[0].info.key_id, HOUR, now=T0))
    store.verify(issued[1].plain, T0)
    store.flush_used()
    files = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert {"keys.sqlite", "keys.sqlite-wal", "keys.key"} <= {path.name for path in files}
    kept = b"".join(path.read_bytes() for path in files)
    assert issued[0].info.key_id.encode() in kept, "the files hold what was written"
    assert not [form for one in issued for form in every_form(one) if form in kept]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_no_secret_shows_in_a_repr_a_message_or_a_log(store, caplog):
    caplog.set_level(logging.DEBUG)
    issued = create(store, signing=True)
    principal = store.verify(issued.plain, T0)
    store.rotate_signing(issued.info.key_id, HOUR, now=T0)
    store.revoke(issued.info.key_id, now=T0)
    errors = [
        refusal(store, issued.plain),
        refusal(store, flipped(issued.plain, 20)),
        refusal(store, issued.plain[:-1]),
    ]
    known = list(store._ring._known.values())
    things = [issued, issued.info, principal, principal.signing, known, store, store._file, *errors, caplog.text]
    logging.getLogger("test").warning("%s %r", issued, principal)
    shown = "".join(f"{thing!r} {thing!s}" for thing in [*things, caplog.text]).encode()
    assert issued.info.key_id.encode() in shown
    assert not [form for form in every_form(issued) if form in shown]


def test_a_lost_key_file_is_noticed(store, tmp_path):
    create(store, signing=True)
    store.close()
    (tmp_path / "home" / "keys.key").unlink()
    with pytest.raises(AccessError, match="Restore the two") as caught:
        KeyStore(tmp_path / "home" / "keys.sqlite")
    assert caught.value.status == 503


def test_a_file_that_is_no_database_or_newer_is_refused_with_words(tmp_path):
    path = tmp_path / "keys.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(AccessError, match="restore it from a backup"):
        KeyStore(path)
    path.unlink()
    with closing(KeyFile(path)) as file:
        file.rows("PRAGMA user_version = 2")
    with pytest.raises(AccessError, match="Upgrade feedback_platform"):
        KeyStore(path)


def test_the_file_lies_below_home(tmp_path):
    assert key_store_path(Settings(home=tmp_path, tenant="acme")) == tmp_path / "keys.sqlite"


def test_a_principal_cannot_be_changed():
    principal = Principal("acme", "k", frozenset({"review"}))
    with pytest.raises(AttributeError):
        principal.tenant = "other"  # type: ignore[misc]
