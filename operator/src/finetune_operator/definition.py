"""The check at start that the cluster's definition of FinetuneJob knows all that this operator reads and writes.

An API server drops fields that its definition lacks, in silence: an operator newer than the definition would run jobs
without settings that their users wrote, and lose what it writes into status. A definition newer than the operator does
no harm, so that an operator can be rolled back alone.

Compared is the schema that the API server publishes to everybody who is authenticated, so that no right on definitions
is needed, which no installation into some namespaces could have.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from finetune_api import API_VERSION, GROUP, PLURAL
from finetune_api.crd import custom_resource_definition
from finetune_operator.errors import NotFoundError, RefusedError, StartupError

PATIENCE_SECONDS: Final = 10
"""Schemas are published some seconds after a definition has changed, and an upgrade changes both at once."""
NAMED: Final = 8
"""Fields that the message names."""

_ABSENT: Final = f"{PLURAL}.{GROUP} ({API_VERSION})"

Schema = Mapping[str, Any]

_log: Final = logging.getLogger(__name__)


class Publisher(Protocol):
    """Whoever knows the definition that the cluster serves."""

    async def published_schema(self) -> Schema:
        """The OpenAPI schema of a FinetuneJob; NotFoundError if none is served."""


async def check(cluster: Publisher) -> None:
    """Return if the cluster's definition is as new as this operator.

    Raises:
        StartupError: there is none, or it lacks something.
    """
    missing = await _missing(cluster)
    for _ in range(PATIENCE_SECONDS):
        if not missing:
            return
        await asyncio.sleep(1)
        missing = await _missing(cluster)
    if missing:
        raise StartupError(_advice(missing))


async def _missing(cluster: Publisher) -> list[str]:
    try:
        served = await cluster.published_schema()
    except NotFoundError:
        return [_ABSENT]
    except RefusedError as error:
        _log.warning("whether the definition is as new as the operator cannot be checked", extra={"cause": str(error)})
        return []
    return lacking(wanted(), served)


def wanted() -> Schema:
    """The schema that this operator was made with."""
    (version,) = custom_resource_definition()["spec"]["versions"]
    schema: Schema = version["schema"]["openAPIV3Schema"]
    return schema


def lacking(wanted: Schema, served: Schema) -> list[str]:
    """Fields, and values of fields, that `served` does not know of what `wanted` has: `spec.data.maxTokens`."""
    return [
        found
        for name in ("spec", "status")
        for found in _lacking(wanted["properties"][name], served.get("properties", {}).get(name, {}), name)
    ]


def _lacking(wanted: Schema, served: Schema, path: str) -> Iterator[str]:
    for name, field in wanted.get("properties", {}).items():
        known = served.get("properties", {}).get(name)
        if known is None:
            yield f"{path}.{name}"
        else:
            yield from _lacking(field, known, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if key in wanted:
            yield from _lacking(wanted[key], served.get(key, {}), path + mark)
    if "enum" in wanted and "enum" in served:
        yield from (f"{path}: {value}" for value in wanted["enum"] if value not in served["enum"])


def _advice(missing: list[str]) -> str:
    remedy = "`kubectl apply --server-side -f crds/finetune.dev_finetunejobs.yaml` of the operator's version"
    if missing == [_ABSENT]:
        return (
            f"the cluster does not serve {_ABSENT}: install the CRD first, by Helm with crds.enabled=true or {remedy}"
        )
    rest = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return (
        f"the cluster's definition of FinetuneJob is older than this operator, it lacks {', '.join(missing[:NAMED])}"
        f"{rest}. Bring it up to date first, by `helm upgrade` with crds.enabled=true or {remedy}"
    )
