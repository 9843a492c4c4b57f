"""The real Kueue, installed on demand: its controller compiled from its module, its chart taken from the same module.

Only namespaces with `NAMESPACE_LABEL` are its: its webhooks then stand in nobody else's way, not even while it is down.
It stays until the cluster is purged.
"""

import json
import subprocess
from typing import Final

import yaml

from localcluster.build import KUEUE, compile_family, module_folder, pinned_version
from localcluster.buildah import Buildah
from localcluster.console import step
from localcluster.facts import Facts
from localcluster.images import in_registry
from localcluster.layout import Layout

NAMESPACE: Final = "kueue-system"
RELEASE: Final = "kueue"
NAMESPACE_LABEL: Final = "finetune.test/kueue"
"""A namespace with it, whatever its value, is one whose Jobs Kueue may manage."""
_REPOSITORY: Final = "kueue"
_USER: Final = "65532:65532"

_CONFIGURATION: Final = {
    "apiVersion": "config.kueue.x-k8s.io/v1beta2",
    "kind": "Configuration",
    "health": {"healthProbeBindAddress": ":8081"},
    "metrics": {"bindAddress": ":8443"},
    "webhook": {"port": 9443},
    # There is one of it: waiting for a lease would only delay the start.
    "leaderElection": {"leaderElect": False},
    "managedJobsNamespaceSelector": {"matchExpressions": [{"key": NAMESPACE_LABEL, "operator": "Exists"}]},
    "integrations": {"frameworks": ["batch/job"]},
}


def install(layout: Layout, facts: Facts) -> None:
    """Build Kueue where it is not built as pinned, push its image and install its chart; returns once it is ready.

    Raises:
        RuntimeError: it cannot be compiled, packed or installed; the message says why.
    """
    compile_family(layout, KUEUE)
    image = _push_image(layout, facts)
    values = {
        "controllerManager": {
            "manager": {
                "image": {"repository": image.rpartition(":")[0], "tag": image.rpartition(":")[2]},
                "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
            },
            "readinessProbe": {"initialDelaySeconds": 1, "periodSeconds": 1},
        },
        "managerConfig": {"controllerManagerConfigYaml": yaml.safe_dump(_CONFIGURATION)},
    }
    _clear_interrupted_release(facts)
    chart = module_folder(KUEUE) / "charts" / "kueue"
    with step(f"install Kueue {pinned_version(KUEUE)}"):
        arguments = ("upgrade", "--install", RELEASE, str(chart), "--create-namespace", "--wait", "--timeout=5m")
        _helm(facts, *arguments, "--values=-", stdin=yaml.safe_dump(values))


def _push_image(layout: Layout, facts: Facts) -> str:
    """The controller alone in an image: it is one static file."""
    buildah, tag = Buildah(layout.cache / "buildah"), pinned_version(KUEUE)
    if not in_registry(facts.registry_push, _REPOSITORY, tag):
        local = f"finetune.test/{_REPOSITORY}:{tag}"
        with step(f"push image {_REPOSITORY}:{tag}"):
            container = buildah.run("from", "scratch")
            buildah.run("add", "--quiet", "--chmod=0755", container, layout.binary("kueue"), "/manager")
            buildah.run("config", f"--user={_USER}", '--entrypoint=["/manager"]', container)
            buildah.run("commit", "--quiet", "--rm", container, local)
            buildah.push(local, f"{facts.registry_push}/{_REPOSITORY}:{tag}")
    return f"{facts.registry}/{_REPOSITORY}:{tag}"


def _clear_interrupted_release(facts: Facts) -> None:
    """Helm refuses to go on from an install that was cut off."""
    known = json.loads(_helm(facts, "list", "--all", "--output=json"))
    if any(release["name"] == RELEASE and release["status"].startswith("pending-") for release in known):
        _helm(facts, "uninstall", RELEASE, "--wait", "--timeout=2m")


def _helm(facts: Facts, *arguments: str, stdin: str = "") -> str:
    command = (str(facts.binaries / "helm"), f"--kubeconfig={facts.kubeconfig}", f"--namespace={NAMESPACE}", *arguments)
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"helm {arguments[0]} failed:\n{done.stderr.strip()[-2000:]}")
    return done.stdout
