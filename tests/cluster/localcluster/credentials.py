"""Every identity of the cluster: made at the first start, kept with its data."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from localcluster.kubeconfig import write_kubeconfig
from localcluster.pki import Authority, KeyPair, Subject, service_account_keys
from localcluster.plan import CLUSTER_DOMAIN, S3_SERVICE, Plan

AGGREGATOR = "aggregator"
"""Whom aggregated APIs, such as Kueue's queue positions, believe about who asks: the API server."""


@dataclass(frozen=True)
class Credentials:
    """Files the components are started with."""

    authority: KeyPair
    admin: KeyPair
    api_server: KeyPair
    kubelet_client: KeyPair
    aggregation_authority: KeyPair
    aggregator: KeyPair
    kubelet_server: KeyPair
    service_accounts: KeyPair
    object_store_authority: KeyPair
    object_store: KeyPair
    controller_manager: Path
    scheduler: Path
    kubelet: Path
    kube_proxy: Path
    dns: Path


def make_credentials(plan: Plan, now: datetime.datetime) -> Credentials:
    """All keys, certificates and kubeconfigs of `plan`; those that exist are kept."""
    folder = plan.layout.pki
    kubernetes = Authority(folder, "kubernetes-ca", now)
    storage = Authority(folder, "s3-ca", now)
    # Of its own: whoever holds its certificates may speak for any user to an aggregated API.
    aggregation = Authority(folder, "aggregation-ca", now)

    def user(name: str, subject: Subject, path: Path | None = None) -> Path:
        return write_kubeconfig(
            path or folder / f"{name}.kubeconfig",
            server=plan.api_server,
            authority=kubernetes.pair.certificate,
            client=kubernetes.issue(name, subject),
            cluster=f"finetune-{plan.layout.name}",
        )

    admin = Subject("admin", groups=("system:masters",))
    user("admin", admin, plan.layout.kubeconfig)
    return Credentials(
        authority=kubernetes.pair,
        admin=kubernetes.issue("admin", admin),
        api_server=kubernetes.issue("api-server", _api_server(plan)),
        kubelet_client=kubernetes.issue("kubelet-client", Subject("kubelet-client")),
        aggregation_authority=aggregation.pair,
        aggregator=aggregation.issue("aggregator", Subject(AGGREGATOR)),
        kubelet_server=kubernetes.issue(
            "kubelet-server", Subject(plan.node_name, addresses=(plan.node_address,), hosts=(plan.node_name,))
        ),
        service_accounts=service_account_keys(folder),
        object_store_authority=storage.pair,
        object_store=storage.issue("s3", _object_store(plan)),
        controller_manager=user("controller-manager", Subject("system:kube-controller-manager")),
        scheduler=user("scheduler", Subject("system:kube-scheduler")),
        kubelet=user("kubelet", Subject(f"system:node:{plan.node_name}", groups=("system:nodes",))),
        kube_proxy=user("kube-proxy", Subject("system:kube-proxy")),
        dns=user("dns", Subject("system:coredns")),
    )


def _api_server(plan: Plan) -> Subject:
    service = "kubernetes.default.svc"
    return Subject(
        "kube-apiserver",
        addresses=(plan.node_address, plan.api_service),
        hosts=("kubernetes", "kubernetes.default", service, f"{service}.{CLUSTER_DOMAIN}"),
    )


def _object_store(plan: Plan) -> Subject:
    return Subject(
        "s3",
        addresses=(plan.node_address,),
        hosts=(S3_SERVICE, f"{S3_SERVICE}.{CLUSTER_DOMAIN}", "s3.storage"),
    )
