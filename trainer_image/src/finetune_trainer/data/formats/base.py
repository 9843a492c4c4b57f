"""What all formats share: a reader's shape and the bounds on what it may hold in memory."""

from dataclasses import dataclass
from typing import Any, Final

from finetune_trainer.data.problems import RowError, Source

RawRow = dict[str, Any]
"""One object as it stands in the file; parsed into a Row by `rows.parse_row` and nowhere else."""

ReadItem = tuple[Source, RawRow | RowError]
"""A place in a file with the object that stands there, or why there is none. The reader goes on after it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that honest data stays far below; they keep a broken or hostile file from filling the pod's memory."""

    row_bytes: int = 32 << 20
    """A row longer than this is no row: a line end is missing, or a quote is not closed."""
    unpacked_bytes: int = 256 << 20
    """What any file may unpack to, however small it is."""
    unpacked_ratio: int = 200
    """Times its size that a larger file may unpack to. Text packs about 5 times, very repetitive text 100 times."""

    def unpacked(self, size: int) -> int:
        """Bytes that a packed file of `size` bytes may unpack to."""
        return max(self.unpacked_bytes, size * self.unpacked_ratio)


LIMITS: Final = Limits()
