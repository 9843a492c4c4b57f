"""The images: the same bytes from the same sources, small, for any user, and they say what they are."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from localcluster import images
from localcluster.buildah import Buildah
from localcluster.layout import layout_of

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.cluster, pytest.mark.slow(name="images", minutes=3), pytest.mark.timeout(1500)]

# Bytes (docs/images.md).
COMPRESSED, UNPACKED = 150 * 10**6, 350 * 10**6


@pytest.fixture(scope="module")
def buildah() -> Buildah:
    return Buildah(layout_of("default").cache / "buildah")


SMALL = {
    "torch": {"filelock", "jinja2", "markupsafe", "mpmath", "networkx", "sympy", "typing-extensions"},
    "trainer": {"boto3", "botocore", "jmespath", "numpy", "python-dateutil", "pyyaml", "s3transfer", "six", "urllib3"},
}
"""Packages of the trainer's locks that need no others: gigabytes are left out, and it is built in the same way."""


@contextmanager
def built_twice(buildah: Buildah, dockerfile: str, context: Path, **more: str) -> Iterator[list[str]]:
    """An image, built two times from nothing but its base."""
    names = [f"finetune.test/twice-{Path(dockerfile).parts[0]}:{number}" for number in range(2)]
    base = images.base_image(buildah, layout_of("default").cache)
    for name in names:
        arguments = {"BASE": base, "UV_OPTIONS": "", "VERSION": "1.2.3", "REVISION": "abc", **more}
        buildah.build(context / dockerfile, context, name, arguments, anew=True)
    yield names
    buildah.run("rmi", "--force", *names)


@pytest.fixture(scope="module")
def twice(buildah: Buildah) -> Iterator[list[str]]:
    """The operator's image."""
    with built_twice(buildah, "operator/Dockerfile", ROOT) as names:
        yield names


@pytest.fixture(scope="module")
def small_trainer_twice(buildah: Buildah, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The trainer's image with few packages."""
    context = tmp_path_factory.mktemp("context")
    for name in (".dockerignore", "LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, context)
    for name in ("operator", "trainer_image"):
        shutil.copytree(ROOT / name, context / name)
    (context / "requirements" / "small").mkdir(parents=True)
    for lock, packages in {"torch": SMALL["torch"], "trainer": SMALL["torch"] | SMALL["trainer"]}.items():
        entries = re.split(r"\n(?=\S+==)", (ROOT / "requirements" / f"{lock}.txt").read_text())
        kept = [entry for entry in entries if entry.partition("==")[0] in packages]
        assert len(kept) == len(packages)
        (context / "requirements" / "small" / f"{lock}.txt").write_text("\n".join(kept) + "\n")
    with built_twice(buildah, "trainer_image/Dockerfile", context, LOCKS="requirements/small") as names:
        yield names


@pytest.fixture(scope="module")
def container(buildah: Buildah, twice: list[str]) -> Iterator[str]:
    name = buildah.run("from", "--pull-never", twice[0])
    yield name
    buildah.run("rm", name)


@pytest.mark.parametrize("image", ["twice", "small_trainer_twice"])
def test_two_builds_have_the_same_layers(buildah: Buildah, request: pytest.FixtureRequest, image: str) -> None:
    first, second = (buildah.inspect(name)["rootfs"]["diff_ids"] for name in request.getfixturevalue(image))
    assert first == second


def test_every_module_of_the_trainers_image_is_there_as_byte_code(
    buildah: Buildah, small_trainer_twice: list[str]
) -> None:
    """Nothing can write it later: the root is read-only."""
    container = buildah.run("from", "--pull-never", small_trainer_twice[0])
    folder = Path(buildah.run("mount", container))
    modules = [path for part in ("venv/lib", "project") for path in (folder / "opt" / part).rglob("*.py")]
    missing = [path for path in modules if not list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))]
    buildah.run("umount", container)
    buildah.run("rm", container)
    assert len(modules) > 2000
    assert missing == []


def test_the_trainers_image_has_what_triton_builds_kernels_launchers_with(
    buildah: Buildah, small_trainer_twice: list[str]
) -> None:
    container = buildah.run("from", "--pull-never", small_trainer_twice[0])
    program = (
        "import os, subprocess, sysconfig; source = '#include <Python.h>\\nint answer(void) { return 42; }';"
        "here = sysconfig.get_path('include');"
        "subprocess.run(['gcc', '-x', 'c', '-', '-I', here, '-shared', '-fPIC', '-o', '/tmp/answer.so'],"
        " input=source, text=True, check=True);"
        "import ctypes; print(ctypes.CDLL('/tmp/answer.so').answer())"
    )
    told = buildah.run(
        "run", "--isolation", "chroot", "--user", "1000780000:0", container, "--", "python", "-c", program
    )
    buildah.run("rm", container)
    assert told.strip() == "42"


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
