"""A real API server with the Job controller and the garbage collector, and nothing that runs pods.

Tests of the operator play the kubelet: they write pod statuses, and everything else is Kubernetes' own. Several can
run on one machine: ports are free ones, files are the caller's.
"""

import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import yaml
from audit import POLICY
from kubectl import Kubectl

from localcluster.layout import cache_root

TOKEN: Final = "administrator"
CONTROLLERS: Final = (
    "job-controller,garbage-collector-controller,ttl-after-finished-controller,namespace-controller,"
    "clusterrole-aggregation-controller"
)
START_SECONDS: Final = 120
AUDIT_LOG: Final = "audit.log"
"""Beside the kubeconfig."""


@contextmanager
def api_server(folder: Path) -> Iterator[Kubectl]:
    """Start one; an administrator's kubectl on it."""
    binaries = cache_root() / "bin"
    keys = folder / "service-accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", keys, "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f"{TOKEN},admin,1,system:masters\n")
    (folder / "audit.yaml").write_text(yaml.safe_dump(POLICY))
    etcd, peer, port, controllers = (f"http://127.0.0.1:{p}" for p in _free_ports(4))
    secure = _port(port)
    kubeconfig = _kubeconfig(folder / "kubeconfig", f"https://127.0.0.1:{secure}")
    with ExitStack() as stack:
        stack.enter_context(
            _process(
                folder,
                binaries / "etcd",
                f"--data-dir={folder / 'etcd'}",
                f"--listen-client-urls={etcd}",
                f"--advertise-client-urls={etcd}",
                f"--listen-peer-urls={peer}",
                "--unsafe-no-fsync",
            )
        )
        stack.enter_context(
            _process(
                folder,
                binaries / "kube-apiserver",
                f"--etcd-servers={etcd}",
                "--bind-address=127.0.0.1",
                f"--secure-port={secure}",
                f"--cert-dir={folder / 'certificates'}",
                f"--token-auth-file={folder / 'tokens.csv'}",
                "--authorization-mode=RBAC",
                f"--service-account-key-file={keys}",
                f"--service-account-signing-key-file={keys}",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-cluster-ip-range=10.99.0.0/24",
                "--disable-admission-plugins=ServiceAccount",
                f"--audit-policy-file={folder / 'audit.yaml'}",
                f"--audit-log-path={folder / AUDIT_LOG}",
            )
        )
        _await_ready(f"https://127.0.0.1:{secure}/readyz")
        stack.enter_context(
            _process(
                folder,
                binaries / "kube-controller-manager",
                f"--kubeconfig={kubeconfig}",
                f"--controllers={CONTROLLERS}",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
                f"--secure-port={_port(controllers)}",
            )
        )
        yield Kubectl(binaries / "kubectl", kubeconfig)


@contextmanager
def scheduler(server: Kubectl, folder: Path) -> Iterator[None]:
    """A scheduler for such a server, for as long as a test needs one."""
    assert server.kubeconfig is not None
    with _process(
        folder,
        cache_root() / "bin" / "kube-scheduler",
        f"--kubeconfig={server.kubeconfig}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={_free_ports(1)[0]}",
    ):
        yield


@contextmanager
def _process(folder: Path, *command: Any) -> Iterator[None]:
    name = Path(command[0]).name
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, cwd=folder)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_ready(url: str) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, context=context, timeout=5):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the API server is not ready after {START_SECONDS} s") from error
            time.sleep(0.2)


def _kubeconfig(path: Path, server: str) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "test", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    path.write_text(yaml.safe_dump(content))
    return path


def _free_ports(count: int) -> list[int]:
    """Ports that are free now; all are held until all are known, so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [item.getsockname()[1] for item in sockets]


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])
