"""One tenant at work: its log, its door, and what its `tenant.yaml` says about privacy, limits and tokens.

`FEEDBACK_HOME/<tenant>/tenant.yaml` is optional and read once, when the tenant is opened.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from feedback_platform.errors import ConfigError, LogError, NotFoundError
from feedback_platform.intake.door import Door
from feedback_platform.intake.guards.origins import normal_pattern
from feedback_platform.intake.guards.principal import checked_tenant, is_tenant
from feedback_platform.intake.guards.tokens import token_key
from feedback_platform.intake.log_files import read_key
from feedback_platform.intake.privacy.policy import PrivacyPolicy, parse_privacy
from feedback_platform.intake.privacy.protect import Privacy
from feedback_platform.intake.sqlite_log import SqliteEventLog, open_log
from feedback_platform.settings import Settings

CONFIG = "tenant.yaml"
PSEUDONYM_KEY, TOKEN_KEY = "pseudonym.key", "token.key"
MAX_RATE = 1e9

_log = logging.getLogger(__name__)


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token bucket: events per second in the long run, and at once."""

    per_second: Annotated[float, msgspec.Meta(gt=0, le=MAX_RATE)]
    burst: Annotated[float, msgspec.Meta(ge=1, le=MAX_RATE)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much may come in; counted per server process.

    Attributes:
        key: for each API key.
        user: feedback of each end user (`user_id`, else `source.id` of a person).
    """

    key: Rate = Rate(100_000, 200_000)
    user: Rate = Rate(10, 200)


@dataclass(frozen=True, slots=True)
class TenantConfig:
    """What `tenant.yaml` says.

    Attributes:
        privacy: what happens to personal data at the door.
        limits: rates.
        origins: web origins whose pages may send feedback with a feedback token.
    """

    privacy: PrivacyPolicy = field(default_factory=PrivacyPolicy)
    limits: Limits = field(default_factory=Limits)
    origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tenant:
    """An open tenant.

    Attributes:
        settings: the platform's settings, for this tenant.
        config: its `tenant.yaml`.
        log, door, privacy: where its events go.
        token_key: what its feedback tokens are signed with.
    """

    settings: Settings
    config: TenantConfig
    log: SqliteEventLog
    door: Door
    privacy: Privacy
    token_key: bytes

    def close(self) -> None:
        """Release the log."""
        self.log.close()

    def __enter__(self) -> "Tenant":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def now_utc() -> datetime:
    """The time of receipt."""
    return datetime.now(UTC)


def open_tenant(settings: Settings, name: str | None = None, clock: Callable[[], datetime] = now_utc) -> Tenant:
    """Open a tenant's log and door, creating log and keys when absent.

    Raises:
        ConfigError: the name or its `tenant.yaml` cannot be.
        LogError: the log cannot be opened, or one of its keys is gone or another's.
    """
    own = replace(settings, tenant=checked_tenant(name or settings.tenant))
    config = read_config(own.root / CONFIG)
    log = open_log(own.log_path)
    try:
        pseudonyms = log.own_key(PSEUDONYM_KEY, "the same people would get other pseudonyms")
        tokens = log.own_key(TOKEN_KEY, "the feedback tokens that pages hold would be refused")
    except LogError:
        log.close()
        raise
    privacy = Privacy(config.privacy, pseudonyms)
    door = Door(log, own.tenant, clock, privacy)
    return Tenant(own, config, log, door, privacy, token_key(tokens))


def pseudonym_key(settings: Settings) -> bytes:
    """The key of the tenant's pseudonyms. Without it nobody can tell whose a pseudonym is.

    Raises:
        NotFoundError: there is none; it is made when the tenant is opened for the first time.
    """
    return _existing_key(settings, PSEUDONYM_KEY)


def token_signing_key(settings: Settings) -> bytes:
    """The key that signs the tenant's feedback tokens.

    Raises:
        NotFoundError: there is none; it is made when the tenant is opened for the first time.
    """
    return token_key(_existing_key(settings, TOKEN_KEY))


def _existing_key(settings: Settings, name: str) -> bytes:
    path = settings.log_path.with_name(name)
    try:
        return read_key(path)
    except FileNotFoundError:
        raise NotFoundError(
            f"{path} does not exist: tenant {settings.tenant!r} has accepted no event in this home. Check --home and "
            "--tenant; if it has, restore the key from the backup of its log."
        ) from None


def read_config(path: Path) -> TenantConfig:
    """A tenant's settings; the defaults where there is no file.

    Raises:
        ConfigError: the file is no YAML mapping, or names something unknown or impossible.
    """
    if not path.exists():
        return TenantConfig()
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:  # impossible dates, deep nesting
        raise ConfigError(f"{path} is not YAML: {error}. Mend it or remove it for the defaults.") from None
    if not isinstance(given, dict) or not set(given) <= {"privacy", "limits", "origins"}:
        raise ConfigError(f"{path}: expected a mapping with any of privacy, limits and origins.")
    try:
        return _config(given)
    except (ConfigError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: {error}") from None


def configured_origins(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The web origins of every tenant below the home that has a `tenant.yaml`.

    One that cannot be used is logged and left out, so that a tenant's mistake is not that of the others; who opens
    that tenant gets the error.
    """
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(settings.home.glob(f"*/{CONFIG}")):
        if is_tenant(name := path.parent.name):
            try:
                found[name] = read_config(path).origins
            except ConfigError as error:
                _log.error("Tenant %s cannot be opened: %s", name, error)
    return found


def _config(given: Mapping[str, Any]) -> TenantConfig:
    return TenantConfig(
        privacy=parse_privacy(msgspec.convert(given.get("privacy") or {}, dict[str, Any])),
        limits=msgspec.convert(given.get("limits") or {}, Limits),
        origins=tuple(map(normal_pattern, msgspec.convert(given.get("origins") or [], list[str]))),
    )
