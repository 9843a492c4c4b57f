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
_OPENERS: Final[dict[str, Callable[[Path], BinaryIO]]] = {
    ".gz": lambda path: cast("BinaryIO", gzip.open(path, "rb")),  # noqa: SIM115  _Unpacked closes it
    ".zst": lambda path: cast("BinaryIO", zstd.open(path, "rb")),
}
PACKINGS: Final = tuple(_OPENERS)
"""Endings of packed files."""


def open_unpacked(label: str, path: Path, packing: str | None, limits: Limits) -> io.BufferedReader:
    """A file's bytes, unpacked if `packing` is one of PACKINGS. Reading raises FileError where they are damaged."""
    if packing is None:
        return path.open("rb")
    return io.BufferedReader(_Unpacked(label, path, packing, limits), _BUFFER)


class _Unpacked(io.RawIOBase):
    """Counts what comes out of a packed file and says in the user's words what is wrong with it."""

    def __init__(self, label: str, path: Path, packing: str, limits: Limits) -> None:
        super().__init__()
        self._source = Source(label)
        self._limit = self._left = limits.unpacked(path.stat().st_size)
        self._what = {".gz": "gzip", ".zst": "zstd"}[packing]
        self._empty = path.stat().st_size == 0
        self._inner = _OPENERS[packing](path)

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
        super().close()
