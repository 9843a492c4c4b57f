"""Results of measurements in S3: another attempt goes on with them, and no base model is measured twice.

    <output>/evaluations/<key>/000016.json     batches of a piece of work, from the 17th on, every half minute
    <prepared store>/<key>/measured.json       all batches of the base model, for every job that shares the store
    <prepared store>/<key>/used.json           written at every use; what nobody used for 30 days is removed

The key is a digest of all that decides the numbers. What is kept is what the model gave, token ids and
log-probabilities, not the scores computed from it: a job that asks for other metrics finds it too. Every object holds
its key and the digest of its content; one that is damaged or of something else is passed over, and the batches are
done again. Losing all of it costs time only, so that a store that does not answer ends no evaluation.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from finetune_api.base import Message
from finetune_trainer.context import Context, library_versions
from finetune_trainer.data.plan import Step
from finetune_trainer.errors import TrainerError
from finetune_trainer.evaluate.batches import BASE, Numbers, Tape, Work
from finetune_trainer.prepared_store import mark_used, store_root

LOG: Final = logging.getLogger(__name__)

MEASURING_VERSION: Final = "1"
"""Raised whenever the same model would be measured otherwise than before."""
WRITE_SECONDS: Final = 30.0
"""What a killed process loses at most."""
_MEASURED: Final = "measured.json"


class Batch(Message):
    """What was found of one batch."""

    rows: list[int]
    """Its rows, by their place among all."""
    found: list[Numbers]
    """In the order of `rows`."""


class Part(Message):
    """Some batches of a piece of work."""

    key: str
    sha256: str
    """Of key and batches as canonical JSON, hex."""
    batches: list[Batch]

    @classmethod
    def of(cls, key: str, results: Mapping[Step, list[Numbers]]) -> "Part":
        """The part that holds these batches."""
        batches = [Batch(rows=list(rows), found=found) for rows, found in results.items()]
        return cls(key=key, sha256=_digest(key, batches), batches=batches)

    @classmethod
    def parse(cls, content: bytes, key: str) -> "Part | None":
        """Read an object; None where it is damaged or belongs to something else."""
        try:
            # Not pydantic's own parser: Python's reads every float that it has written, NaN included, bit for bit.
            part = cls.model_validate(json.loads(content))
        except (ValueError, ValidationError):
            return None
        return part if part.key == key and part.sha256 == _digest(key, part.batches) else None

    def dump(self) -> bytes:
        """The object's content."""
        return json.dumps(self.model_dump()).encode()


@dataclass(frozen=True, slots=True)
class Machine:
    """What the numbers depend on beside the work."""

    base: str
    """Digest of the base model's files."""
    job: str
    """Digest of the spec, which decides how weights are put on the base."""
    arithmetic: str
    """Device, number format, and on a CPU the threads."""


class S3Keeper:
    """Keeps results of batches in S3."""

    def __init__(self, context: Context, machine: Machine, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._context, self._machine, self._clock = context, machine, clock

    @contextmanager
    def open(self, work: Work) -> Iterator[Tape]:
        """The tape of a piece of work, with all that earlier attempts and jobs have left of it."""
        key = work_key(work, self._machine)
        shared = f"{store_root(self._context)}{key}/" if work.subject == BASE else None
        tape = _S3Tape(self._context, key, work, self._clock)
        is_shared = shared is not None and tape.load(shared + _MEASURED)
        if shared is not None and is_shared:
            self._mark_used(shared)
        else:
            tape.load_parts()
        try:
            yield tape
        except BaseException:
            tape.write()
            raise
        if shared is None:
            tape.write()
        elif not is_shared and self._mark_used(shared):
            tape.write_all(shared + _MEASURED)

    def _mark_used(self, prefix: str) -> bool:
        try:
            mark_used(self._context, prefix)
        except TrainerError as error:
            LOG.warning("%s cannot be marked as used: %s", prefix, error.message)
            return False
        return True


class _S3Tape:
    """Batches in memory, and in parts in S3."""

    def __init__(self, context: Context, key: str, work: Work, clock: Callable[[], float]) -> None:
        self._storage, self._key, self._clock = context.storage, key, clock
        self._prefix = context.layout.evaluation(key)
        self._numbers = {batch: number for number, batch in enumerate(work.plan)}
        self._found: dict[Step, list[Numbers]] = {}
        self._fresh: dict[Step, list[Numbers]] = {}
        self._written_at = clock()

    def find(self, batch: Step) -> list[Numbers] | None:
        return self._found.get(batch)

    def add(self, batch: Step, found: list[Numbers]) -> None:
        self._found[batch] = self._fresh[batch] = found
        if self._clock() - self._written_at >= WRITE_SECONDS:
            self.write()

    def load(self, uri: str) -> bool:
        """Take an object's batches; whether all of the plan are there now."""
        try:
            content = self._storage.read(uri)
        except TrainerError as error:
            LOG.warning("%s cannot be read: %s", uri, error.message)
            return False
        part = None if content is None else Part.parse(content, self._key)
        if part is None:
            if content is not None:
                LOG.warning("%s is damaged or of something else; it is not used", uri)
            return False
        for batch in part.batches:
            rows = tuple(batch.rows)
            if rows in self._numbers and len(batch.found) == len(rows):
                self._found[rows] = batch.found
        LOG.info("%d of %d batches were measured before: %s", len(self._found), len(self._numbers), uri)
        return len(self._found) == len(self._numbers)

    def load_parts(self) -> None:
        """Take what earlier attempts of this job have left."""
        try:
            listed = self._storage.list_objects(self._prefix)
        except TrainerError as error:
            LOG.warning("%s cannot be listed: %s", self._prefix, error.message)
            return
        for item in listed:
            self.load(item.uri)

    def write(self) -> None:
        """Keep the batches that were added since the last time."""
        self._written_at = self._clock()
        if not self._fresh:
            return
        first = min(self._numbers[batch] for batch in self._fresh)
        if self._put(f"{self._prefix}{first:06d}.json", self._fresh):
            self._fresh = {}

    def write_all(self, uri: str) -> None:
        """Keep every batch in one object."""
        self._put(uri, self._found)

    def _put(self, uri: str, results: Mapping[Step, list[Numbers]]) -> bool:
        try:
            self._storage.write(uri, Part.of(self._key, results).dump())
        except TrainerError as error:
            LOG.warning("%s is not written: %s", uri, error.message)
            return False
        return True


def work_key(work: Work, machine: Machine) -> str:
    """64 hex digits over everything that decides the numbers of a piece of work."""
    decides = {
        "version": MEASURING_VERSION,
        "libraries": library_versions(),
        "base": machine.base,
        # The base is measured alike by all jobs; what is put on it is this job's own.
        "subject": work.subject if work.subject == BASE else [work.subject, machine.job],
        "arithmetic": machine.arithmetic,
        "kind": work.kind,
        "settings": dict(work.settings),
        "plan": [list(batch) for batch in work.plan],
        "rows": _rows_digest(work.rows),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _rows_digest(rows: Any) -> str:
    digest = hashlib.sha256()
    for row in rows:
        array = np.asarray(row, np.float64)  # holds every token id and every weight exactly
        digest.update(len(array).to_bytes(8, "little") + array.tobytes())
    return digest.hexdigest()


def _digest(key: str, batches: list[Batch]) -> str:
    content = json.dumps([key, [[batch.rows, batch.found] for batch in batches]])
    return hashlib.sha256(content.encode()).hexdigest()
