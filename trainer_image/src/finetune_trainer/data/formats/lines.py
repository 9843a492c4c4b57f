"""Lines of bounded length. A line ends at a line feed alone: text may hold Unicode's other line ends."""

from collections.abc import Iterator
from io import BufferedReader
from itertools import count

from finetune_trainer.data.problems import FileError, Source


def bounded_lines(label: str, stream: BufferedReader, row_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers, from 1.

    Raises:
        FileError: a line is longer than `row_bytes`; it is not read to its end.

    """
    for number in count(1):
        line = stream.readline(row_bytes + 1)
        if not line:
            return
        if len(line) > row_bytes:
            raise too_long(Source(label, number), row_bytes)
        yield number, line


def too_long(source: Source, row_bytes: int) -> FileError:
    """A row that never seems to end."""
    return FileError(
        source,
        f"the row is longer than {row_bytes:,} bytes; nothing after it was read",
        "look for a missing line end or an unclosed quote, or shorten the row",
    )
