"""The chart as a Helm release on a real API server, and the operator with the account and settings of the release."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from kubectl import Kubectl
from operator_account import as_account
from operator_process import OperatorProcess
from rendered_chart import CHART

from finetune_operator.settings import ENVIRONMENT_PREFIX
from localcluster.layout import cache_root

OPERATOR = "finetune-operator"


@dataclass(frozen=True)
class Release:
    """One release of the chart, in a namespace that is there."""

    kubectl: Kubectl
    """In the release's namespace, as whoever runs Helm."""
    name: str = OPERATOR

    def helm(self, *arguments: str) -> str:
        """Run Helm; its stdout, or an AssertionError with what a user would have read."""
        done = self.tried(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def tried(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Helm, whatever comes of it."""
        scope = ("--kubeconfig", str(self.kubectl.kubeconfig), "--namespace", str(self.kubectl.namespace))
        command = [str(cache_root() / "bin" / "helm"), *scope, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    def upgrade(self, *options: str, chart: Path = CHART) -> None:
        """Install the chart, or upgrade to it."""
        self.helm("upgrade", "--install", self.name, str(chart), *options)

    def uninstall(self) -> None:
        """Remove the release, and wait until its objects are gone."""
        self.helm("uninstall", self.name, "--wait")

    def environment(self) -> dict[str, str]:
        """What the release tells the operator's container."""
        deployment = self.kubectl.get("deployment", OPERATOR)
        assert deployment is not None
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        return {item["name"]: item["value"] for item in container["env"] if "value" in item}

    def operator(self, folder: Path) -> OperatorProcess:
        """The operator as this release would run it: with its account and with its settings, on a port that is free."""
        told = {name.removeprefix(ENVIRONMENT_PREFIX): value for name, value in self.environment().items()}
        told.pop("PORT")
        flags = [part for name, value in told.items() for part in (f"--{name.lower().replace('_', '-')}", value)]
        return OperatorProcess(as_account(self.kubectl, OPERATOR, folder), folder / "operator.log", *flags)
