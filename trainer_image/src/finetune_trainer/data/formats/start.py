"""The first bytes of a text file: what is not text at all is said once, not once per line."""

from codecs import BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from io import BufferedReader
from typing import Final

from finetune_trainer.data.problems import FileError, Source

_AS_UTF_8: Final = "save it as UTF-8 without a byte order mark"
_STARTS: Final[tuple[tuple[bytes, str, str], ...]] = (
    (BOM_UTF32_LE, "UTF-32", _AS_UTF_8),  # before UTF-16: it begins with the same two bytes
    (BOM_UTF32_BE, "UTF-32", _AS_UTF_8),
    (BOM_UTF16_LE, "UTF-16", _AS_UTF_8),
    (BOM_UTF16_BE, "UTF-16", _AS_UTF_8),
    (b"\x1f\x8b", "packed with gzip", "let its name end in .gz; a file packed twice must be unpacked once"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "let its name end in .zst; a file packed twice must be unpacked once"),
    (b"PAR1", "Parquet", "let its name end in .parquet"),
    (b"PK\x03\x04", "a zip archive or a workbook", "unpack it, or export the sheet as CSV UTF-8"),
)


def check_start(label: str, stream: BufferedReader) -> None:
    """Look at the first bytes without taking them.

    Raises:
        FileError: the file is not text in UTF-8.

    """
    start = stream.peek(4)[:4]
    for magic, what, remedy in _STARTS:
        if start.startswith(magic):
            raise FileError(Source(label), f"the file is {what}", remedy)
    if b"\0" in start:
        raise FileError(Source(label), "the file is binary, or UTF-16 without a byte order mark", _AS_UTF_8)
