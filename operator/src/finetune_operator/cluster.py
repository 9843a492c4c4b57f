"""The Kubernetes API: the only module that knows its client library, its URLs and its errors.

Plain JSON goes in and out. The generated models are never imported: they cost memory and seconds of start-up, and what
they parse would be parsed a second time into our own small values.
"""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Protocol, Self

import aiohttp
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from finetune_api import API_VERSION, KIND, PLURAL
from finetune_api.names import SELECTOR
from finetune_operator import workloads
from finetune_operator.cache import Resource
from finetune_operator.children import Raw
from finetune_operator.errors import (
    ClusterError,
    ConflictError,
    NotFoundError,
    RefusedError,
    StartupError,
    UnavailableError,
)
from finetune_operator.throttle import Throttle

PAGE: Final = 500
TIMEOUT_SECONDS: Final = 30
LABEL_SELECTOR: Final = ",".join(f"{name}={value}" for name, value in SELECTOR.items())

Child = Literal["jobs", "services"]
"""What the operator makes."""

_PATHS: Final[Mapping[Resource | Child, tuple[str, str]]] = {
    "finetunejobs": (f"/apis/{API_VERSION}", PLURAL),
    "jobs": ("/apis/batch/v1", "jobs"),
    "pods": ("/api/v1", "pods"),
    "workloads": (f"/apis/{workloads.GROUP}/{workloads.VERSION}", workloads.PLURAL),
    "services": ("/api/v1", "services"),
}
_UNLABELLED: Final[frozenset[Resource]] = frozenset({"finetunejobs", "workloads"})
"""Listed whole: our label is not on them."""
_PENDING: Final = "/apis/visibility.kueue.x-k8s.io/v1beta2/namespaces/{}/localqueues/{}/pendingworkloads"
_MERGE_PATCH: Final = "application/merge-patch+json"
_JSON: Final = "application/json"
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""Nodes are large: each lists the images it holds."""

_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"


class RequestObserver(Protocol):
    """Who measures requests."""

    def throttled(self, method: str, seconds: float) -> None:
        """A request waited so long for its turn."""

    def requested(self, method: str, resource: str, status: int, seconds: float) -> None:
        """A request was answered with an HTTP status, 0 where there was no answer; `resource` as in RBAC."""


Fence = Callable[[], None]
"""Asked before every write; raises if this process may not write any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How the API server is reached; for kopf, which has a client of its own."""

    server: str
    ca_path: str | None
    certificate_path: str | None
    private_key_path: str | None
    token: str | None
    insecure: bool


async def load_configuration() -> Configuration:
    """The pod's service account, else the current context of the kubeconfig.

    Raises:
        StartupError: there is neither.
    """
    configuration = Configuration()
    try:
        kubernetes_config.load_incluster_config(client_configuration=configuration)
    except kubernetes_config.ConfigException:
        try:
            await kubernetes_config.load_kube_config(client_configuration=configuration)
        except (kubernetes_config.ConfigException, OSError) as error:
            raise StartupError(f"no service account and no usable kubeconfig: {error}") from error
    return configuration


async def connection(configuration: Configuration) -> Connection:
    """What a second client needs; reads a rotated token anew."""
    header = await configuration.get_api_key_with_prefix("BearerToken")
    return Connection(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        token=header.split(" ", 1)[-1].strip() if header else None,
        insecure=not configuration.verify_ssl,
    )


class Cluster:
    """Requests to the API server, throttled, with errors of our own."""

    def __init__(
        self, configuration: Configuration, throttle: Throttle, observer: RequestObserver, fence: Fence = lambda: None
    ) -> None:
        self._client = ApiClient(configuration)
        self._client.user_agent = "finetune-operator"
        self._throttle = throttle
        self._observer = observer
        self._fence = fence

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def list(self, resource: Resource, namespace: str | None) -> AsyncIterator[Raw]:
        """Every object of a resource that concerns the operator, page by page."""
        query = {"limit": str(PAGE)} | ({} if resource in _UNLABELLED else {"labelSelector": LABEL_SELECTOR})
        async for item in self._pages(_path(resource, namespace), query):
            yield item

    async def node_labels(self) -> AsyncIterator[Mapping[str, str]]:
        """The labels of every node; RefusedError without the right, which the chart grants only when asked to."""
        async for item in self._pages("/api/v1/nodes", {"limit": str(PAGE)}, accept=_METADATA_ONLY):
            yield item["metadata"].get("labels") or {}

    async def get(self, resource: Resource | Child, namespace: str, name: str) -> Raw | None:
        """One object, or None if there is none."""
        try:
            return await self._json("GET", _path(resource, namespace, name))
        except NotFoundError:
            return None

    async def create(self, resource: Child, manifest: Raw) -> Raw:
        """Create an object and return it; ConflictError if the name is taken."""
        return await self._json("POST", _path(resource, manifest["metadata"]["namespace"]), body=manifest)

    async def patch(self, resource: Resource, namespace: str, name: str, change: Raw) -> Raw:
        """Merge a change into an object and return it; ConflictError if its UID is not the change's."""
        return await self._json("PATCH", _path(resource, namespace, name), body=change)

    async def delete_job(self, namespace: str, name: str, uid: str) -> None:
        """Delete the Job with this UID and its pods; ConflictError if it is another one."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        await self._json("DELETE", _path("jobs", namespace, name), body=body)

    async def patch_status(self, namespace: str, name: str, version: Raw, status: Raw) -> Raw:
        """Merge fields into a FinetuneJob's status and return it whole.

        `version` holds uid and resourceVersion of the object that the status was derived from: ConflictError if the
        stored one is not that any more.
        """
        body = {"metadata": version, "status": status}
        return await self._json("PATCH", _path("finetunejobs", namespace, name) + "/status", body=body)

    async def places(self, namespace: str, queue: str) -> Mapping[str, int]:
        """Place in the ClusterQueue, from 0 on, of each Workload that waits in a LocalQueue, by name; the first 1,000.

        NotFoundError or UnavailableError where Kueue's visibility API is not served.
        """
        found = await self._json("GET", _PENDING.format(namespace, queue))
        return {item["metadata"]["name"]: item["positionInClusterQueue"] for item in found["items"]}

    async def set_finalizers(self, namespace: str, name: str, version: Raw, finalizers: Sequence[str]) -> Raw:
        """Change what holds a FinetuneJob and return it; `version` as for `patch_status`."""
        body = {"metadata": {**version, "finalizers": list(finalizers)}}
        return await self._json("PATCH", _path("finetunejobs", namespace, name), body=body)

    async def create_event(self, manifest: Raw) -> None:
        """Record an Event; the same one a second time is no error."""
        path = f"/api/v1/namespaces/{manifest['metadata']['namespace']}/events"
        try:
            await self._json("POST", path, body=manifest)
        except ConflictError:
            return

    async def pod_log(self, namespace: str, name: str, container: str, *, lines: int, limit: int) -> str:
        """The last lines of a container's log, at most `limit` bytes."""
        query = {"container": container, "tailLines": str(lines), "limitBytes": str(limit)}
        raw = await self._request("GET", _path("pods", namespace, name) + "/log", query=query)
        return raw.decode(errors="replace")

    async def may(self, verb: str, group: str, resource: str, namespace: str | None) -> bool:
        """Whether the operator's own identity has a right; `resource` may be `pods/log`."""
        plural, _, subresource = resource.partition("/")
        attributes = {"verb": verb, "group": group, "resource": plural, "subresource": subresource}
        body = {"spec": {"resourceAttributes": attributes | ({"namespace": namespace} if namespace else {})}}
        review = await self._json("POST", _REVIEWS, body=body)
        return bool(review["status"]["allowed"])

    async def lease(self, namespace: str, name: str) -> Raw | None:
        """A Lease, or None if there is none."""
        try:
            return await self._json("GET", f"{_LEASES.format(namespace)}/{name}")
        except NotFoundError:
            return None

    async def put_lease(self, manifest: Raw) -> Raw:
        """Create a Lease, or replace the version that it names; ConflictError if somebody was quicker."""
        metadata = manifest["metadata"]
        path = _LEASES.format(metadata["namespace"])
        if "resourceVersion" in metadata:
            return await self._json("PUT", f"{path}/{metadata['name']}", body=manifest)
        return await self._json("POST", path, body=manifest)

    async def published_schema(self) -> Raw:
        """The OpenAPI schema of a FinetuneJob; NotFoundError if the API server serves none."""
        found = await self._json("GET", f"/openapi/v3/apis/{API_VERSION}")
        for schema in found["components"]["schemas"].values():
            if any(each["kind"] == KIND for each in schema.get("x-kubernetes-group-version-kind", ())):
                return dict(schema)
        raise NotFoundError(f"no schema of {KIND} is published")

    async def serves(self, resource: Resource) -> bool:
        """Whether the API server knows a resource in our version."""
        prefix, plural = _PATHS[resource]
        try:
            found = await self._json("GET", prefix)
        except NotFoundError:
            return False
        return any(each["name"] == plural for each in found["resources"])

    async def _pages(self, path: str, query: Mapping[str, str], *, accept: str = _JSON) -> AsyncIterator[Raw]:
        token = ""
        while True:
            more = {"continue": token} if token else {}
            page: Raw = json.loads(await self._request("GET", path, query={**query, **more}, accept=accept))
            # Lists of metadata alone are null where they are empty.
            for item in page["items"] or ():
                yield item
            token = page["metadata"].get("continue", "")
            if not token:
                return

    async def _json(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Raw | None = None
    ) -> Raw:
        parsed: Raw = json.loads(await self._request(method, path, query=query, body=body))
        return parsed

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Raw | None = None,
        accept: str = _JSON,
    ) -> bytes:
        asked = time.monotonic()
        await self._throttle.wait()
        sent, status = time.monotonic(), 0
        self._observer.throttled(method, sent - asked)
        try:
            status, data = await self._send(method, path, query, body, accept)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnavailableError(f"{method} {path}: {error or type(error).__name__}") from error
        finally:
            self._observer.requested(method, resource_of(path), status, time.monotonic() - sent)
        if status >= 300:
            raise _error(status, data, f"{method} {path}")
        return data

    async def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Raw | None, accept: str
    ) -> tuple[int, bytes]:
        headers = {"Accept": accept, "Content-Type": _MERGE_PATCH if method == "PATCH" else _JSON}
        serialized = await self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        if method != "GET" and path != _REVIEWS:
            # As late as possible: a process may have been stopped anywhere before.
            self._fence()
        response = await self._client.call_api(*serialized, _request_timeout=TIMEOUT_SECONDS)
        return response.status, await response.read()


def _path(resource: Resource | Child, namespace: str | None, name: str = "") -> str:
    prefix, plural = _PATHS[resource]
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{prefix}{scope}/{plural}" + (f"/{name}" if name else "")


def resource_of(path: str) -> str:
    """What a request was for, as RBAC calls it (`pods/log`), whatever objects it named; empty for the API itself."""
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        parts = parts[2:]
    return "/".join(parts[::2])


def _error(status: int, data: bytes, request: str) -> ClusterError:
    text = _message(data)
    kinds = {
        404: NotFoundError,
        409: ConflictError,
        401: UnavailableError,
        408: UnavailableError,
        429: UnavailableError,
    }
    kind = kinds.get(status, UnavailableError if status >= 500 else RefusedError)
    return kind(text or f"{request} was answered with HTTP {status}")


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return data.decode(errors="replace")[:500]
