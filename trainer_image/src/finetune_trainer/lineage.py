"""What a result was made from, for `TrainerReport.lineage`; it stands in report.json and in the final manifest."""

import hashlib

from finetune_api.request import TrainerRequest
from finetune_trainer.parent import ParentAdapter
from finetune_trainer.storage import Storage


def lineage(
    storage: Storage, request: TrainerRequest, *, data_digest: str, parent: ParentAdapter | None
) -> dict[str, str]:
    """URIs and digests of base model, parent adapter, data and prepared data, and the image, as far as there are."""
    spec = request.spec
    found = {
        "baseModel": spec.model.uri,
        "baseModelDigest": listing_digest(storage, spec.model.uri),
        "parentAdapter": parent.uri if parent else None,
        "parentAdapterDigest": parent.digest if parent else None,
        "dataDigest": data_digest,
        "preparedDigest": request.prepared_digest,
        "image": request.image,
    }
    return {name: value for name, value in found.items() if value is not None}


def listing_digest(storage: Storage, uri: str) -> str:
    """`sha256:<hex>` over one line per object of a model directory, `<name> <size> <ETag>`.

    The ETag changes with every change of the content, so no gigabytes are read to tell two versions apart. The same
    files uploaded with another part size have other ETags: equal digests mean equal models, others may too.
    """
    prefix = uri.rstrip("/") + "/"
    here = [item for item in storage.list_objects(prefix) if item.uri == prefix + item.name]
    lines = "".join(f"{item.name} {item.size} {item.etag}\n" for item in here)
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"
