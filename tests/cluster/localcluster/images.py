"""The project's two images: built from the Dockerfiles users build, pushed to the cluster's registry.

The base they start from is made here by debootstrap, of the same Debian release and Python as the public one,
so that no public image registry is needed.
"""

import hashlib
import json
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from localcluster.buildah import RELEASE, Buildah
from localcluster.console import step
from localcluster.facts import Facts
from localcluster.layout import Layout, layout_of

_SOURCE = Path(__file__).parents[3]
_DOCKERFILES = {"operator": "operator/Dockerfile", "trainer": "trainer_image/Dockerfile"}
_INGREDIENTS = (".dockerignore", "LICENSE", "README.md", "operator", "pyproject.toml", "requirements", "trainer_image")

_PACKAGES = ("ca-certificates", "python3", "python3-venv")
# Nobody reads these in a container, and they are a third of the system.
_UNREAD = ("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man",
           "var/cache/apt", "var/lib/apt/lists", "var/log")  # fmt: skip


def build_images(layout: Layout) -> None:
    """Build both images, unless they were built of the same sources before; no cluster is needed."""
    buildah, tag = Buildah(layout.cache / "buildah"), _tag()
    for name, dockerfile in _DOCKERFILES.items():
        image = _local(name, tag)
        if not buildah.exists(image):
            base = base_image(buildah, layout.cache)
            with step(f"build image finetune-{name}:{tag}"):
                buildah.build(_SOURCE / dockerfile, _SOURCE, image, {"BASE": base, "UV_OPTIONS": ""})


def push_images(layout: Layout, facts: Facts) -> dict[str, str]:
    """Push both images, unless the registry has them; returns a reference for each."""
    buildah, tag = Buildah(layout.cache / "buildah"), _tag()
    for name in _DOCKERFILES:
        if not in_registry(facts.registry_push, f"finetune-{name}", tag):
            with step(f"push image finetune-{name}:{tag}"):
                buildah.push(_local(name, tag), f"{facts.registry_push}/finetune-{name}:{tag}")
    references = {name: f"{facts.registry}/finetune-{name}:{tag}" for name in _DOCKERFILES}
    _record(layout).write_text(json.dumps(references, indent=2) + "\n")
    return references


def _tag() -> str:
    """A digest of all that decides the content, so that a reference never changes its meaning."""
    return source_digest(_SOURCE)[:12]


def _local(name: str, tag: str) -> str:
    return f"finetune.test/finetune-{name}:{tag}"


def source_digest(source: Path) -> str:
    """Digest of everything an image is made from: project, pins, Dockerfiles, base."""
    digest = hashlib.sha256(_base_recipe().encode())
    for entry in _INGREDIENTS:
        root = source / entry
        for path in [root] if root.is_file() else sorted(root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(source)}\0{path.stat().st_size}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def in_registry(address: str, repository: str, tag: str) -> bool:
    """Whether the registry at `address` has the image."""
    kinds = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    url = f"http://{address}/v2/{repository}/manifests/{tag}"
    asked = urllib.request.Request(url, method="HEAD", headers={"Accept": kinds})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=10):
            return True
    except urllib.error.HTTPError:
        return False


def reference(facts: Facts, name: str) -> str:
    """The last pushed image `name` (operator or trainer), as pods call it: repository:tag.

    Raises:
        FileNotFoundError: none was pushed yet.
    """
    record = _record(layout_of(facts.name))
    if not record.exists():
        raise FileNotFoundError(f"cluster {facts.name} has no images: run 'make images'")
    references: dict[str, str] = json.loads(record.read_text())
    return references[name]


def _record(layout: Layout) -> Path:
    return layout.root / "images.json"


def _base_recipe() -> str:
    return json.dumps([RELEASE, _PACKAGES, _UNREAD])


def base_image(buildah: Buildah, cache: Path) -> str:
    """The base that both images start from here, made unless it is there."""
    image = f"finetune.test/base:{hashlib.sha256(_base_recipe().encode()).hexdigest()[:12]}"
    if not buildah.exists(image):
        with step(f"make a Debian {RELEASE} base image"):
            _make_base(buildah, image, cache / "base-image")
    return image


def _make_base(buildah: Buildah, image: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    argv = ("debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", RELEASE, str(folder))
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"debootstrap failed:\n{(done.stdout + done.stderr).strip()[-1000:]}")
    for unread in _UNREAD:
        shutil.rmtree(folder / unread)
        (folder / unread).mkdir()
    container = buildah.run("from", "scratch")
    buildah.run("add", "--quiet", container, str(folder), "/")
    buildah.run("commit", "--quiet", "--rm", container, image)
    shutil.rmtree(folder)
