"""The operator's image: the same bytes from the same sources, small, for any user, and it says what it is."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcluster import images
from localcluster.buildah import Buildah
from localcluster.layout import layout_of

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.cluster, pytest.mark.slow(name="images", minutes=5), pytest.mark.timeout(1500)]

# Bytes (docs/images.md).
COMPRESSED, UNPACKED = 150 * 10**6, 350 * 10**6


@pytest.fixture(scope="module")
def buildah() -> Buildah:
    return Buildah(layout_of("default").cache / "buildah")


@pytest.fixture(scope="module")
def twice(buildah: Buildah) -> Iterator[list[str]]:
    """The operator's image, built two times from nothing but its base."""
    names = [f"finetune.test/twice:{number}" for number in range(2)]
    base = images.base_image(buildah, layout_of("default").cache)
    for name in names:
        arguments = {"BASE": base, "UV_OPTIONS": "", "VERSION": "1.2.3", "REVISION": "abc"}
        buildah.build(ROOT / "operator" / "Dockerfile", ROOT, name, arguments, anew=True)
    yield names
    buildah.run("rmi", "--force", *names)


@pytest.fixture(scope="module")
def container(buildah: Buildah, twice: list[str]) -> Iterator[str]:
    name = buildah.run("from", "--pull-never", twice[0])
    yield name
    buildah.run("rm", name)


def test_two_builds_have_the_same_layers(buildah: Buildah, twice: list[str]) -> None:
    first, second = (buildah.inspect(name)["rootfs"]["diff_ids"] for name in twice)
    assert first == second


def test_it_says_what_it_is_and_runs_as_nobody_in_particular(buildah: Buildah, twice: list[str]) -> None:
    config: dict[str, Any] = buildah.inspect(twice[0])["config"]
    assert config["User"] == "65532:65532"
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["title"] == "finetune-operator"
    assert (labels["version"], labels["revision"], labels["licenses"]) == ("1.2.3", "abc", "Apache-2.0")
    assert labels["base.name"].startswith("finetune.test/base:")


def test_it_starts_as_any_user_of_the_root_group(buildah: Buildah, container: str) -> None:
    command = ("python", "-m", "finetune_operator", "--help")
    run = ("run", "--isolation", "chroot", "--user", "1000780000:0", container, "--", *command)
    assert "--trainer-image" in buildah.run(*run)


def test_it_is_within_its_budget(buildah: Buildah, container: str, twice: list[str], tmp_path: Path) -> None:
    folder = buildah.run("mount", container)
    unpacked = int(subprocess.run(["du", "-sb", folder], capture_output=True, text=True, check=True).stdout.split()[0])
    buildah.run("umount", container)
    buildah.run("push", "--compression-format=gzip", twice[0], f"dir:{tmp_path / 'packed'}")
    compressed = sum(path.stat().st_size for path in (tmp_path / "packed").iterdir())
    print(f"compressed {compressed / 1e6:.0f} MB, unpacked {unpacked / 1e6:.0f} MB")
    assert compressed < COMPRESSED
    assert unpacked < UNPACKED
