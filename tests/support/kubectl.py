"""kubectl as tests and the demo use it: the real binary, answers parsed."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class KubectlError(RuntimeError):
    """kubectl refused; `stderr` is what a user would have read."""

    def __init__(self, arguments: tuple[str, ...], stderr: str) -> None:
        super().__init__(f"kubectl {' '.join(arguments)}: {stderr.strip()}")
        self.stderr = stderr


@dataclass(frozen=True)
class Kubectl:
    """One kubectl binary on one cluster, optionally in one namespace."""

    binary: Path
    kubeconfig: Path | None = None
    """None: the current context of whoever runs this."""
    namespace: str | None = None

    def inside(self, namespace: str) -> "Kubectl":
        """The same cluster, in a namespace."""
        return Kubectl(self.binary, self.kubeconfig, namespace)

    def command(self, *arguments: str) -> list[str]:
        """The full command line."""
        cluster = ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []
        scope = ["--namespace", self.namespace] if self.namespace else []
        return [str(self.binary), *cluster, *scope, *arguments]

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Run kubectl; its stdout, or KubectlError."""
        done = subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode:
            raise KubectlError(arguments, done.stderr)
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects as a user would, by `kubectl apply -f -`.

        Documents, not a List: for a List kubectl falls back to its own, vaguer validation. What begins with a brace is
        JSON to kubectl, and releases before 1.34 know no `---` in that.
        """
        self.run("apply", "-f", "-", stdin="".join(f"---\n{json.dumps(item)}\n" for item in objects))

    def get(self, *arguments: str) -> dict[str, Any] | None:
        """One object or list, or None where it does not exist."""
        text = self.run("get", *arguments, "--ignore-not-found", "-o", "json")
        return json.loads(text) if text.strip() else None

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        """The items of a list."""
        found = self.get(*arguments)
        return found["items"] if found else []

    def established(self, *definitions: str) -> None:
        """Wait until the server serves custom resource definitions: `crd/NAME`, or `-f` and a file."""
        # Until the server has looked at one, there are no conditions, which `kubectl wait` takes for an error.
        self.run("wait", "--for=jsonpath={.status.conditions}", *definitions, "--timeout=60s")
        self.run("wait", "--for=condition=Established", *definitions, "--timeout=60s")

    def wait(
        self, what: str, reached: Callable[[], Any], *, timeout: float = 300, interval: float = 1, explain: str = ""
    ) -> Any:
        """Poll until `reached()` is truthy and return it; the failure says what was awaited and what was there."""
        deadline = time.monotonic() + timeout
        while True:
            value = reached()
            if value:
                return value
            if time.monotonic() > deadline:
                seen = self.run("describe", *explain.split()) if explain else ""
                raise AssertionError(f"not within {timeout:g} s: {what}\n{seen}")
            time.sleep(interval)


def difference(kubectl: Kubectl, manifests: str, *, manager: str = "argocd-controller") -> str:
    """What a GitOps tool that applies on the server's side would change; empty if nothing.

    Raises:
        KubectlError: the server could not be asked, or takes the manifests not at all.
    """
    arguments = ("diff", "--server-side", f"--field-manager={manager}", "--force-conflicts", "-f", "-")
    done = subprocess.run(
        kubectl.command(*arguments), input=manifests, capture_output=True, text=True, timeout=120, check=False
    )
    # 1 says that there are differences.
    if done.returncode > 1:
        raise KubectlError(arguments, done.stderr)
    return done.stdout
