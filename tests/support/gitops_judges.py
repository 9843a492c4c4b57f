"""What GitOps tools say of an object, by their own code: the Go program under tests/gitops/judges, compiled here."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from recorded_states import CHECK, ROOT

from localcluster.layout import cache_root

KUSTOMIZATION: Final = ROOT / "docs/gitops/flux/kustomization.yaml"
_MODULE: Final = ROOT / "tests/gitops/judges"


@dataclass(frozen=True)
class Verdict:
    """What one tool says."""

    status: str
    message: str


@dataclass(frozen=True)
class Verdicts:
    """What each tool says of one object."""

    kstatus: Verdict
    flux: Verdict
    argocd: Verdict


def compile_judges() -> Path:
    """The program; the first time compiles for two minutes, later Go finds everything in its cache."""
    program = cache_root() / "bin" / "gitops-judges"
    program.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "CGO_ENABLED": "0"}
    command = ["go", "build", "-ldflags", "-s -w", "-o", str(program), "."]
    done = subprocess.run(command, cwd=_MODULE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def judge(program: Path, objects: dict[str, dict[str, Any]]) -> dict[str, Verdicts]:
    """Verdicts by the names of the objects, with the script and the expressions that the docs offer."""
    question = {"objects": objects, "script": (CHECK / "health.lua").read_text(), "checks": health_checks()}
    done = subprocess.run([program], input=json.dumps(question), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: _verdicts(found) for name, found in json.loads(done.stdout).items()}


def health_checks() -> dict[str, str]:
    """Flux's expressions for FinetuneJobs."""
    (check,) = yaml.safe_load(KUSTOMIZATION.read_text())["spec"]["healthCheckExprs"]
    return {name: check[name] for name in ("failed", "current")}


def _verdicts(found: dict[str, dict[str, str]]) -> Verdicts:
    return Verdicts(**{tool: Verdict(**said) for tool, said in found.items()})
