"""A folder and a URL of fsspec keep the files of an archive alike; what they cannot do is told with the place."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from fsspec import AbstractFileSystem, register_implementation

from playhead.runtime.core.errors import ArchiveError
from playhead.runtime.log.archive.stores import FolderStore, Store, UrlStore, store_at

__all__: list[str] = []


@pytest.fixture(params=["folder", "file", "memory", "cached"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store; `cached` is a chain of two file systems."""
    memory = f"memory://{uuid4().hex}/archive"
    place: dict[str, str | Path] = {"folder": tmp_path / "a b", "file": f"file://{tmp_path}/c", "memory": memory}
    return store_at(place.get(request.param, f"simplecache::{memory}"))


def test_what_is_written_is_listed_and_read(store: Store, tmp_path: Path) -> None:
    assert store.names("x") == []
    assert store.read(["x/y"]) == [None]
    source = tmp_path / "source"
    source.write_bytes(b"content")
    store.put("x/y/one", str(source))
    store.write("x/y/two", b"more")
    store.write("x/y/two", b"other")
    assert store.names("x") == ["y"]
    assert sorted(store.names("x/y")) == ["one", "two"]
    assert store.read(["x/y/two", "x/y/three", "x/y/one"]) == [b"other", None, b"content"]
    assert store.read([]) == []
    with store.open("x/y/one") as file:
        file.seek(3)
        assert file.read() == b"tent"


def test_a_file_that_does_not_exist_cannot_be_opened(store: Store) -> None:
    with pytest.raises(ArchiveError, match=r"archive .*x/y.*: it cannot be read"):
        store.open("x/y")


def test_a_place_is_a_folder_unless_it_is_a_url(tmp_path: Path) -> None:
    assert isinstance(store_at("kept/runs"), FolderStore)
    assert isinstance(store_at(tmp_path), FolderStore)
    assert store_at(f"file://{tmp_path}").where == str(tmp_path)
    assert isinstance(store_at("memory://kept"), UrlStore)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArchiveError, match=r"file: it is not a folder"):
        store_at(tmp_path / "file")


def test_only_this_user_may_enter_a_folder_that_is_made_and_the_mode_of_another_stays(tmp_path: Path) -> None:
    store_at(tmp_path / "made").write("x/y", b"data")
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o700
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o750)
    store_at(tmp_path / "shared").write("x/y", b"data")
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o750


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    store = store_at(tmp_path)
    with pytest.raises(ArchiveError, match=r"x/y: it cannot be written \(.+\)"):
        store.write("x/y", b"data")
    (tmp_path / "z" / "y").mkdir(parents=True)
    with pytest.raises(ArchiveError, match=r"z/y: it cannot be written \(.+\)"):
        store.write("z/y", b"data")
    assert [one.name for one in (tmp_path / "z").iterdir()] == ["y"]


def test_a_url_without_its_package_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArchiveError, match=r"archive nowhere://x: fsspec cannot use it \(Protocol not known"):
        store_at("nowhere://x")
    with pytest.raises(ArchiveError, match=r"archive s3://bucket: fsspec cannot use it \(Install s3fs"):
        store_at("s3://bucket")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(
        ArchiveError,
        match=r"archive memory://x: a URL needs the extra `archive`: pip install 'playhead-runtime\[archive\]'",
    ):
        store_at("memory://x")


class Unreachable(AbstractFileSystem):
    """A file system whose server does not answer, with an error of its own."""

    class Error(Exception):
        pass

    def __getattribute__(self, name: str) -> object:
        if name in ("ls", "cat", "open", "pipe_file", "put_file"):
            raise Unreachable.Error("no route")
        return super().__getattribute__(name)


def test_any_error_of_a_url_is_told_with_the_place_and_without_its_password() -> None:
    register_implementation("unreachable", Unreachable, clobber=True)
    store = store_at("unreachable://ada:secret@host/runs")
    assert "secret" not in store.where
    for call in (
        lambda: store.names("x"),
        lambda: store.read(["x"]),
        lambda: store.open("x"),
        lambda: store.write("x", b""),
        lambda: store.put("x", "y"),
    ):
        with pytest.raises(
            ArchiveError, match=r"archive unreachable://ada:\*\*\*@host/runs.*: it cannot be .*no route"
        ) as told:
            call()
        assert "secret" not in str(told.value)
