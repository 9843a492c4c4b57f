"""Plain text: a file is one document, just as it stands."""

from codecs import BOM_UTF8
from collections.abc import Iterator
from io import BufferedReader

from finetune_trainer.data.formats.base import Limits, ReadItem
from finetune_trainer.data.problems import FileError, Source


def read_text(label: str, stream: BufferedReader, limits: Limits) -> Iterator[ReadItem]:
    """The document of one file in a column named text; a file of nothing holds none.

    The byte order mark that some editors write is no part of it.

    Raises:
        FileError: it is longer than a row may be, or not in UTF-8.

    """
    source = Source(label)
    content = stream.read(limits.row_bytes + 1)
    if len(content) > limits.row_bytes:
        raise FileError(source, f"the document is longer than {limits.row_bytes:,} bytes", "cut it into several files")
    try:
        text = content.removeprefix(BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(source, f"byte {error.start + 1} is not UTF-8", "save the file as UTF-8") from None
    if text:
        yield source, {"text": text}
