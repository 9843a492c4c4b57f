"""The trainer image is pinned by the digest that the first pod's node tells."""

from typing import Any

import cluster_objects as o
import pytest
from scenarios import PREFLIGHT, VALIDATED, Known, decision

DIGEST = f"sha256:{'a' * 64}"

# image, imageID of the pod, what later Jobs use
IMAGES = {
    "a tag is pinned": (
        "r.test/t:1",
        f"r.test/t@{DIGEST}",
        f"r.test/t@{DIGEST}",
    ),
    "a port is no tag": ("registry.test:5000/t", f"registry.test:5000/t@{DIGEST}", f"registry.test:5000/t@{DIGEST}"),
    "the default registry may be left out": ("team/t:1", f"docker.io/team/t@{DIGEST}", f"team/t@{DIGEST}"),
    "and its library": ("t", f"docker.io/library/t@{DIGEST}", f"t@{DIGEST}"),
    "dockershim's form": ("r.test/t:1", f"docker-pullable://r.test/t@{DIGEST}", f"r.test/t@{DIGEST}"),
    "an image loaded into the node cannot be pulled by its id": ("r.test/t:1", DIGEST, "r.test/t:1"),
    "another repository may need other credentials": ("r.test/t:1", f"other.test/t@{DIGEST}", "r.test/t:1"),
    "an image that is pinned stays so": (f"r.test/t@{DIGEST}", f"r.test/t@sha256:{'b' * 64}", f"r.test/t@{DIGEST}"),
    "nothing is known before the image is pulled": ("r.test/t:1", "", "r.test/t:1"),
}


def running(image_id: str) -> o.Raw:
    pod = o.running("preflight")
    pod["status"]["containerStatuses"][0]["imageID"] = image_id
    return pod


@pytest.mark.parametrize(("image", "image_id", "expected"), IMAGES.values(), ids=IMAGES)
def test_image(image: str, image_id: str, expected: str) -> None:
    known = Known(status={"image": image}, jobs=(PREFLIGHT,), pods=(running(image_id),))
    assert decision(known).status.image == expected


def test_training_uses_the_pinned_image() -> None:
    (create,) = decision(Known(status={**VALIDATED, "image": f"r.test/t@{DIGEST}"})).actions
    container: Any = create.manifest["spec"]["template"]["spec"]["containers"][0]  # type: ignore[union-attr]
    assert container["image"] == f"r.test/t@{DIGEST}"
