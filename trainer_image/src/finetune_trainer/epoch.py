"""Fencing: an attempt claims the next epoch by a conditional write; an older epoch may not commit any more.

Kubernetes can leave a zombie pod running beside its successor, and two clusters can be pointed at one output.
The claim decides between them without clocks or locks.
"""

import logging
import os
import socket
import uuid
from dataclasses import dataclass
from typing import Final

from pydantic import Field, JsonValue

from finetune_api.base import Message
from finetune_api.conditions import Reason
from finetune_api.layout import OutputLayout
from finetune_trainer.errors import InfrastructureError
from finetune_trainer.manifest import Identity
from finetune_trainer.storage import Storage

LOG: Final = logging.getLogger(__name__)


class Claim(Message):
    """Content of `epochs/<n>.json`, for people who look."""

    spec_digest: str
    data_digest: str
    settings: dict[str, JsonValue] = Field(default={})
    """What the spec's digest is over."""
    claimed_at: str
    holder: str
    """Pod name and a random word, so that no two claims are equal."""


@dataclass(frozen=True)
class Epoch:
    """A claimed epoch, and the fence that it puts before commits."""

    number: int
    storage: Storage
    layout: OutputLayout

    def check(self) -> None:
        """Refuse to go on when a newer attempt has taken over; call before every commit.

        Raises:
            InfrastructureError: Superseded.

        """
        newest = _newest(self.storage, self.layout)
        if newest > self.number:
            raise InfrastructureError(
                reason=Reason.SUPERSEDED,
                message=f"attempt {self.number} stops: attempt {newest} has taken over {self.layout.root}",
                advice="Nothing to do, unless two FinetuneJobs share spec.output.uri: give each its own.",
            )


def claim(storage: Storage, layout: OutputLayout, identity: Identity, *, now: str) -> Epoch:
    """Claim the next free epoch; each number is handed out once, whoever asks at the same time."""
    holder = f"{os.environ.get('HOSTNAME', socket.gethostname())}/{uuid.uuid4().hex[:8]}"
    body = Claim(
        spec_digest=identity.spec_digest,
        data_digest=identity.data_digest,
        settings=identity.settings,
        claimed_at=now,
        holder=holder,
    )
    number = _newest(storage, layout) + 1
    while not storage.write_if_absent(layout.epoch(number), body.model_dump_json().encode()):
        number += 1
    LOG.info("this is attempt %d of %s", number, layout.root)
    return Epoch(number, storage, layout)


def _newest(storage: Storage, layout: OutputLayout) -> int:
    names = (item.name.removesuffix(".json") for item in storage.list_objects(layout.epochs))
    return max((int(name) for name in names if name.isdecimal()), default=0)


def claims(storage: Storage, layout: OutputLayout) -> list[tuple[int, Claim]]:
    """Every attempt so far with its claim, in order."""
    found = []
    for item in storage.list_objects(layout.epochs):
        name = item.name.removesuffix(".json")
        if name.isdecimal() and (content := storage.read(item.uri)) is not None:
            found.append((int(name), Claim.model_validate_json(content)))
    return sorted(found, key=lambda each: each[0])
