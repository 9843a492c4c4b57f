"""Prepared data written to disk, a shard at a time, so that any amount of it needs one shard's memory.

A shard holds whole items of one side, flat:

token_ids   int32 [tokens]        of all its sequences
weights     uint8 or float32 [tokens]  loss weights; bytes where all of them are 0 or 1
lengths     int32 [sequences]     tokens of each sequence
sequences   uint8 [items]         sequences of each item
tokens      int32 [items]         of all its sequences
targets     int32 [items]         supervised tokens that can be predicted
target_weights float32 [items]    their summed weights
labels      int32 [items]         Item.label
datasets    int16 [items]         Item.dataset
cuts        int32 [items]         Item.cut
files       int32 [items]         where its row stands: index into `files` of `store.json`
numbers     int64 [items]         and the row's number there
rows        int64 [items]         its row's number among those of its side, from 0
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import Source
from finetune_trainer.data.split import Side
from finetune_trainer.data.store_index import NamedFile, SideIndex
from finetune_trainer.data.tensors import Array, Arrays, write_arrays

SHARD_BYTES: Final = 64 << 20


class FileNames:
    """Numbers for the files that items come from."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.named: list[NamedFile] = []

    def number(self, source: Source) -> int:
        """The number of a row's file."""
        found = self._numbers.get(source.file)
        if found is None:
            found = self._numbers[source.file] = len(self.named)
            self.named.append(NamedFile(label=source.file, unit=source.unit))
        return found


def flatten(items: Sequence[tuple[int, Item]]) -> Arrays:
    """The arrays of a shard, but for `files`; each item comes with the number of its row. Empty without items."""
    if not items:
        return {}
    sequences = [sequence for _, item in items for sequence in item.sequences]
    weights = _joined([sequence.weights for sequence in sequences])
    lengths = np.array([len(sequence.token_ids) for sequence in sequences], np.int32)
    per_item = np.array([len(item.sequences) for _, item in items], np.uint8)
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    ends = (starts + lengths)[np.cumsum(per_item, dtype=np.int64) - 1]  # of each item, in tokens
    targets = weights.copy()
    targets[starts] = 0  # nothing comes before a first token that could predict it
    numbers = [item.source.number for _, item in items]
    is_binary = bool(((weights == 0) | (weights == 1)).all())
    return {
        "token_ids": _joined([sequence.token_ids for sequence in sequences]),
        "weights": weights.astype(np.uint8) if is_binary else weights,
        "lengths": lengths,
        "sequences": per_item,
        "tokens": _between(np.arange(1, len(weights) + 1), ends).astype(np.int32),
        "targets": _between(np.cumsum(targets > 0), ends).astype(np.int32),
        "target_weights": _between(np.cumsum(targets, dtype=np.float64), ends).astype(np.float32),
        "labels": np.array([item.label for _, item in items], np.int32),
        "datasets": np.array([item.dataset for _, item in items], np.int16),
        "cuts": np.array([item.cut for _, item in items], np.int32),
        "numbers": np.array([-1 if number is None else number for number in numbers], np.int64),
        "rows": np.array([number for number, _ in items], np.int64),
    }


class SideWriter:
    """Writes the items of one side."""

    def __init__(self, directory: Path, side: Side, shard_bytes: int) -> None:
        self._directory, self._side, self._shard_bytes = directory, side, shard_bytes
        self._parts: list[Arrays] = []
        self._bytes = 0
        self._shards: list[str] = []
        self._totals = dict.fromkeys(("rows", "items", "tokens", "supervised", "longest", "largest", "cut_rows"), 0)
        self._by_dataset = np.zeros((2, 0), np.int64)

    def add(self, arrays: Arrays, *, rows: int, first: int, file: int) -> None:
        """Take many items at once, which come from one file.

        Args:
            arrays: what `flatten` has made of them, with rows counted from 0.
            rows: how many became items, or were looked at and became none.
            first: number of the row that was counted as 0.
            file: number of the file.

        """
        self._totals["rows"] += rows
        if not arrays:
            return
        count = len(arrays["rows"])
        part = {**arrays, "files": np.full(count, file, np.int32), "rows": arrays["rows"] + first}
        self._parts.append(part)
        self._bytes += sum(array.nbytes for array in part.values())
        self._count(part)
        if self._bytes >= self._shard_bytes:
            self._write()

    def finish(self) -> SideIndex:
        """Write what is left and tell what was written."""
        if self._parts:
            self._write()
        items, tokens = self._by_dataset.tolist()
        return SideIndex(shards=self._shards, **self._totals, dataset_items=items, dataset_tokens=tokens)

    def _count(self, part: Arrays) -> None:
        totals = self._totals
        first = np.cumsum(part["sequences"], dtype=np.int64) - part["sequences"]
        longest = np.maximum.reduceat(part["lengths"], first) + part["cuts"]
        totals["items"] += len(part["rows"])
        totals["tokens"] += len(part["token_ids"])
        totals["supervised"] += int(part["targets"].sum())
        totals["longest"] = max(totals["longest"], int(longest.max()))
        totals["largest"] = max(totals["largest"], int(part["tokens"].max()))
        totals["cut_rows"] += len(np.unique(part["rows"][part["cuts"] > 0]))
        counts = [np.bincount(part["datasets"]), np.bincount(part["datasets"], weights=part["tokens"])]
        new = np.array(counts, np.int64)
        if new.shape[1] > self._by_dataset.shape[1]:
            new[:, : self._by_dataset.shape[1]] += self._by_dataset
            self._by_dataset = new
        else:
            self._by_dataset[:, : new.shape[1]] += new

    def _write(self) -> None:
        name = f"{self._side}-{len(self._shards):05d}.safetensors"
        names = list(self._parts[0])
        write_arrays(self._directory / name, {each: _joined([part[each] for part in self._parts]) for each in names})
        self._shards.append(name)
        self._parts, self._bytes = [], 0


def _joined(arrays: Sequence[Array]) -> Array:
    return np.concatenate(arrays)


def _between(running: Array, ends: Array) -> Array:
    """Sums of the pieces that end before `ends`, from a running sum."""
    return np.diff(running[ends - 1], prepend=0)
