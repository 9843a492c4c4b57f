"""The trainer image pinned by digest: a tag can move between preflight and training, or between two attempts.

The first pod's node has pulled the image and tells its digest. Where that is none of the image's own repository (an
image that was loaded into the node, or one known to it under another name), there is nothing to pin.
"""

import re
from collections.abc import Iterable
from typing import Final

from finetune_operator.observe import Observed

_DIGEST: Final = re.compile(r"(?:docker-pullable://)?(?P<repository>[^@\s]+)@(?P<digest>sha256:[0-9a-f]{64})")
_DEFAULT_REGISTRY: Final = ("docker.io/", "docker.io/library/")


def pinned(image: str | None, observed: Observed) -> str | None:
    """The job's image by digest, as soon as a pod tells it."""
    if image is None or "@" in image:
        return image
    return next(filter(None, (_by_digest(image, image_id) for image_id in _image_ids(observed))), image)


def _image_ids(observed: Observed) -> Iterable[str]:
    children = (child for child in (observed.preflight, observed.train) if child is not None)
    return (pod.image_id for child in children for pod in child.pods)


def _by_digest(image: str, image_id: str) -> str | None:
    found = _DIGEST.fullmatch(image_id)
    if found is None:
        return None
    repository = _repository(image)
    is_same = found["repository"] in (repository, *(prefix + repository for prefix in _DEFAULT_REGISTRY))
    return f"{repository}@{found['digest']}" if is_same else None


def _repository(image: str) -> str:
    """Without the tag; a colon before the last slash is a port."""
    folder, slash, name = image.rpartition("/")
    return folder + slash + name.partition(":")[0]
