"""What a cluster offers besides Kubernetes: names (CoreDNS), images (a registry), objects (SeaweedFS)."""

import json

import yaml

from localcluster.component import Component, TcpPort
from localcluster.credentials import Credentials
from localcluster.plan import CLUSTER_DOMAIN, REGISTRY_PORT, S3_PORT, Plan
from localcluster.storage import identities, seaweed_identities

_LOOPBACK = "127.0.0.1"


def services(plan: Plan, credentials: Credentials) -> list[Component]:
    """The components; writes the files they read."""
    return [_dns(plan, credentials), _registry(plan), _object_store(plan, credentials)]


def _dns(plan: Plan, credentials: Credentials) -> Component:
    corefile = plan.layout.config / "Corefile"
    # Names outside the cluster get a prompt "no such name": there is no network to ask.
    corefile.write_text(
        f"""\
.:53 {{
    bind {plan.node_address}
    errors
    cache 5
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa {{
        kubeconfig {credentials.dns}
        ttl 5
    }}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""
    )
    argv = (plan.layout.binary("coredns"), "-conf", str(corefile))
    return Component("coredns", argv, TcpPort(plan.node_address, 53), needs=("kube-apiserver",))


def _registry(plan: Plan) -> Component:
    config = plan.layout.config / "registry.yaml"
    content = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(plan.layout.registry)}},
        "http": {"addr": plan.registry_address},
    }
    config.write_text(yaml.safe_dump(content))
    ready = TcpPort(plan.node_address, REGISTRY_PORT)
    return Component("registry", ("docker-registry", "serve", str(config)), ready)


def _object_store(plan: Plan, credentials: Credentials) -> Component:
    folder = plan.layout.data / "s3"
    folder.mkdir(parents=True, exist_ok=True)
    config = plan.layout.config / "s3.json"
    config.touch(mode=0o600)
    config.write_text(json.dumps(seaweed_identities(identities(plan.layout.root / "s3-keys.json"))))
    argv = (
        plan.layout.binary("weed"), "-logtostderr=true", "server", f"-dir={folder}",
        # Only S3 itself is reachable from pods: the parts behind it ask nobody who they are.
        f"-ip={_LOOPBACK}", f"-ip.bind={_LOOPBACK}",
        "-master.telemetry=false", "-master.electionTimeout=1s", "-master.volumeSizeLimitMB=1024",
        "-volume.max=0", "-volume.preStopSeconds=0",
        "-filer=true", "-filer.localSocket=/run/seaweedfs-filer.sock",
        "-s3=true", f"-s3.ip.bind={plan.node_address}", f"-s3.port={S3_PORT}", "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false", "-s3.localSocket=/run/seaweedfs-s3.sock",
        f"-s3.config={config}",
        f"-s3.cert.file={credentials.object_store.certificate}",
        f"-s3.key.file={credentials.object_store.key}",
    )  # fmt: skip
    return Component("seaweedfs", argv, TcpPort(plan.node_address, S3_PORT))
