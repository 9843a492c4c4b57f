"""gzip and zstd, unpacked while they are read, never further than a stated bound."""

import gzip
import io
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from finetune_trainer.data.formats.base import Limits
from finetune_trainer.data.problems import FileError, Source

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_BUFFER: Final = 128 << 10
_OPENERS: Final[dict[str, Callable[[BinaryIO], BinaryIO]]] = {
    ".gz": lambda file: cast("BinaryIO", gzip.open(file, "rb")),  # noqa: SIM115  _Unpacked closes it
    ".zst": lambda file: cast("BinaryIO", zstd.open(file, "rb")),
}
PACKINGS: Final = tuple(_OPENERS)
"""Endings of packed files."""


def open_unpacked(
    label: str, path: Path, packing: str | None, limits: Limits, on_bytes: Callable[[int], None] = lambda _count: None
) -> io.BufferedReader:
    """A file's bytes, unpacked if `packing` is one of PACKINGS. Reading raises FileError where they are damaged.

    `on_bytes` is told how many bytes of the file itself were read.
    """
    file: io.BufferedReader = io.BufferedReader(_Metered(path, on_bytes), _BUFFER)
    if packing is None:
        return file
    return io.BufferedReader(_Unpacked(label, path, packing, limits, file), _BUFFER)


class _Metered(io.FileIO):
    """A file that tells what is read of it."""

    def __init__(self, path: Path, on_bytes: Callable[[int], None]) -> None:
        super().__init__(path)
        self._on_bytes = on_bytes

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer) or 0
        self._on_bytes(count)
        return count


class _Unpacked(io.RawIOBase):
    """Counts what comes out of a packed file and says in the user's words what is wrong with it."""

    def __init__(self, label: str, path: Path, packing: str, limits: Limits, file: BinaryIO) -> None:
        super().__init__()
        self._source = Source(label)
        self._limit = self._left = limits.unpacked(path.stat().st_size)
        self._what = {".gz": "gzip", ".zst": "zstd"}[packing]
        self._empty = path.stat().st_size == 0
        self._file = file
        self._inner = _OPENERS[packing](file)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise FileError(
                self._source,
                f"the file unpacks to more than {self._limit:,} bytes",
                "cut it into several, or upload it unpacked",
            )
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        try:
            if self._empty:  # gzip itself takes an upload of nothing for a file of nothing
                raise EOFError
            return self._inner.read(size)
        except EOFError:
            problem = f"the {self._what} file ends too early"
        except (gzip.BadGzipFile, zlib.error, zstd.ZstdError) as error:
            problem = f"the file is damaged or no {self._what}: {error}"
        raise FileError(self._source, problem, f"check it with `{self._what} -t`, pack it anew and upload it again")

    def close(self) -> None:
        self._inner.close()
        self._file.close()
        super().close()
