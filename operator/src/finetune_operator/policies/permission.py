"""What a FinetuneJob may not ask for: what the platform team has not allowed, and what is never safe.

Looked at before each child Job is created, so that nothing runs of a job that is refused. A refusal names the field,
its value, and the admin setting to ask for. Pods that run already are left alone when a setting changes.
"""

import ipaddress
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from finetune_api.conditions import Reason
from finetune_api.layout import OutputLayout
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.status import FailureStatus
from finetune_operator import quantity
from finetune_operator.admin import AWS, NAMESPACE, Admin
from finetune_operator.failures import failure

_NOT_STORAGE: Final = re.compile(
    r"localhost|.*\.localhost|metadata|metadata\.google\.internal|instance-data(\..*)?"
    r"|kubernetes(\.default(\.svc(\..*)?)?)?",
    re.IGNORECASE,
)
"""Names of the pod itself, of clouds' metadata services and of the API server."""
_METADATA: Final = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16")))
"""Alibaba's metadata service and Azure's WireServer, which lie in no reserved range."""

_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")
"""Means the pod itself, or nothing."""


@dataclass(frozen=True, slots=True)
class _Denial:
    """One thing that is asked for and not granted."""

    field: str
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class _Use:
    """A URI of the spec and what for."""

    field: str
    uri: str
    writes: bool = False


def denied(namespace: str, spec: FinetuneJobSpec, admin: Admin) -> FailureStatus | None:
    """Why no Job may be created for the spec, whose defaults are in; None if it may."""
    found = [*_unsafe(spec), *_unlisted(spec, admin), *_misplaced(namespace, spec, admin), *_excessive(spec, admin)]
    if not found:
        return None
    message = "; ".join(f"{each.field}: {each.why}" for each in found)
    remedies = dict.fromkeys(each.remedy for each in found)
    advice = f"{' '.join(remedies)} Then create the FinetuneJob again."
    return failure("Settings", Reason.NOT_ALLOWED, message, advice)


def _unsafe(spec: FinetuneJobSpec) -> Iterator[_Denial]:
    """What no setting allows."""
    endpoint = spec.storage.endpoint
    if endpoint is not None and any(map(_is_no_storage, _hosts(spec, endpoint))):
        why = f"{endpoint} is an address of the pod, the node, the cloud or the API server, never of a storage service"
        yield _Denial("spec.storage.endpoint", why, "Name the URL of an S3 service.")
    for use in _uses(spec):
        # S3 takes them for names, many servers for steps through folders: out of the prefix, or of the bucket.
        if {".", ".."} & set(use.uri.removeprefix("s3://").split("/")):
            yield _Denial(use.field, f"{use.uri} has a segment . or ..", "Write the path without . and .. segments.")


def _hosts(spec: FinetuneJobSpec, endpoint: str) -> list[str]:
    """Whom the job would talk to. A bucket in front of a host makes another one: `metadata` and `google.internal`."""
    host = urlsplit(endpoint).hostname or ""
    buckets = {use.uri.removeprefix("s3://").partition("/")[0] for use in _uses(spec)}
    return [host] if spec.storage.path_style else [host, *(f"{bucket}.{host}" for bucket in sorted(buckets))]


def _is_no_storage(host: str) -> bool:
    name = host.rstrip(".")
    if _NOT_STORAGE.fullmatch(name):
        return True
    address = _address(name)
    return address is not None and (
        address.is_loopback or address.is_link_local or address in _THIS_NETWORK or address in _METADATA
    )


def _address(host: str) -> ipaddress.IPv4Address | None:
    """The address that a resolver takes the host for: `0xa9fe.0xa9fe` and 2852039166 are 169.254.169.254 too."""
    parts = host.split(".")
    if not 1 <= len(parts) <= 4 or not all(re.fullmatch(r"0[xX][0-9a-fA-F]+|[0-9]+", part) for part in parts):
        return None
    try:
        *high, low = [int(part, 8 if re.fullmatch(r"0[0-7]+", part) else 0) for part in parts]
        number = sum(byte << (24 - 8 * place) for place, byte in enumerate(high)) + low
        return ipaddress.IPv4Address(number)
    except ValueError:
        return None


