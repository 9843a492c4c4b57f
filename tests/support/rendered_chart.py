"""What Helm makes of the chart, parsed; no cluster is asked."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from localcluster.layout import cache_root

CHART: Final = Path(__file__).resolve().parents[2] / "charts" / "finetune-operator"
NAME: Final = "release-finetune-operator"
"""Of what the release called `release` makes."""


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Helm on files alone."""
    command = [str(cache_root() / "bin" / "helm"), *arguments, "--kube-version", "1.34.0"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@cache
def template(*options: str) -> subprocess.CompletedProcess[str]:
    """`helm template` of the chart; asked again with the same options, what it said the first time."""
    return helm("template", "release", str(CHART), "--namespace", "system", *options)


def render(*options: str) -> list[dict[str, Any]]:
    """Every object, in the order of installation."""
    done = template(*options)
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def one(kind: str, *options: str) -> dict[str, Any]:
    """The only object of a kind."""
    (found,) = [item for item in render(*options) if item["kind"] == kind]
    return found


def named(kind: str, *options: str) -> dict[str, dict[str, Any]]:
    """Objects of a kind by their names."""
    return {item["metadata"]["name"]: item for item in render(*options) if item["kind"] == kind}


def operator_pod(*options: str) -> dict[str, Any]:
    """The spec of the operator's pod."""
    return dict(one("Deployment", *options)["spec"]["template"]["spec"])
