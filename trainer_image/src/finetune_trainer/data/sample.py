"""The rows with the smallest marks out of any number: a fixed choice that does not depend on their order.

Lines are kept on disk and only marks in memory, so that a large sample of large rows costs nothing.
"""

import hashlib
from collections.abc import Callable
from heapq import heappush, heappushpop
from pathlib import Path


def order_mark(digest: bytes) -> bytes:
    """What rows are chosen by: a hash of the digest of their content, so that the choice tells nothing of it."""
    return hashlib.sha256(b"order:" + digest).digest()


class Sample:
    """Takes rows one by one and keeps the `size` ones with the smallest marks; of equal marks the first."""

    def __init__(self, scratch: Path, size: int, *, distinct: bool = False) -> None:
        self._file = scratch.open("w+b")
        self._size = size
        self._distinct = distinct
        self._kept: list[tuple[int, int, int]] = []
        """A heap of (negated mark, negated number, place in the file): the largest mark comes first."""
        self._bar = b"\xff" * 64
        """No row with a larger mark is kept."""

    def wants(self, mark: bytes) -> bool:
        """Whether a row with this mark may be kept: most are turned away by this one comparison."""
        return mark <= self._bar

    def offer(self, mark: bytes, number: int, line: Callable[[], bytes]) -> None:
        """Take a row; `number` tells rows apart and `line` is called only where the row is kept for now."""
        key = -int.from_bytes(mark[:16], "big")
        if len(self._kept) == self._size and (not self._size or (key, -number) < self._kept[0][:2]):
            return
        if self._distinct and any(kept[0] == key for kept in self._kept):
            return
        entry = (key, -number, self._file.seek(0, 2))
        self._file.write(line() + b"\n")
        if len(self._kept) < self._size:
            heappush(self._kept, entry)
        else:
            heappushpop(self._kept, entry)
        if len(self._kept) == self._size:
            self._bar = (-self._kept[0][0]).to_bytes(16, "big") + b"\xff" * 16

    def write(self, target: Path) -> list[int]:
        """Write the kept lines in order of their numbers, which are returned."""
        chosen = sorted((-number, place) for _, number, place in self._kept)
        with target.open("wb") as out:
            for _, place in chosen:
                self._file.seek(place)
                out.write(self._file.readline())
        self._file.close()
        return [number for number, _ in chosen]
