"""The custom resource definitions of Argo CD and Flux, as published in their Go modules."""

import json
import subprocess
from pathlib import Path
from typing import Final

_FLUX: Final = "github.com/fluxcd"
MODULES: Final = {
    "github.com/argoproj/argo-cd/v3@v3.3.0": "manifests/crds/application-crd.yaml",
    f"{_FLUX}/source-controller@v1.7.0": "config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml",
    f"{_FLUX}/kustomize-controller@v1.6.0": "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml",
    f"{_FLUX}/helm-controller@v1.4.0": "config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml",
}


def definitions() -> list[Path]:
    """Files, one definition each; the first time downloads 28 MB."""
    return [_folder(module) / path for module, path in MODULES.items()]


def _folder(module: str) -> Path:
    done = subprocess.run(("go", "mod", "download", "-json", module), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(json.loads(done.stdout)["Dir"])
