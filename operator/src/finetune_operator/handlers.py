"""kopf at the edge: its watches feed the intake, and nothing else of it is used.

`on.event` alone: no annotation, finalizer or status of kopf's ever appears on a user's object.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import kopf

from finetune_api import GROUP, PLURAL, VERSION
from finetune_api.names import MANAGER
from finetune_operator import workloads
from finetune_operator.cache import Resource
from finetune_operator.cluster import LABEL_SELECTOR, Connection
from finetune_operator.intake import Intake, resources
from finetune_operator.settings import Settings

Connect = Callable[[], Awaitable[Connection]]
"""Says how the API server is reached; asked again when a token has expired."""

_WATCHED: Final[dict[Resource, tuple[str, str, str]]] = {
    "finetunejobs": (GROUP, VERSION, PLURAL),
    "jobs": ("batch", "v1", "jobs"),
    "pods": ("", "v1", "pods"),
    "workloads": (workloads.GROUP, workloads.VERSION, workloads.PLURAL),
}


async def watch(intake: Intake, connect: Connect, settings: Settings, *, ready: asyncio.Event) -> None:
    """Watch until cancelled; an error means that a watch is dead."""
    registry = kopf.OperatorRegistry()
    _login(registry, connect)
    for resource in resources(settings):
        _feed(registry, intake, resource, _WATCHED[resource])
    await kopf.operator(
        registry=registry,
        settings=_kopf_settings(),
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        standalone=True,
        # Else kopf asks for the user's name, and the arbitrary UID of a restricted pod has none.
        identity=MANAGER,  # type: ignore[arg-type]
        ready_flag=ready,
    )


def _feed(registry: kopf.OperatorRegistry, intake: Intake, resource: Resource, selector: tuple[str, str, str]) -> None:
    @kopf.on.event(*selector, registry=registry, id=resource)
    async def take(event: kopf.RawEvent, **_: Any) -> None:
        if event["type"] == "DELETED":
            # With its last state, which may have had no event of its own.
            intake.take(resource, event["object"])
            intake.forget(resource, event["object"]["metadata"]["uid"])
        else:
            intake.take(resource, event["object"])


def _login(registry: kopf.OperatorRegistry, connect: Connect) -> None:
    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        found = await connect()
        return kopf.ConnectionInfo(
            server=found.server,
            ca_path=found.ca_path,
            insecure=found.insecure,
            certificate_path=found.certificate_path,
            private_key_path=found.private_key_path,
            token=found.token,
        )


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.reconnect_backoff = 1
    settings.watching.chunk_size = 500
    settings.queueing.exit_timeout = 1
    settings.process.ultimate_exiting_timeout = 20
    for resource in ("jobs", "pods"):
        settings.watching.label_selectors[_WATCHED[resource]] = LABEL_SELECTOR
    return settings
