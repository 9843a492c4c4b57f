"""Compile the Kubernetes components from their published Go modules, once per pinned set of versions."""

import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from localcluster.console import step
from localcluster.doctor import weed_program
from localcluster.layout import Layout
from localcluster.pause_image import build_pause_image

_MODULES = Path(__file__).parent.parent / "components"


@dataclass(frozen=True)
class Family:
    """Programs built from one Go module; `stamps` are the variables that hold their version."""

    name: str
    package: str
    module: str
    programs: tuple[str, ...]
    stamps: tuple[str, ...] = ()


# Without its stamps Kubernetes calls itself v0.0.0-master and charts' kubeVersion refuses it.
_KUBERNETES_STAMPS = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")

FAMILIES = (
    Family(
        "kubernetes", "k8s.io/kubernetes/cmd/{program}", "k8s.io/kubernetes",
        ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet"),
        tuple(f"{stamp}.gitVersion" for stamp in _KUBERNETES_STAMPS),
    ),
    Family("etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3", ("etcd",)),
    Family("coredns", ".", "github.com/coredns/coredns", ("coredns",)),
    Family(
        "helm", "helm.sh/helm/v3/cmd/helm", "helm.sh/helm/v3", ("helm",),
        ("helm.sh/helm/v3/internal/version.version",),
    ),
)  # fmt: skip

KUEUE = Family(
    "kueue", "sigs.k8s.io/kueue/cmd/{program}", "sigs.k8s.io/kueue", ("kueue",),
    ("sigs.k8s.io/kueue/pkg/version.GitVersion",),
)  # fmt: skip
"""Built on demand (`localcluster kueue`): five minutes that most uses of a cluster need not spend."""

KUBE_ROUTER = Family(
    "kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/{program}",
    "github.com/cloudnativelabs/kube-router/v2", ("kube-router",),
)  # fmt: skip
"""Built when NetworkPolicies are to be enforced."""


def build_all(layout: Layout) -> None:
    """Build every family that is not built as pinned, and the pause image."""
    for family in FAMILIES:
        compile_family(layout, family)
    if not pause_archive(layout).exists():
        build_pause_image(pause_archive(layout), layout.binaries)
    _copy_object_store(layout)


def compile_family(layout: Layout, family: Family) -> None:
    """Build a family unless it is built as pinned now."""
    layout.binaries.mkdir(parents=True, exist_ok=True)
    if not is_built(layout, family):
        _build(layout, family)


def module_folder(family: Family) -> Path:
    """Where Go keeps the published module's files: manifests and charts, among them.

    Raises:
        RuntimeError: the module cannot be had.
    """
    argv = ("go", "mod", "download", "-json", family.module)
    done = subprocess.run(argv, cwd=_MODULES / family.name, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"downloading {family.module} failed:\n{(done.stdout + done.stderr).strip()[-2000:]}")
    return Path(json.loads(done.stdout)["Dir"])


def pinned_version(family: Family) -> str:
    """The version that a family's go.mod names."""
    text = (_MODULES / family.name / "go.mod").read_text()
    found = re.search(rf"^\s*(?:require )?{re.escape(family.module)} (v\S+)", text, re.MULTILINE)
    if not found:
        raise RuntimeError(f"components/{family.name}/go.mod does not name {family.module}")
    return found.group(1)


def missing(layout: Layout) -> list[str]:
    """What `build_all` would make."""
    files = [path.name for path in (pause_archive(layout), layout.binaries / "weed") if not path.exists()]
    return [*(family.name for family in FAMILIES if not is_built(layout, family)), *files]


def is_built(layout: Layout, family: Family) -> bool:
    """Whether all programs of `family` exist as pinned now."""
    stamp = _stamp(layout, family)
    present = all((layout.binaries / program).exists() for program in family.programs)
    return present and stamp.exists() and stamp.read_text() == fingerprint(family)


def fingerprint(family: Family) -> str:
    """Digest of what decides the programs: the module's files and the linker's flags."""
    digest = hashlib.sha256(_linker_flags(family).encode())
    for file in sorted((_MODULES / family.name).iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def pause_archive(layout: Layout) -> Path:
    """The pause image, packed."""
    return layout.binaries / "pause.tar"


def _copy_object_store(layout: Layout) -> None:
    """Copy SeaweedFS's program: a virtual environment under /tmp is out of sight inside the cluster."""
    source, target = weed_program(), Path(layout.binary("weed"))
    if source and (not target.exists() or target.stat().st_size != source.stat().st_size):
        shutil.copy2(source, target.with_suffix(".new"))
        target.with_suffix(".new").rename(target)


def _build(layout: Layout, family: Family) -> None:
    # One at a time, so that a person sees minutes of compiling advance; they share what was compiled before.
    for program in family.programs:
        with step(f"compile {program} {pinned_version(family)} (minutes, once)"):
            _compile(layout, family, program)
    _stamp(layout, family).write_text(fingerprint(family))


def _compile(layout: Layout, family: Family, program: str) -> None:
    package = family.package.format(program=program)
    argv = ("go", "build", "-ldflags", _linker_flags(family), "-o", layout.binary(program), package)
    done = subprocess.run(
        argv, cwd=_MODULES / family.name, env={**os.environ, "CGO_ENABLED": "0"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"compiling {program} failed:\n{done.stderr.strip()[-2000:]}")


def _linker_flags(family: Family) -> str:
    version = pinned_version(family)
    flags = ["-s -w", *(f"-X {stamp}={version}" for stamp in family.stamps)]
    if family.name == "kubernetes":
        major, minor, _ = version.removeprefix("v").split(".")
        for stamp in _KUBERNETES_STAMPS:
            flags += [f"-X {stamp}.gitMajor={major}", f"-X {stamp}.gitMinor={minor}"]
    return " ".join(flags)


def _stamp(layout: Layout, family: Family) -> Path:
    return layout.binaries / f"{family.name}.built"
