from __future__ import annotations

import asyncio
import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from circinus.errors import InvalidInput
from circinus.messages import Artifact
from circinus_agent.artifacts import ArtifactCache, ArtifactError, unpack


def tar(
    members: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] | None = None
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if change:
                change(info)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def fetch(cache: ArtifactCache, content: bytes, **changes: object) -> Path:
    """Fetch `content` from a server that gives it out, or what `sent` says."""
    sent = changes.pop("sent", content)
    status = changes.pop("status", 200)

    async def run() -> Path:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(body=sent, status=status)  # type: ignore[arg-type]

        app = web.Application()
        app.router.add_get("/x", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            known = {
                "sha256": hashlib.sha256(content).hexdigest(),
                "size_bytes": len(content),
                "url": f"http://127.0.0.1:{port}/x",
            }
            async with aiohttp.ClientSession() as session:
                return await cache.fetch(Artifact(**{**known, **changes}), session)  # type: ignore[arg-type]
        finally:
            await runner.cleanup()

    return asyncio.run(run())


@pytest.fixture
def cache(tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "cache", 1_000_000)


def leftovers(cache: ArtifactCache) -> list[str]:
    return [p.name for p in cache._folder.iterdir()]


def test_a_file_is_fetched_and_found_by_its_hash(cache: ArtifactCache) -> None:
    path = fetch(cache, b"hello")
    assert path.read_bytes() == b"hello"
    assert cache.resolve("sha256:" + hashlib.sha256(b"hello").hexdigest()) == path


def test_a_cached_file_is_not_fetched_again(cache: ArtifactCache) -> None:
    fetch(cache, b"hello")
    assert fetch(cache, b"hello", status=500).read_bytes() == b"hello"


def test_a_tar_is_unpacked(cache: ArtifactCache) -> None:
    path = fetch(cache, tar({"images/a.png": b"A", "labels.json": b"{}"}))
    assert (path / "images/a.png").read_bytes() == b"A"


@pytest.mark.parametrize(
    ("changes", "final"),
    [
        ({"sent": b"other"}, True),
        ({"sent": b"hello and more"}, True),
        ({"status": 404}, False),
        ({"url": "http://127.0.0.1:1/x"}, False),
        ({"url": "no url"}, False),
        ({"sha256": "../../etc"}, True),
        ({"size_bytes": 2_000_000}, True),
    ],
)
def test_what_cannot_be_had_leaves_nothing(
    cache: ArtifactCache, changes: dict[str, object], final: bool
) -> None:
    with pytest.raises(ArtifactError) as caught:
        fetch(cache, b"hello", **changes)
    assert caught.value.final is final
    assert leftovers(cache) == []


def link(kind: bytes) -> Callable[[tarfile.TarInfo], None]:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname, info.size = kind, "/etc/passwd", 0

    return change


@pytest.mark.parametrize(
    "archive",
    [
        tar({"../evil": b"x"}),
        tar({"/tmp/evil": b"x"}),
        tar({"a/../../evil": b"x"}),
        tar({"a": b""}, link(tarfile.SYMTYPE)),
        tar({"a": b""}, link(tarfile.LNKTYPE)),
        tar({"a": b""}, link(tarfile.CHRTYPE)),
        tar({"a": b""}, link(tarfile.FIFOTYPE)),
    ],
    ids=["parent", "absolute", "hidden parent", "symlink", "hard link", "device", "pipe"],
)
def test_an_archive_that_reaches_out_is_refused_whole(
    cache: ArtifactCache, tmp_path: Path, archive: bytes
) -> None:
    with pytest.raises(ArtifactError) as caught:
        fetch(cache, archive)
    assert caught.value.final
    assert leftovers(cache) == []
    assert not list(tmp_path.rglob("evil"))


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(tar({"zeros": bytes(1_000_000)}))
    with pytest.raises(InvalidInput, match="more than 1000 bytes"):
        unpack(tmp_path / "bomb", tmp_path / "out", 1000)


def test_a_damaged_archive_is_refused(cache: ArtifactCache) -> None:
    content = tar({"a": os.urandom(5000)})
    with pytest.raises(ArtifactError, match="damaged"):
        fetch(cache, content[:-2000])
    assert leftovers(cache) == []


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    (tmp_path / "x").write_bytes(buffer.getvalue())
    with pytest.raises(InvalidInput, match="twice"):
        unpack(tmp_path / "x", tmp_path / "out", 1000)


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, 2500)
    first, second = fetch(cache, b"1" * 1000), fetch(cache, b"2" * 1000)
    os.utime(first.parent, (2e9, 2e9))
    os.utime(second.parent, (1e9, 1e9))
    fetch(cache, b"3" * 1000)
    assert (first.exists(), second.exists()) == (True, False)


def test_what_is_in_use_is_not_evicted(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, 1500)
    first = fetch(cache, b"1" * 1000)
    cache.pin({first.parent.name})
    fetch(cache, b"2" * 1000)
    assert first.exists()


def test_what_a_crash_left_half_fetched_is_removed(tmp_path: Path) -> None:
    (tmp_path / ("." + "a" * 64 + ".part")).write_bytes(b"half")
    ArtifactCache(tmp_path, 1000)
    assert list(tmp_path.iterdir()) == []


def test_a_reference_to_nothing_says_so(cache: ArtifactCache) -> None:
    with pytest.raises(InvalidInput, match="not on this device"):
        cache.resolve("sha256:" + "a" * 64)
    with pytest.raises(InvalidInput, match="not on this device"):
        cache.resolve("/nowhere")
