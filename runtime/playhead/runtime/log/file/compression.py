"""Files of runs that are compressed with zstd, by the package `zstandard` of the extra `archive`."""

from __future__ import annotations

import importlib.util
import shutil
from contextlib import AbstractContextManager, nullcontext
from tempfile import TemporaryFile
from typing import IO, BinaryIO, Final, cast

from playhead.runtime.core.errors import RunFileError

__all__ = ["can_compress", "compressed", "uncompressed"]

_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_LEVEL: Final = 3


def can_compress() -> bool:
    """Whether `zstandard` is installed."""
    return importlib.util.find_spec("zstandard") is not None


def compressed(file: IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    """A file whose content is written to `file` compressed, complete at the end of the block; `file` itself if that is not possible."""
    if not can_compress():
        return nullcontext(file)
    import zstandard

    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    return cast("AbstractContextManager[IO[bytes]]", compressor.stream_writer(file, closefd=False))


def uncompressed(file: BinaryIO, path: str) -> BinaryIO:
    """`file` at its beginning; or, if it is compressed, its content in a temporary file, and `file` is closed.

    Raises:
        RunFileError: It is damaged, or `zstandard` is not installed.
        OSError: It cannot be read, or the temporary file cannot be written.
    """
    magic = file.read(len(_MAGIC))
    file.seek(0)
    if magic != _MAGIC:
        return file
    if not can_compress():
        how = f"pip install 'playhead-runtime[archive]', or uncompress it first: zstd -d {path}"
        raise RunFileError(path, 0, f"it is compressed, which needs the extra `archive`: {how}")
    import zstandard

    content = cast("BinaryIO", TemporaryFile())  # noqa: SIM115 - the caller closes it
    try:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False)
        shutil.copyfileobj(cast("BinaryIO", reader), content, 1 << 20)
        if not content.tell():
            raise RunFileError(path, 0, "nothing of it can be uncompressed: it was cut short")
    except zstandard.ZstdError as error:
        content.close()
        raise RunFileError(path, 0, f"it cannot be uncompressed ({error}): it was edited or damaged") from error
    except BaseException:
        content.close()
        raise
    file.close()
    content.seek(0)
    return content
