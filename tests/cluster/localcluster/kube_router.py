"""kube-router as nothing but a policy engine, for as long as somebody needs NetworkPolicies to be enforced.

The local cluster's network, a bridge, enforces none.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from localcluster import machine
from localcluster.build import KUBE_ROUTER, compile_family
from localcluster.doctor import IPSET, can_install, install
from localcluster.layout import Layout
from localcluster.machine import Process
from localcluster.plan import load_plan

_CHAINS = (":KUBE-ROUTER-", ":KUBE-POD-FW-", ":KUBE-NWPLCY-")
_SETS = ("KUBE-SRC-", "KUBE-DST-")


@contextmanager
def enforced_policies(layout: Layout) -> Iterator[None]:
    """Enforce NetworkPolicies on a cluster that runs; afterwards no rule of kube-router's is left.

    Raises:
        RuntimeError: it cannot be had, or it ended before it was asked to; its log says why.
    """
    _provide_ipset()
    compile_family(layout, KUBE_ROUTER)
    plan, node = load_plan(layout), machine.running(layout)
    assert plan is not None and node is not None, f"cluster {layout.name} does not run"  # noqa: PT018
    command = machine.inside(
        node,
        layout.binary("kube-router"),
        "--run-firewall=true", "--run-router=false", "--run-service-proxy=false",
        f"--kubeconfig={layout.kubeconfig}", f"--hostname-override={plan.node_name}",
        f"--service-cluster-ip-range={plan.services}", "--health-port=0", "--metrics-port=0",
    )  # fmt: skip
    log = layout.logs / "kube-router.log"
    with log.open("wb") as file:
        engine = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        yield
        if engine.poll() is not None:
            raise RuntimeError(f"kube-router ended with {engine.returncode}; see {log}")
    finally:
        engine.terminate()
        engine.wait()
        _clean_up(node)


def _provide_ipset() -> None:
    if shutil.which(IPSET.program) is None:
        if not can_install():
            raise RuntimeError(f"{IPSET.program} is missing: apt-get install {IPSET.package}")
        install([IPSET])


def _clean_up(node: Process) -> None:
    """Remove its chains and sets: its own `--cleanup-config` leaves them where they are, and panics (2.1)."""

    def run(*command: str, stdin: str = "") -> str:
        argv = machine.inside(node, *command)
        return subprocess.run(argv, input=stdin, text=True, capture_output=True, check=True).stdout

    rules = run("iptables-save", "-t", "filter").splitlines()
    chains = [rule[1:].split()[0] for rule in rules if rule.startswith(_CHAINS)]
    jumps = [rule.replace("-A", "-D", 1) for rule in rules if " -j KUBE-ROUTER-" in rule]
    # With --noflush a chain that is named is emptied, and nobody else's rule is touched.
    emptied, removed = [f":{chain} - [0:0]" for chain in chains], [f"-X {chain}" for chain in chains]
    change = ["*filter", *emptied, *jumps, *removed, "COMMIT", ""]
    run("iptables-restore", "--noflush", stdin="\n".join(change))
    for name in run("ipset", "list", "-n").split():
        if name.startswith(_SETS):
            run("ipset", "destroy", name)
