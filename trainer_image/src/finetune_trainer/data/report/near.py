"""Near copies: rows whose text is the same but for an edit, found by MinHash and locality-sensitive hashing.

A row's text becomes the set of its 9-byte shingles, and that set a signature of 96 minima. Two rows' share of equal
minima estimates the Jaccard similarity of their sets. Rows are compared only where a band of eight minima is equal,
which two rows of similarity 0.8 have in 89 of 100 cases, of 0.9 in nearly all, and of 0.5 in 5. (Broder, "On the
resemblance and containment of documents", 1997; bands: Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets",
chapter 3.)

`datasketch` does the same, six times slower and with a second of imports: it hashes shingle by shingle in Python.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.data.problems import Source
from finetune_trainer.data.report.content import NearPair

THRESHOLD: Final = 0.8
"""Estimated similarity from which two rows count as near copies."""

Signature = NDArray[np.uint32]
"""[96]"""

_SHINGLE: Final = 9
_BANDS: Final = 12
_ROWS_OF_A_BAND: Final = 8
_MOST_BYTES: Final = 1 << 15
"""Of longer texts the two ends are read."""
_MOST_SHINGLES: Final = 256
"""Of larger sets the smallest hashes stand for the whole."""
_LEAST_SHINGLES: Final = 40
"""Shorter texts are alike by chance."""
_MOST_COMPARED: Final = 16
"""Rows of one bucket that another is compared with: rows cast from one template share a bucket by the thousand."""
_MOST_SHOWN: Final = 10

# Multiplying by an odd number permutes 32-bit hashes; a fixed seed, so that reports are reproducible.
_FACTORS: Final = np.random.default_rng(20_240_607).integers(
    0, 1 << 32, _BANDS * _ROWS_OF_A_BAND, dtype=np.uint32
) | np.uint32(1)


def signature(text: str) -> Signature | None:
    """The minima of a text, in which case and white space count nothing; None where it is too short to tell."""
    if len(text) > 2 * _MOST_BYTES:
        text = f"{text[:_MOST_BYTES]} {text[-_MOST_BYTES:]}"
    data = " ".join(text.lower().split()).encode()
    if len(data) > _MOST_BYTES:
        data = data[: _MOST_BYTES // 2] + data[-_MOST_BYTES // 2 :]
    count = len(data) - _SHINGLE + 1
    if count < _LEAST_SHINGLES:
        return None
    hashes = _hash_shingles(np.frombuffer(data, np.uint8).astype(np.uint32), count)
    if count > _MOST_SHINGLES:
        hashes = np.partition(hashes, _MOST_SHINGLES)[:_MOST_SHINGLES]
    minima: Signature = np.multiply.outer(_FACTORS, hashes).min(axis=1)
    return minima


def _hash_shingles(data: NDArray[np.uint32], count: int) -> NDArray[np.uint32]:
    hashes = data[:count].copy()
    for offset in range(1, _SHINGLE):
        hashes *= np.uint32(0x01000193)
        hashes += data[offset : offset + count]
    # The finaliser of a 32-bit hash (lowbias32, C. Wellons): without it neighbouring texts had neighbouring hashes.
    hashes ^= hashes >> np.uint32(16)
    hashes *= np.uint32(0x7FEB352D)
    hashes ^= hashes >> np.uint32(15)
    hashes *= np.uint32(0x846CA68B)
    hashes ^= hashes >> np.uint32(16)
    return hashes


@dataclass(frozen=True, slots=True)
class Signed:
    """A row of the sample."""

    source: Source
    signature: Signature | None


@dataclass(slots=True)
class Matches:
    """Rows that have a near copy."""

    found: int = 0
    pairs: list[NearPair] = field(default_factory=list)

    def add(self, first: Source, second: Source, similarity: float) -> None:
        """Count a row and, while there is room, say which."""
        self.found += 1
        if len(self.pairs) < _MOST_SHOWN:
            self.pairs.append(NearPair(first=str(first), second=str(second), similarity=round(similarity, 3)))


def find_copies(train: Sequence[Signed], test: Iterable[Signed]) -> tuple[Matches, Matches]:
    """Training rows that have a near copy before them, and test rows that have one among the training rows."""
    index, within, across = _Index(), Matches(), Matches()
    for row in train:
        _match(index, row, within)
        index.add(row)
    for row in test:
        _match(index, row, across)
    return within, across


def _match(index: "_Index", row: Signed, matches: Matches) -> None:
    nearest = index.nearest(row)
    if nearest is not None and nearest[1] >= THRESHOLD:
        matches.add(nearest[0], row.source, nearest[1])


class _Index:
    """Signatures by their bands."""

    def __init__(self) -> None:
        self._rows: list[tuple[Source, Signature]] = []
        self._buckets: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)

    def add(self, row: Signed) -> None:
        if row.signature is None:
            return
        for bucket in self._buckets_of(row.signature):
            if len(bucket) < _MOST_COMPARED:
                bucket.append(len(self._rows))
        self._rows.append((row.source, row.signature))

    def nearest(self, row: Signed) -> tuple[Source, float] | None:
        if row.signature is None:
            return None
        candidates = {place for bucket in self._buckets_of(row.signature) for place in bucket}
        if not candidates:
            return None
        order = sorted(candidates)
        shares = (np.stack([self._rows[place][1] for place in order]) == row.signature).mean(axis=1)
        best = int(shares.argmax())
        return self._rows[order[best]][0], float(shares[best])

    def _buckets_of(self, minima: Signature) -> list[list[int]]:
        bands = minima.reshape(_BANDS, _ROWS_OF_A_BAND)
        return [self._buckets[number, band.tobytes()] for number, band in enumerate(bands)]
