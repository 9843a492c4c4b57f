"""What the operator hands to the trainer: one JSON document in one environment variable, never a secret in it."""

from typing import Final, Literal

from finetune_api.base import Message
from finetune_api.names import Kind
from finetune_api.spec.job import FinetuneJobSpec

ENVIRONMENT_VARIABLE: Final = "FINETUNE_REQUEST"


class TrainerRequest(Message):
    """One Job's work order; the same for every attempt of that Job."""

    schema_version: Literal["1"] = "1"
    kind: Kind
    namespace: str
    name: str
    uid: str
    """The FinetuneJob's UID."""
    spec: FinetuneJobSpec
    spec_digest: str
    """Digest of the identity settings; the trainer computes it anew and refuses a difference."""
    image: str | None = None
    """The trainer's image, for the lineage."""
    data_digest: str | None = None
    """What preflight validated; training refuses other data. None for preflight itself."""
    prepared_digest: str | None = None
    """Digest of `prepared.json`, which holds the resolved settings and names the token ids. None for preflight."""
    rendezvous: str | None = None
    """`host:port` of the first pod, where several train together."""
    gpu_memory_bytes: int | None = None
    """Memory of one GPU of the kind that training will get, where the cluster tells."""
