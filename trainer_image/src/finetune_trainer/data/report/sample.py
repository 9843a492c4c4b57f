"""A bounded sample of rows that depends on their content alone, not on their order or number of copies."""

from typing import Generic, TypeVar

Kept = TypeVar("Kept")


class HashSample(Generic[Kept]):
    """The `size` rows with the smallest digests.

    Most rows of a long stream are turned away by one comparison, before anything is computed for them.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: dict[bytes, tuple[int, Kept]] = {}
        self._bar = b"\xff" * 64  # above every digest, until enough rows are there

    def wants(self, digest: bytes) -> bool:
        """Whether the row belongs to the sample so far and is not in it yet."""
        return digest < self._bar and digest not in self._kept

    def add(self, digest: bytes, kept: Kept, order: int) -> None:
        """Take in a row that was wanted; of equal rows the one with the smallest `order` is kept."""
        known = self._kept.get(digest)
        if known is None or order < known[0]:
            self._kept[digest] = order, kept
        if len(self._kept) >= 2 * self._size:  # twice, so that sorting is rare
            self._shrink()

    def rows(self) -> list[Kept]:
        """What was kept, in order of digest."""
        self._shrink()
        return [kept for _, kept in self._kept.values()]

    def take_in(self, other: "HashSample[Kept]") -> None:
        """The rows of another sample as well."""
        for digest, (order, kept) in other._kept.items():
            if digest <= self._bar:  # the row at the bar is ours, and theirs may be an earlier copy of it
                self.add(digest, kept, order)

    def _shrink(self) -> None:
        order = sorted(self._kept)[: self._size]
        self._kept = {digest: self._kept[digest] for digest in order}
        if len(order) == self._size:
            self._bar = order[-1]
