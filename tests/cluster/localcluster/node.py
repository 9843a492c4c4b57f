"""The node: containerd, kubelet, kube-proxy and the pod network."""

import json
from pathlib import Path

import yaml

from localcluster.component import Component, TcpPort, UnixSocket
from localcluster.credentials import Credentials
from localcluster.plan import CLUSTER_DOMAIN, REGISTRY_NAME, Plan

# /run is a tmpfs of the cluster's own mount namespace: no other cluster and no host process sees it.
CONTAINERD_SOCKET = Path("/run/containerd/containerd.sock")
PAUSE_IMAGE = "finetune.test/pause:1"
_CNI_PLUGINS = "/usr/lib/cni"
_LOOPBACK = "127.0.0.1"


def node(plan: Plan, credentials: Credentials) -> list[Component]:
    """The components in starting order; writes the files they read."""
    return [_containerd(plan), _kubelet(plan, credentials), _kube_proxy(plan, credentials)]


def _containerd(plan: Plan) -> Component:
    config = plan.layout.config / "containerd.toml"
    config.write_text(containerd_config(plan))
    _write_json(plan.layout.config / "cni" / "10-pods.conflist", pod_network(plan))
    mirror = plan.layout.config / "certs.d" / REGISTRY_NAME / "hosts.toml"
    mirror.parent.mkdir(parents=True, exist_ok=True)
    server = f"http://{plan.registry_address}"
    mirror.write_text(f'server = "{server}"\n\n[host."{server}"]\n  capabilities = ["pull", "resolve"]\n')
    return Component("containerd", ("containerd", "--config", str(config)), UnixSocket(CONTAINERD_SOCKET))


def containerd_config(plan: Plan) -> str:
    """containerd's configuration file."""
    return f"""\
version = 2
root = "{plan.layout.data / "containerd"}"
state = "/run/containerd"

[grpc]
  address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{plan.layout.data / "containerd-opt"}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Some virtual machines may not lower oom_score_adj; without this every sandbox fails there.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{_CNI_PLUGINS}"
    conf_dir = "{plan.layout.config / "cni"}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    # The registry keeps the layers; a second packed copy of torch would only fill the disk.
    discard_unpacked_layers = true
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{plan.layout.config / "certs.d"}"
"""


def pod_network(plan: Plan) -> dict[str, object]:
    """A bridge for the pods; no masquerading, since nothing outside the cluster is theirs to reach."""
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods0",
                "isGateway": True,
                "isDefaultGateway": True,
                "hairpinMode": True,
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    # Leases end with the cluster's processes, as the pods' interfaces do.
                    "dataDir": "/run/cni-leases",
                    "ranges": [[{"subnet": plan.pods}]],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _kubelet(plan: Plan, credentials: Credentials) -> Component:
    config = plan.layout.config / "kubelet.yaml"
    config.write_text(yaml.safe_dump(kubelet_config(plan, credentials)))
    (plan.layout.config / "resolv.conf").write_text("")
    argv = (
        plan.layout.binary("kubelet"),
        f"--config={config}",
        f"--kubeconfig={credentials.kubelet}",
        f"--hostname-override={plan.node_name}",
        f"--node-ip={plan.node_address}",
        f"--root-dir={plan.layout.data / 'kubelet'}",
    )
    needs = ("containerd", "kube-apiserver")
    return Component("kubelet", argv, TcpPort(plan.node_address, 10250), needs=needs)


def kubelet_config(plan: Plan, credentials: Credentials) -> dict[str, object]:
    """The kubelet's configuration file."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": plan.node_address,
        "healthzBindAddress": _LOOPBACK,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(credentials.authority.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(credentials.kubelet_server.certificate),
        "tlsPrivateKeyFile": str(credentials.kubelet_server.key),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": plan.cgroup,
        "clusterDomain": CLUSTER_DOMAIN,
        "clusterDNS": [plan.node_address],
        "resolvConf": str(plan.layout.config / "resolv.conf"),
        "failSwapOn": False,
        "serializeImagePulls": False,
        "podLogsDir": str(plan.layout.data / "pod-logs"),
        "volumePluginDir": str(plan.layout.data / "volume-plugins"),
        # The disk is the developer's own and may be nearly full: evict nothing for that.
        "evictionHard": {
            "memory.available": "64Mi", "nodefs.available": "1%", "imagefs.available": "1%",
            "nodefs.inodesFree": "1%", "imagefs.inodesFree": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }  # fmt: skip


def _kube_proxy(plan: Plan, credentials: Credentials) -> Component:
    config = plan.layout.config / "kube-proxy.yaml"
    content = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": plan.node_address,
        "healthzBindAddress": f"{_LOOPBACK}:10256",
        "metricsBindAddress": f"{_LOOPBACK}:10249",
        "clientConnection": {"kubeconfig": str(credentials.kube_proxy)},
        "clusterCIDR": plan.pods,
        "hostnameOverride": plan.node_name,
        "mode": "iptables",
        "iptables": {"localhostNodePorts": False},
        # Zero leaves the machine's own connection-tracking limits alone.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }
    config.write_text(yaml.safe_dump(content))
    argv = (plan.layout.binary("kube-proxy"), f"--config={config}")
    return Component("kube-proxy", argv, TcpPort(_LOOPBACK, 10256), needs=("kube-apiserver",))


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
