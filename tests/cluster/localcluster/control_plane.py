"""etcd, API server, controller manager, scheduler: what they are started with."""

import yaml

from localcluster.component import Component, HttpsPath, TcpPort
from localcluster.credentials import AGGREGATOR, Credentials
from localcluster.plan import API_PORT, Plan

_LOOPBACK = "127.0.0.1"
_ETCD_PORT = 2379

_POD_SECURITY = {
    "apiVersion": "apiserver.config.k8s.io/v1",
    "kind": "AdmissionConfiguration",
    "plugins": [
        {
            "name": "PodSecurity",
            "configuration": {
                "apiVersion": "pod-security.admission.config.k8s.io/v1",
                "kind": "PodSecurityConfiguration",
                # No exemption: node components are host processes, so every pod can be restricted.
                "defaults": {
                    f"{mode}{suffix}": value
                    for mode in ("enforce", "audit", "warn")
                    for suffix, value in (("", "restricted"), ("-version", "latest"))
                },
            },
        }
    ],
}

_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        # Kubernetes' own controllers write most, and nobody asks what.
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
        {
            "level": "Metadata",
            "userGroups": ["system:serviceaccounts"],
            "verbs": ["create", "update", "patch", "delete", "deletecollection"],
        },
        {"level": "None"},
    ],
}


def control_plane(plan: Plan, credentials: Credentials) -> list[Component]:
    """The components in starting order; writes the files they read."""
    admission = plan.layout.config / "admission.yaml"
    admission.write_text(yaml.safe_dump(_POD_SECURITY))
    audit = plan.layout.config / "audit.yaml"
    audit.write_text(yaml.safe_dump(_AUDIT))
    return [
        _etcd(plan),
        _api_server(plan, credentials, admission=str(admission), audit=str(audit)),
        _controller_manager(plan, credentials),
        _scheduler(plan, credentials),
    ]


def _etcd(plan: Plan) -> Component:
    client = f"http://{_LOOPBACK}:{_ETCD_PORT}"
    peer = f"http://{_LOOPBACK}:2380"
    argv = (
        plan.layout.binary("etcd"),
        f"--data-dir={plan.layout.data / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        # The page cache outlives a killed etcd; only a crash of the machine loses a test cluster's writes.
        "--unsafe-no-fsync",
        "--log-level=warn",
    )
    return Component("etcd", argv, TcpPort(_LOOPBACK, _ETCD_PORT))


def _api_server(plan: Plan, credentials: Credentials, *, admission: str, audit: str) -> Component:
    argv = (
        plan.layout.binary("kube-apiserver"),
        f"--advertise-address={plan.node_address}",
        f"--bind-address={plan.node_address}",
        f"--secure-port={API_PORT}",
        f"--etcd-servers=http://{_LOOPBACK}:{_ETCD_PORT}",
        f"--service-cluster-ip-range={plan.services}",
        "--authorization-mode=Node,RBAC",
        "--anonymous-auth=false",
        "--enable-admission-plugins=NodeRestriction",
        f"--admission-control-config-file={admission}",
        f"--audit-policy-file={audit}",
        f"--audit-log-path={plan.layout.audit_log}",
        "--audit-log-maxsize=50",
        "--audit-log-maxbackup=1",
        f"--client-ca-file={credentials.authority.certificate}",
        f"--tls-cert-file={credentials.api_server.certificate}",
        f"--tls-private-key-file={credentials.api_server.key}",
        f"--kubelet-client-certificate={credentials.kubelet_client.certificate}",
        f"--kubelet-client-key={credentials.kubelet_client.key}",
        f"--kubelet-certificate-authority={credentials.authority.certificate}",
        f"--requestheader-client-ca-file={credentials.aggregation_authority.certificate}",
        f"--requestheader-allowed-names={AGGREGATOR}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={credentials.aggregator.certificate}",
        f"--proxy-client-key-file={credentials.aggregator.key}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={credentials.service_accounts.certificate}",
        f"--service-account-signing-key-file={credentials.service_accounts.key}",
    )
    # An open port is not enough: its clients are refused until the default roles are there.
    ready = HttpsPath(plan.node_address, API_PORT, "/readyz", credentials.authority.certificate, credentials.admin)
    return Component("kube-apiserver", argv, ready, needs=("etcd",))


def _controller_manager(plan: Plan, credentials: Credentials) -> Component:
    argv = (
        plan.layout.binary("kube-controller-manager"),
        *_client_of_the_api(str(credentials.controller_manager)),
        "--use-service-account-credentials=true",
        f"--root-ca-file={credentials.authority.certificate}",
        f"--service-account-private-key-file={credentials.service_accounts.key}",
        f"--cluster-signing-cert-file={credentials.authority.certificate}",
        f"--cluster-signing-key-file={credentials.authority.key}",
    )
    return Component("kube-controller-manager", argv, TcpPort(_LOOPBACK, 10257), needs=("kube-apiserver",))


def _scheduler(plan: Plan, credentials: Credentials) -> Component:
    argv = (plan.layout.binary("kube-scheduler"), *_client_of_the_api(str(credentials.scheduler)))
    return Component("kube-scheduler", argv, TcpPort(_LOOPBACK, 10259), needs=("kube-apiserver",))


def _client_of_the_api(kubeconfig: str) -> tuple[str, ...]:
    return (
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={_LOOPBACK}",
        # There is one of each: waiting for a lease would only delay the start.
        "--leader-elect=false",
    )
