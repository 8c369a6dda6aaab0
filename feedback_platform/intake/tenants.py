"""One tenant at work: its log, its door, and what its `tenant.yaml` says about privacy, limits and tokens.

`FEEDBACK_HOME/<tenant>/tenant.yaml` is optional and read once, when the tenant is opened.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from feedback_platform.errors import ConfigError
from feedback_platform.intake.door import Door
from feedback_platform.intake.guards.origins import normal_pattern
from feedback_platform.intake.guards.principal import checked_tenant, is_tenant
from feedback_platform.intake.guards.tokens import token_key
from feedback_platform.intake.log_files import secret_key
from feedback_platform.intake.privacy.policy import PrivacyPolicy, parse_privacy
from feedback_platform.intake.privacy.protect import Privacy
from feedback_platform.intake.sqlite_log import SqliteEventLog, open_log
from feedback_platform.settings import Settings

CONFIG = "tenant.yaml"
MAX_RATE = 1e9


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
        LogError: the log cannot be opened.
    """
    own = replace(settings, tenant=checked_tenant(name or settings.tenant))
    config = read_config(own.root / CONFIG)
    log = open_log(own.log_path)
    privacy = Privacy(config.privacy, pseudonym_key(own))
    door = Door(log, own.tenant, clock, privacy)
    return Tenant(own, config, log, door, privacy, token_signing_key(own))


def pseudonym_key(settings: Settings) -> bytes:
    """The key of the tenant's pseudonyms; made when absent. Without it nobody can tell whose a pseudonym is."""
    return secret_key(settings.log_path.with_name("pseudonym.key"))


def token_signing_key(settings: Settings) -> bytes:
    """The key that signs the tenant's feedback tokens; made when absent."""
    return token_key(secret_key(settings.log_path.with_name("token.key")))


def read_config(path: Path) -> TenantConfig:
    """A tenant's settings; the defaults where there is no file.

    Raises:
        ConfigError: the file is no YAML mapping, or names something unknown or impossible.
    """
    if not path.exists():
        return TenantConfig()
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not YAML: {error}. Mend it or remove it for the defaults.") from None
    if not isinstance(given, dict) or not set(given) <= {"privacy", "limits", "origins"}:
        raise ConfigError(f"{path}: expected a mapping with any of privacy, limits and origins.")
    try:
        return _config(given)
    except (ConfigError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: {error}") from None


def configured_origins(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The web origins of every tenant below the home that has a `tenant.yaml`.

    Raises:
        ConfigError: one of them cannot be used.
    """
    paths = sorted(settings.home.glob(f"*/{CONFIG}"))
    return {path.parent.name: read_config(path).origins for path in paths if is_tenant(path.parent.name)}


def _config(given: Mapping[str, Any]) -> TenantConfig:
    return TenantConfig(
        privacy=parse_privacy(msgspec.convert(given.get("privacy") or {}, dict[str, Any])),
        limits=msgspec.convert(given.get("limits") or {}, Limits),
        origins=tuple(map(normal_pattern, msgspec.convert(given.get("origins") or [], list[str]))),
    )
