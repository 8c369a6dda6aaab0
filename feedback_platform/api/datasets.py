"""Published versions over HTTP, so that a training machine needs a key and no access to the lake's disk. Read-only."""

import asyncio
import re
from collections.abc import Collection
from urllib.parse import parse_qsl, quote

import msgspec

from feedback_platform.api.access import principal
from feedback_platform.api.call import Call, Header
from feedback_platform.api.content import Content, Part, send, tar_parts
from feedback_platform.api.problems import Problem
from feedback_platform.api.served import Served, served
from feedback_platform.api.server import Server
from feedback_platform.compile.manifest import Manifest, ManifestStore, datasets_in, summary
from feedback_platform.errors import NotFoundError
from feedback_platform.publish.export import FORMATS
from feedback_platform.settings import Settings

TAR = "application/x-tar"
MEDIA_TYPES = {
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".md": "text/markdown; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
}
LATEST = "latest"
VERSION = re.compile(r"latest|[1-9][0-9]{0,8}", re.ASCII)


class Version(msgspec.Struct, frozen=True):
    """A published version.

    Attributes:
        version: its number.
        window: the compilation window that it came from.
        published_at: when, in UTC.
        trigger: why it was compiled.
        rows: objective -> examples.
        changes: examples added, updated and removed since the version before.
        log_positions: last events of each stream that it has seen.
        config_hash: identifies the configuration.
        semantics: stage -> the version of its rules.
        change_hash: identifies the change set.
        state_hash: identifies the content: equal hashes, equal examples.
        yanked: why it should no longer be used; null for a good version.
    """

    version: int
    window: int
    published_at: str
    trigger: str
    rows: dict[str, int]
    changes: dict[str, int]
    log_positions: dict[str, int]
    config_hash: str
    semantics: dict[str, int]
    change_hash: str
    state_hash: str
    yanked: str | None


class VersionList(msgspec.Struct, frozen=True):
    """The published versions of a dataset.

    Attributes:
        dataset: its name.
        latest: the newest version that is not yanked; null when there is none.
        formats: formats that an export can be asked for in.
        versions: oldest first.
    """

    dataset: str
    latest: int | None
    formats: list[str]
    versions: list[Version]


async def list_versions(server: Server, call: Call) -> None:
    """`GET /v1/datasets/{name}/versions`."""
    settings = await _settings(server, call)
    _query(call, ())
    name = call.scope["path_params"]["name"]
    published = await asyncio.to_thread(_published, settings, name)
    good = [m.version for m in published if m.yanked is None]
    versions = [msgspec.convert(summary(m), Version) for m in published]
    await call.answer_json(200, VersionList(name, good[-1] if good else None, list(FORMATS), versions))


async def export_version(server: Server, call: Call) -> None:
    """`GET /v1/datasets/{name}/versions/{version}/export`: all files in a tar, or one of them; resumable."""
    settings = await _settings(server, call)
    asked = _query(call, ("format", "file"))
    format = asked.get("format", "")
    if format not in FORMATS:
        found = f"format {format[:80]!r} is not known" if "format" in asked else "a format is missing"
        raise Problem(400, "query_invalid", f"{found}; ask for ?format= one of {', '.join(FORMATS)}.")
    params = call.scope["path_params"]
    manifest = await asyncio.to_thread(_version, settings, params["name"], params["version"])
    export = await served(server, settings, manifest, format)
    about = f"{manifest.dataset}-v{manifest.version}-{format}"
    content = _file(export, asked["file"], about) if "file" in asked else _whole(export, about)
    await send(call, content, _headers(manifest))


async def _settings(server: Server, call: Call) -> Settings:
    """The settings of the caller's tenant."""
    speaker = principal(server, call, "read:dataset")
    opened = await server.tenant(speaker.tenant)
    server.take(opened, speaker, 1)
    return opened.tenant.settings


def _query(call: Call, known: Collection[str]) -> dict[str, str]:
    """The query's parameters.

    Raises:
        Problem: 400 for one that is not known, or is there twice.
    """
    pairs = parse_qsl(call.scope["query_string"].decode("latin-1"), keep_blank_values=True, errors="replace")
    asked = dict(pairs)
    strange = [name for name in asked if name not in known]
    if strange:
        may = f"Known here: {', '.join(known)}." if known else "There are none here."
        raise Problem(400, "query_invalid", f"The query parameter {strange[0][:80]!r} is not known. {may}")
    if len(asked) < len(pairs):
        raise Problem(400, "query_invalid", "A query parameter is there twice; send each once.")
    return asked


def _published(settings: Settings, name: str) -> list[Manifest]:
    """The dataset's published windows in the order of their versions; only names that exist become paths."""
    compiled = list(datasets_in(settings.lake))
    if name not in compiled:
        listed = ", ".join(compiled) or "none yet"
        raise NotFoundError(f"No dataset {name[:80]!r} has been compiled. Compiled: {listed}.")
    windows = ManifestStore(settings.lake / name).all()
    return sorted((m for m in windows if m.status == "published"), key=lambda m: m.version or 0)


def _version(settings: Settings, name: str, version: str) -> Manifest:
    """A version by its number, yanked or not; `latest` is the newest that is not."""
    published = _published(settings, name)
    if VERSION.fullmatch(version):
        chosen = [m for m in published if (m.yanked is None if version == LATEST else str(m.version) == version)]
        if chosen:
            return chosen[-1]
    listed = ", ".join(f"{m.version}{' (yanked)' if m.yanked is not None else ''}" for m in published) or "none yet"
    raise NotFoundError(f"{name} has no published version {version[:80]!r}. Versions: {listed}; or {LATEST!r}.")


def _whole(export: Served, about: str) -> Content:
    """All files. Their manifest holds the checksum of each, so its own checksum identifies the tar."""
    files = export.files.values()
    parts = tar_parts(export.folder, [(file.path, file.bytes) for file in files])
    return Content(parts, TAR, f"tar-{next(iter(files)).sha256}", f"{about}.tar")


def _file(export: Served, path: str, about: str) -> Content:
    """One file, which the export's manifest lists."""
    file = export.files.get(path)
    if file is None:
        listed = ", ".join(export.files)
        raise Problem(400, "query_invalid", f"The export has no file {path[:80]!r}. It has: {listed}.")
    on_disk = export.folder / file.path
    media_type = MEDIA_TYPES.get(on_disk.suffix, "application/octet-stream")
    name = re.sub(r"[^A-Za-z0-9._-]", "-", f"{about}-{path}")
    return Content((Part(on_disk, file.bytes),), media_type, file.sha256, name)


def _headers(manifest: Manifest) -> list[Header]:
    """Which version it is, where `latest` was asked for; and a warning with one that should not be used."""
    told = [(b"feedback-version", str(manifest.version).encode())]
    if manifest.yanked is not None:
        told.append((b"feedback-yanked", quote(manifest.yanked[:500], safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~").encode()))
    return told
