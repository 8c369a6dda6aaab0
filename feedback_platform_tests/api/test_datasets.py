"""Published versions over HTTP: the same bytes as an export on disk, whole, by file, by range, and only one's own."""

import asyncio
import hashlib
import http.client
import io
import json
import os
import shutil
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.api import served as serving
from feedback_platform.api.server import Server
from feedback_platform.compile.manifest import evolve
from feedback_platform.intake.guards.keys import KeyStore, key_store_path
from feedback_platform.lake.locks import exclusive
from feedback_platform.publish.export import FORMATS, export_version
from feedback_platform_tests.api.asgi import ask
from feedback_platform_tests.api.serving import Answer, Served, served
from feedback_platform_tests.publish.builders import NAME, Book, pair, sft, thumb

EXPORT = f"/v1/datasets/{NAME}/versions/{{}}/export?format={{}}"
LARGE = 20_000_000  # more than the buffers between a server and a client hold
BAD = "a bad day"
WHY = "labels of a bad day: «ä»\n"


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Book:
    """Four versions, of which the second and the last are yanked, and an open window."""
    book = Book(tmp_path_factory.mktemp("lake") / "home")
    first = [sft("a", target="Hello"), sft("b", target="Bye", split="validation"), pair("p")]
    book.publish(first)
    second = book.publish([*first, sft("c", target="Third")])
    large = pair("q", chosen="Q" * LARGE)
    book.publish([*first, sft("d", target="D" * 300_000), thumb("t", True), large])
    book.store.save(evolve(second, yanked=WHY))
    book.yank(book.publish(first))
    book.publish(first, status="open")
    return book


@pytest.fixture(scope="module")
def keys(book) -> dict[str, str]:
    """A key of this tenant without the scope, and one of another tenant with it."""
    now = datetime.now(UTC)
    with KeyStore(key_store_path(book.settings)) as store:
        return {
            "no scope": store.create("default", ["ingest:inference"], "test", now=now).plain,
            "stranger": store.create("other", ["read:dataset"], "test", now=now).plain,
            "trainer": store.create("default", ["read:dataset"], "test", now=now).plain,
        }


@pytest.fixture(scope="module")
def server(book, keys):
    with served(book.settings.home, "--dev") as running:
        yield running


@pytest.fixture(scope="module")
def exported(book, tmp_path_factory):
    """A function: the folder of the export that the library makes of a version."""
    made: dict[tuple[int, str], Path] = {}

    def folder(version: int, name: str) -> Path:
        if (version, name) not in made:
            out = made[version, name] = tmp_path_factory.mktemp("export") / name
            export_version(book.lake, book.store.version(version), format=name, out=out, settings=book.settings)
        return made[version, name]

    return folder


def unpacked(body: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]


