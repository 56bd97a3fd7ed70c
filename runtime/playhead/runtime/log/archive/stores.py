"""Where an archive keeps its files: a folder of this machine, or any URL that fsspec knows (extra `archive`).

A name has `/` between its folders. What is written is there whole or not at all, as far as the place can promise that.
All calls block; `Archive` makes them in threads.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final, Protocol, cast

from playhead.runtime.core.errors import ArchiveError
from playhead.runtime.log.redis.connection import redact

__all__ = ["FolderStore", "Store", "UrlStore", "store_at"]

_LOCAL: Final = ("file://", "local://")


class Store(Protocol):
    """A place for files. Every method raises `ArchiveError` if the place cannot be reached, or refuses the call."""

    @property
    def where(self) -> str:
        """The place, without passwords, for messages."""
        ...

    def names(self, folder: str) -> list[str]:
        """The names in a folder, in no order; empty if it does not exist."""
        ...

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        """The content of these files; None for one that does not exist."""
        ...

    def open(self, name: str) -> BinaryIO:
        """A file, to be read from any place and closed by the caller."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file."""
        ...

    def put(self, name: str, source: str) -> None:
        """Write a file with the content of the local file `source`."""
        ...


def store_at(place: str | Path) -> Store:
    """The store of a folder or a URL. Nothing is read or written yet.

    Raises:
        ArchiveError: It is a URL, and fsspec, or what fsspec needs for it, is not installed; or it names something that is
            not a folder.
    """
    text = str(place)
    for scheme in _LOCAL:
        if text.startswith(scheme):
            return FolderStore(text.removeprefix(scheme))
    return UrlStore(text) if isinstance(place, str) and ("://" in place or "::" in place) else FolderStore(text)


class FolderStore:
    """A folder of this machine; it is made with the first file, and only this user may then enter it."""

    def __init__(self, folder: str) -> None:
        self.where: str = folder
        self._folder = Path(folder)
        if self._folder.exists() and not self._folder.is_dir():
            raise ArchiveError(folder, "it is not a folder")

    def names(self, folder: str) -> list[str]:
        """See `Store.names`. The temporary file of a process that was killed begins with a dot, and is left out."""
        with self._told("read", folder):
            try:
                return [one.name for one in os.scandir(self._folder / folder) if not one.name.startswith(".")]
            except FileNotFoundError:
                return []

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        """See `Store.read`."""
        return [self._read(name) for name in names]

    def _read(self, name: str) -> bytes | None:
        with self._told("read", name):
            try:
                return (self._folder / name).read_bytes()
            except FileNotFoundError:
                return None

    def open(self, name: str) -> BinaryIO:
        """See `Store.open`."""
        with self._told("read", name):
            return (self._folder / name).open("rb")

    def write(self, name: str, data: bytes) -> None:
        """See `Store.write`."""
        with self._whole(name) as file:
            file.write(data)

    def put(self, name: str, source: str) -> None:
        """See `Store.put`."""
        with self._whole(name) as file, open(source, "rb") as content:
            shutil.copyfileobj(content, file, 1 << 20)

    @contextmanager
    def _whole(self, name: str) -> Generator[BinaryIO]:
        """A file that gets its name when the block has written it, and it is on the disk."""
        target = self._folder / name
        part = target.with_name(f".{target.name}.{token_hex(4)}")
        with self._told("written", name):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with part.open("xb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(part, target)
            except BaseException:
                with suppress(OSError):
                    part.unlink(missing_ok=True)
                raise

    @contextmanager
    def _told(self, done: str, name: str) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise ArchiveError(f"{self._folder / name}", f"it cannot be {done} ({error.strerror})") from error


class UrlStore:
    """A URL that fsspec knows, such as `s3://bucket/runs`. It is connected to at the first call."""

    def __init__(self, url: str) -> None:
        self.where: str = redact(url)
        self._url = url
        self._opened: tuple[Any, str] | None = None
        try:
            import fsspec
        except ImportError as error:
            how = "pip install 'playhead-runtime[archive]'; a folder needs no extra"
            raise ArchiveError(self.where, f"a URL needs the extra `archive`: {how}") from error
        try:
            fsspec.get_filesystem_class(url.partition("::")[0].partition("://")[0])
        except (ImportError, ValueError) as error:
            raise ArchiveError(self.where, f"fsspec cannot use it ({error})") from error

    def names(self, folder: str) -> list[str]:
        """See `Store.names`."""
        with self._place("read", folder) as (files, path):
            files.invalidate_cache()  # other processes write there, too
            try:
                found = [str(one).rstrip("/") for one in files.ls(path, detail=False)]
            except FileNotFoundError:
                return []
            return [one.rpartition("/")[2] for one in found if one != path]

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        """See `Store.read`; many at once where fsspec can."""
        with self._place("read", "") as (files, root):
            paths = [f"{root}/{name}" for name in names]
            found: dict[str, Any] = files.cat(paths, on_error="return") if paths else {}
            for answer in found.values():
                if isinstance(answer, Exception) and not isinstance(answer, FileNotFoundError):
                    raise answer
            return [found[path] if isinstance(found.get(path), bytes) else None for path in paths]

    def open(self, name: str) -> BinaryIO:
        """See `Store.open`; it is fetched whole, into a temporary file."""
        with self._place("read", name) as (files, path):
            content = cast("BinaryIO", TemporaryFile())  # noqa: SIM115 - the caller closes it
            try:
                with files.open(path, "rb") as source:
                    shutil.copyfileobj(source, content, 1 << 20)
            except BaseException:
                content.close()
                raise
            content.seek(0)
            return content

    def write(self, name: str, data: bytes) -> None:
        """See `Store.write`."""
        with self._place("written", name) as (files, path):
            files.makedirs(path.rpartition("/")[0], exist_ok=True)
            files.pipe_file(path, data)

    def put(self, name: str, source: str) -> None:
        """See `Store.put`."""
        with self._place("written", name) as (files, path):
            files.makedirs(path.rpartition("/")[0], exist_ok=True)
            files.put_file(source, path)

    @contextmanager
    def _place(self, done: str, name: str) -> Generator[tuple[Any, str]]:
        """The file system, and the path of `name` there. What fsspec raises depends on the URL, so all of it is told."""
        where = f"{self.where.rstrip('/')}/{name}".rstrip("/")
        try:
            if self._opened is None:
                from fsspec.core import url_to_fs

                self._opened = url_to_fs(self._url)
            files, root = self._opened
            yield files, f"{root.rstrip('/')}/{name}".rstrip("/")
        except Exception as error:
            raise ArchiveError(where, f"it cannot be {done} ({type(error).__name__}: {error})") from error