def _unlisted(spec: FinetuneJobSpec, admin: Admin) -> Iterator[_Denial]:
    """Names that are not on their lists."""
    storage, scheduling, gpus = spec.storage, spec.scheduling, spec.resources.gpus
    endpoint = _plain(storage.endpoint) if storage.endpoint is not None else AWS
    priorities = admin.allowed_priority_classes
    asked: tuple[tuple[str, str | None, str, Sequence[str]], ...] = (
        ("storage.endpoint", endpoint, "allowedEndpoints", [*map(_plain, admin.allowed_endpoints)]),
        (
            "storage.serviceAccountName",
            storage.service_account_name,
            "allowedServiceAccounts",
            admin.allowed_service_accounts,
        ),
        (
            "resources.gpus.resourceName",
            gpus.resource_name if gpus.count else None,
            "allowedGpuResources",
            admin.allowed_gpu_resources,
        ),
        ("scheduling.priorityClassName", scheduling.priority_class_name, "allowedPriorityClasses", priorities),
        ("scheduling.workloadPriorityClass", scheduling.workload_priority_class, "allowedPriorityClasses", priorities),
    )
    for field, value, setting, allowed in asked:
        if value is not None and allowed and value not in allowed:
            yield _by_setting(f"spec.{field}", f"{value} is none of {', '.join(allowed)}", setting)


def _plain(endpoint: str) -> str:
    """One of the ways to write it."""
    return endpoint.rstrip("/").lower()


def _misplaced(namespace: str, spec: FinetuneJobSpec, admin: Admin) -> Iterator[_Denial]:
    """URIs outside the places for them."""
    own, shared, models = (
        [place.replace(NAMESPACE, namespace) for place in places]
        for places in (admin.allowed_buckets, admin.allowed_sources, admin.allowed_models)
    )
    for use in _uses(spec):
        places, setting = own if use.writes else [*own, *shared], "allowedBuckets"
        if use.field == "spec.model.uri" and models:
            places, setting = models, "allowedModels"
        if places and not _is_within(use.uri, places):
            to = "written" if use.writes else "read"
            yield _by_setting(
                use.field, f"{use.uri} may not be {to}, for it lies in none of {', '.join(places)}", setting
            )


def _is_within(uri: str, places: Collection[str]) -> bool:
    return any(f"{uri.rstrip('/')}/".startswith(place) for place in places)


def _uses(spec: FinetuneJobSpec) -> Iterator[_Use]:
    """Every URI of the spec, and those that follow from it."""
    yield _Use("spec.model.uri", spec.model.uri)
    if spec.model.adapter_uri is not None:
        yield _Use("spec.model.adapterUri", spec.model.adapter_uri)
    for side, sets in (("train", spec.data.train), ("validation", spec.data.validation), ("test", spec.data.test)):
        for index, dataset in enumerate(sets):
            yield _Use(f"spec.data.{side}[{index}].uri", dataset.uri)
    for index, benchmark in enumerate(spec.evaluation.benchmarks):
        yield _Use(f"spec.evaluation.benchmarks[{index}].uri", benchmark.uri)
    written = {
        "spec.output.uri": spec.output.uri,
        "spec.output.promoteUri": spec.output.promote_uri,
        "spec.checkpoint.uri": spec.checkpoint.uri,
        # Left empty, it lies beside the output: of an output that is a whole place, outside of it.
        "spec.data.preparedUri": spec.data.prepared_uri or OutputLayout.of(spec.output.uri).prepared_stores,
    }
    for field, uri in written.items():
        if uri is not None:
            yield _Use(field, uri, writes=True)


def _excessive(spec: FinetuneJobSpec, admin: Admin) -> Iterator[_Denial]:
    """Amounts above their bounds."""
    wanted = spec.resources
    amounts = (
        ("spec.resources.nodes", wanted.nodes, admin.max_nodes, "maxNodes"),
        ("spec.resources.gpus.count", wanted.total_gpus, admin.max_gpus, "maxGpus"),
        ("spec.limits.maxRunSeconds", spec.limits.max_run_seconds, admin.max_run_seconds, "maxRunSeconds"),
    )
    for field, value, most, setting in amounts:
        if value is not None and most is not None and value > most:
            of_all = " for all pods together" if setting == "maxGpus" else ""
            yield _by_setting(field, f"{value}{of_all} is more than {most}", setting)
    if admin.max_memory is not None and quantity.parse(wanted.memory) > quantity.parse(admin.max_memory):
        yield _by_setting("spec.resources.memory", f"{wanted.memory} is more than {admin.max_memory}", "maxMemory")


def _by_setting(field: str, why: str, setting: str) -> _Denial:
    remedy = f"Ask for what is allowed, or ask the platform team to change admin.{setting}, a value of the chart."
    return _Denial(field, f"{why} (admin.{setting})", remedy)