def on_disk(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def on_a_connection_of_its_own(server: Served, path: str) -> Answer:
    own = Served(server.home, server.port, server.process)
    try:
        return own.get(path)
    finally:
        own.drop()


def test_versions_are_listed_with_what_the_manifests_say(server, book):
    answer = server.get(f"/v1/datasets/{NAME}/versions")
    assert answer.status == 200
    told = answer.json
    assert (told["dataset"], told["latest"], told["formats"]) == (NAME, 3, list(FORMATS))
    assert [(v["version"], v["yanked"]) for v in told["versions"]] == [(1, None), (2, WHY), (3, None), (4, BAD)]
    assert [v["state_hash"] for v in told["versions"]] == [m.state_hash for m in book.store.versions()]


@pytest.mark.parametrize("name", ["parquet", "sft", "dpo"])
def test_the_tar_holds_the_export_manifest_first(server, exported, name):
    answer = server.get(EXPORT.format(3, name))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-tar")
    files = unpacked(answer.body)
    assert files == on_disk(exported(3, name))
    assert list(files) == ["manifest.json", *sorted(set(files) - {"manifest.json"})]
    told = {f["path"]: f["sha256"] for f in json.loads(files["manifest.json"])["files"]}
    assert told == {path: hashlib.sha256(text).hexdigest() for path, text in files.items() if path in told}
    assert len(told) == len(files) - 1


def test_the_tar_is_what_tarfile_itself_would_write(server, exported):
    """So every tar program reads it; no time, owner or mode of the server's disk is in it."""
    answer = server.get(EXPORT.format(3, "parquet"))
    files, expected = on_disk(exported(3, "parquet")), io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w") as tar:
        for path in ["manifest.json", *sorted(set(files) - {"manifest.json"})]:
            entry = tarfile.TarInfo(path)
            entry.size = len(files[path])
            tar.addfile(entry, io.BytesIO(files[path]))
    assert answer.body == expected.getvalue()
    assert int(answer.headers["content-length"]) == len(answer.body)


def test_each_file_can_be_fetched_with_its_checksum_as_etag(server, exported):
    folder = exported(3, "parquet")
    kinds = {".json": "application/json", ".parquet": "application/vnd.apache.parquet", ".md": "text/markdown"}
    for path, text in on_disk(folder).items():
        answer = server.get(EXPORT.format(3, "parquet") + f"&file={path}")
        assert (answer.status, answer.body) == (200, text), path
        assert answer.headers["etag"] == f'"{hashlib.sha256(text).hexdigest()}"'
        assert answer.headers["content-type"].startswith(kinds[Path(path).suffix])


def test_the_bytes_are_the_same_after_the_cache_is_gone(server, book):
    first = server.get(EXPORT.format(1, "sft"))
    shutil.rmtree(book.settings.exports / ".served")
    again = server.get(EXPORT.format(1, "sft"))
    assert (again.status, again.body) == (200, first.body)
    assert again.headers["etag"] == first.headers["etag"]


def test_latest_is_the_newest_that_is_not_yanked(server, book):
    latest, third = (server.get(EXPORT.format(v, "sft")) for v in ("latest", 3))
    assert latest.body == third.body
    assert latest.headers["feedback-version"] == "3"
    assert "feedback-yanked" not in latest.headers
    yanked = server.get(EXPORT.format(2, "sft"))
    assert yanked.status == 200
    assert yanked.headers["feedback-yanked"] == "labels of a bad day: %C2%AB%C3%A4%C2%BB%0A"


@given(data=st.data())
def test_any_range_is_that_part_of_the_whole(server, data):
    path = data.draw(st.sampled_from(["", "&file=train.jsonl", "&file=manifest.json"]))
    url = EXPORT.format(3, "sft") + path
    whole = server.get(url).body
    first = data.draw(st.integers(0, len(whole) - 1))
    last = data.draw(st.integers(first, 2 * len(whole)))
    asked, expected = data.draw(
        st.sampled_from(
            [
                (f"bytes={first}-{last}", whole[first : last + 1]),
                (f"bytes={first}-", whole[first:]),
                (f"bytes=-{first + 1}", whole[-first - 1 :]),
            ]
        )
    )
    part = server.get(url, headers={"Range": asked})
    assert (part.status, part.body) == (206, expected)
    begin = len(whole) - len(expected) if asked.startswith("bytes=-") else first
    assert part.headers["content-range"] == f"bytes {begin}-{begin + len(expected) - 1}/{len(whole)}"
    assert part.headers["content-length"] == str(len(expected))


def test_ranges_that_are_none_give_the_whole_and_those_behind_the_end_a_416(server):
    url = EXPORT.format(3, "sft")
    whole = server.get(url)
    for text in ("bytes=5-2", "bytes=-", "bytes=a-b", "items=0-1", "bytes=0-1,4-5", "bytes=²-³"):
        answer = server.get(url, headers={"Range": text.encode("latin-1")})
        assert (answer.status, answer.body) == (200, whole.body), text
    for text in (f"bytes={len(whole.body)}-", "bytes=999999999-", "bytes=-0"):
        answer = server.get(url, headers={"Range": text})
        assert (answer.status, answer.reason) == (416, "range_unsatisfiable")
        assert answer.headers["content-range"] == f"bytes */{len(whole.body)}"


def test_an_interrupted_download_goes_on_only_with_the_same_bytes(server):
    url = EXPORT.format(3, "sft")
    whole = server.get(url)
    tag = whole.headers["etag"]
    rest = server.get(url, headers={"Range": "bytes=1000-", "If-Range": tag})
    assert (rest.status, whole.body[:1000] + rest.body) == (206, whole.body)
    other = server.get(url, headers={"Range": "bytes=1000-", "If-Range": '"another"'})
    assert (other.status, other.body) == (200, whole.body)
    assert server.get(url, headers={"If-None-Match": f'"x", W/{tag}'}).status == 304
    assert server.get(url, headers={"If-None-Match": '"x"'}).status == 200


def test_head_tells_the_size_and_sends_nothing(server):
    url = EXPORT.format(3, "sft")
    head, whole = server.call("HEAD", url), server.get(url)
    assert (head.status, head.body) == (200, b"")
    assert {k: head.headers[k] for k in ("content-length", "etag")} == {
        k: whole.headers[k] for k in ("content-length", "etag")
    }


@pytest.mark.parametrize(
    ("path", "status", "reason", "told"),
    [
        ("/v1/datasets/nobody/versions", 404, "not_found", NAME),
        ("/v1/datasets/nobody/versions/1/export?format=sft", 404, "not_found", NAME),
        ("/v1/datasets/..%2F..%2Fetc/versions", 404, "path_unknown", "/docs"),
        ("/v1/datasets/../versions", 404, "not_found", NAME),
        (EXPORT.format(9, "sft"), 404, "not_found", "Versions: 1, 2 (yanked), 3, 4 (yanked); or 'latest'"),
        (EXPORT.format(5, "sft"), 404, "not_found", "Versions: 1, 2 (yanked), 3, 4 (yanked); or 'latest'"),
        (EXPORT.format("01", "sft"), 404, "not_found", "latest"),
        (EXPORT.format("%D9%A1", "sft"), 404, "not_found", "latest"),
        (EXPORT.format(1, "csv"), 400, "query_invalid", "parquet, sft"),
        (EXPORT.format(1, "..%2Fsft"), 400, "query_invalid", "parquet, sft"),
        (EXPORT.format(1, ""), 400, "query_invalid", "parquet, sft"),
        (EXPORT.format(1, "sft").partition("?")[0], 400, "query_invalid", "a format is missing"),
        (EXPORT.format(1, "sft") + "&format=dpo", 400, "query_invalid", "twice"),
        (EXPORT.format(1, "sft") + "&files=x", 400, "query_invalid", "format, file"),
        (EXPORT.format(1, "sft") + "&file=", 400, "query_invalid", "manifest.json"),
        (EXPORT.format(1, "sft") + "&file=../../../../log/events.sqlite", 400, "query_invalid", "manifest.json"),
        (EXPORT.format(1, "sft") + "&file=%2Fetc%2Fpasswd", 400, "query_invalid", "manifest.json"),
        (EXPORT.format(1, "sft") + "&file=.sft.lock", 400, "query_invalid", "manifest.json"),
        (EXPORT.format(1, "sft") + "&file=./train.jsonl", 400, "query_invalid", "train.jsonl"),
        (EXPORT.format(1, "kto"), 409, "export_impossible", "unpaired"),
        (f"/v1/datasets/{NAME}/versions?page=2", 400, "query_invalid", "page"),
    ],
)
def test_what_is_not_there_is_refused_with_what_there_is(server, path, status, reason, told):
    answer = server.get(path)
    assert (answer.status, answer.reason) == (status, reason)
    assert told in answer.json["detail"]


def test_only_a_key_of_the_tenant_with_the_scope_reads(server, keys):
    for path in (f"/v1/datasets/{NAME}/versions", EXPORT.format(1, "sft")):
        assert server.get(path, key=keys["trainer"]).status == 200
        refused = server.get(path, key=keys["no scope"])
        assert (refused.status, refused.reason) == (403, "scope_missing")
        stranger = server.get(path, key=keys["stranger"])
        assert (stranger.status, stranger.reason) == (404, "not_found")
        assert "none yet" in stranger.json["detail"], "another tenant's datasets are not named"


def test_an_export_that_is_damaged_or_of_another_lake_is_made_again(server, book):
    url = EXPORT.format(1, "dpo")
    first = server.get(url)
    folder = book.settings.exports / ".served" / NAME / "v1" / "dpo"
    with (folder / "train.jsonl").open("ab") as file:
        file.write(b"more")
    assert server.get(url).body == first.body
    manifest = book.store.version(1)
    try:
        book.store.save(evolve(manifest, state_hash="6" * 64))
        restored = server.get(url)
        assert json.loads(unpacked(restored.body)["manifest.json"])["state_hash"] == "6" * 64
        assert restored.headers["etag"] != first.headers["etag"]
    finally:
        book.store.save(manifest)


def test_many_who_ask_at_once_share_one_making_and_hold_up_nobody(server, book):
    """The test holds the lock that the making needs; there are more askers than places for slow work."""
    folder = book.settings.exports / ".served" / NAME / "v2" / "openai-sft"
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(".openai-sft.lock")
    url = EXPORT.format(2, "openai-sft")
    with ThreadPoolExecutor(8) as pool:
        with exclusive(lock, wait_seconds=0, what="test"):
            waiting = [pool.submit(on_a_connection_of_its_own, server, url) for _ in range(8)]
            time.sleep(0.5)
            assert server.get("/v1/events/nobody").status == 404, "slow work finds no place"
            assert not any(future.done() for future in waiting)
        answers = [future.result() for future in waiting]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    left = {name for name in os.listdir(folder.parent) if folder.name in name}
    assert left == {folder.name, lock.name}, "the export and its lock, nothing else"


def test_who_waits_too_long_is_told_to_come_back_and_then_finds_it(book, monkeypatch):
    monkeypatch.setattr(serving, "PATIENCE_SECONDS", 0.2)
    folder = book.settings.exports / ".served" / NAME / "v2" / "parquet"
    folder.parent.mkdir(parents=True, exist_ok=True)

    async def during_and_after() -> tuple[Answer, Answer]:
        server = Server(book.settings, dev=True)
        with exclusive(folder.with_name(".parquet.lock"), wait_seconds=0, what="test"):
            early = await ask(server, EXPORT.format(2, "parquet"))
        while not folder.exists():
            await asyncio.sleep(0.02)
        later = await ask(server, EXPORT.format(2, "parquet"))
        await server.stop()
        return early, later

    early, later = asyncio.run(during_and_after())
    assert (early.status, early.reason, early.headers["retry-after"]) == (503, "export_in_progress", "5")
    assert later.status == 200


def test_a_reader_that_goes_away_stops_the_reading(server):
    url = EXPORT.format(3, "dpo") + "&file=train.jsonl"
    assert int(server.call("HEAD", url).headers["content-length"]) > LARGE
    connections = []
    for _ in range(4):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", url)
        connection.getresponse().read(10)
        connections.append(connection)
    assert len(_open_files(server)) == 4, "each waits in the middle of the file"
    before = _bytes_read(server)
    for connection in connections:
        connection.close()
    deadline = time.monotonic() + 10
    while _open_files(server) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _open_files(server)
    assert _bytes_read(server) - before < LARGE, "four rests of the file would be far more"


def _bytes_read(server: Served) -> int:
    return int(Path(f"/proc/{server.process.pid}/io").read_text().split()[1])


def _open_files(server: Served) -> list[str]:
    """Files of exports that the server process has open."""
    found = []
    for link in Path(f"/proc/{server.process.pid}/fd").iterdir():
        try:
            found.append(os.readlink(link))
        except FileNotFoundError:
            continue
    return [name for name in found if ".served" in name]
