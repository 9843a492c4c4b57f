"""Prepared data read from disk: items made when they are asked for, numbers about all of them as arrays."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import Source
from finetune_trainer.data.store_index import NamedFile
from finetune_trainer.data.tensors import Array, Arrays, map_arrays


class Shard:
    """One file of items, mapped into memory."""

    def __init__(self, path: Path, files: Sequence[NamedFile]) -> None:
        self.arrays: Arrays = map_arrays(path)
        self._files = files

    def __len__(self) -> int:
        return len(self.arrays["rows"])

    def item(self, index: int) -> Item:
        """One of its items; token ids int32, weights float32."""
        arrays = self.arrays
        first, end = self._sequence_ends[index], self._sequence_ends[index + 1]
        file = self._files[arrays["files"][index]]
        number = int(arrays["numbers"][index])
        source = Source(file.label, None if number < 0 else number, file.unit)
        return Item(
            tuple(self._sequence(each, source) for each in range(first, end)),
            label=int(arrays["labels"][index]),
            dataset=int(arrays["datasets"][index]),
            cut=int(arrays["cuts"][index]),
        )

    def _sequence(self, index: int, source: Source) -> Tokenized:
        part = slice(self._token_ends[index], self._token_ends[index + 1])
        return Tokenized(self.arrays["token_ids"][part], self.arrays["weights"][part], source)

    @cached_property
    def _sequence_ends(self) -> NDArray[np.int64]:
        return _running(self.arrays["sequences"])

    @cached_property
    def _token_ends(self) -> NDArray[np.int64]:
        return _running(self.arrays["lengths"])


class Items(Sequence[Item]):
    """Items of one side. An item is cheap to make and not kept; loops over all of them want the arrays instead."""

    def __init__(self, shards: Sequence[Shard], chosen: NDArray[np.int64] | None = None) -> None:
        """`chosen` are the positions of the items that count, in order; all where it is None."""
        self._shards = shards
        self._starts = np.cumsum([0, *(len(shard) for shard in shards)])
        self._chosen = chosen

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each item, over all its sequences."""
        return self._column("tokens")

    @property
    def targets(self) -> NDArray[np.int32]:
        """Supervised tokens of each item that can be predicted."""
        return self._column("targets")

    @property
    def target_weights(self) -> NDArray[np.float32]:
        """Summed weights of the same tokens."""
        return self._column("target_weights")

    @property
    def labels(self) -> NDArray[np.int32]:
        """Index of each item's label; -1 where there is none."""
        return self._column("labels")

    @property
    def datasets(self) -> NDArray[np.int16]:
        """Index of each item's data set."""
        return self._column("datasets")

    @property
    def rows(self) -> NDArray[np.int64]:
        """Number of each item's row among those of its side: pieces of one text have the same."""
        return self._column("rows")

    def __len__(self) -> int:
        return int(self._starts[-1]) if self._chosen is None else len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self._item(each) for each in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._item(index % len(self))

    def __iter__(self) -> Iterator[Item]:
        return (self._item(index) for index in range(len(self)))

    def _item(self, index: int) -> Item:
        place = index if self._chosen is None else int(self._chosen[index])
        shard = int(np.searchsorted(self._starts, place, side="right")) - 1
        return self._shards[shard].item(place - int(self._starts[shard]))

    def _column(self, name: str) -> Array:
        columns = [shard.arrays[name] for shard in self._shards]
        whole = np.concatenate(columns) if columns else np.empty(0, np.int32)
        return whole if self._chosen is None else whole[self._chosen]


def _running(counts: Array) -> NDArray[np.int64]:
    """Where each piece starts, and at last where all end."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
