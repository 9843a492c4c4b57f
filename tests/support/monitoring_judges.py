"""Prometheus' and Grafana's own code: the Go module under tests/monitoring/judges, compiled here on demand."""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from localcluster.layout import cache_root

ROOT: Final = Path(__file__).resolve().parents[2]
_MODULES: Final = ROOT / "tests" / "monitoring"
_OPERATOR: Final = "github.com/prometheus-operator/prometheus-operator"
_INTERVALS: Final = re.compile(r"\$__(rate_interval|range|interval)")
"""Grafana's, which it replaces before it asks Prometheus."""


@dataclass(frozen=True)
class Series:
    """What an expression reads."""

    metric: str
    labels: frozenset[str]
    """By which the series are chosen."""


@dataclass(frozen=True)
class Judgement:
    """What was found."""

    series: dict[str, list[Series]]
    """By expression."""
    faults: dict[str, str]
    """By expression or dashboard."""


def compile_promtool() -> Path:
    """Prometheus' own tool; the first time compiles for minutes, later Go finds everything in its cache."""
    return _compile("promtool", "github.com/prometheus/prometheus/cmd/promtool")


def judge(expressions: list[str], dashboards: dict[str, Any] | None = None) -> Judgement:
    """Read expressions, and hold dashboards to Grafana's schema."""
    program = _compile("monitoring-judges", ".")
    plain = {expression: _INTERVALS.sub("5m", expression) for expression in expressions}
    question = json.dumps({"expressions": list(plain.values()), "dashboards": dashboards or {}})
    done = subprocess.run([program], input=question, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    series = {
        expression: [Series(each["metric"], frozenset(each["labels"])) for each in found["series"][asked] or ()]
        for expression, asked in plain.items()
    }
    return Judgement(series, found["faults"])


def monitor_definitions() -> list[Path]:
    """The CRDs of ServiceMonitor, PodMonitor and PrometheusRule, from the Prometheus operator's published module."""
    command = ["go", "mod", "download", "-json", _OPERATOR]
    done = subprocess.run(command, cwd=_MODULES / "definitions", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = Path(json.loads(done.stdout)["Dir"]) / "example" / "prometheus-operator-crd"
    kinds = ("servicemonitors", "podmonitors", "prometheusrules")
    return [folder / f"monitoring.coreos.com_{kind}.yaml" for kind in kinds]


def _compile(name: str, package: str) -> Path:
    program = cache_root() / "bin" / name
    program.parent.mkdir(parents=True, exist_ok=True)
    # No discovery of targets in clouds: four fifths of what there would be to compile.
    command = ["go", "build", "-tags", "remove_all_sd", "-ldflags", "-s -w", "-o", str(program), package]
    environment = {**os.environ, "CGO_ENABLED": "0"}
    done = subprocess.run(
        command, cwd=_MODULES / "judges", env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return program
