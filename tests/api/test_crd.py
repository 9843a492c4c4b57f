"""The generated CRD has what a structural schema needs and what `kubectl explain` shows."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import Field

from finetune_api.base import Contract
from finetune_api.crd import UnknownConstructError, custom_resource_definition, structural

SCHEMA_KEYWORDS = {
    "type", "description", "default", "enum", "pattern", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties", "required", "properties",
    "items", "additionalProperties", "x-kubernetes-validations", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
}  # fmt: skip


def version() -> dict[str, Any]:
    return custom_resource_definition()["spec"]["versions"][0]


def nodes(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


SECTIONS = version()["schema"]["openAPIV3Schema"]["properties"]
ALL = [node for name in ("spec", "status") for node in nodes(SECTIONS[name], name)]


@pytest.mark.parametrize(("path", "schema"), ALL, ids=[path for path, _ in ALL])
def test_every_field_is_bounded_and_structural(path: str, schema: dict[str, Any]) -> None:
    assert set(schema) <= SCHEMA_KEYWORDS
    assert "type" in schema
    match schema["type"]:
        case "string":
            assert "maxLength" in schema or "enum" in schema
        case "array":
            assert "maxItems" in schema
        case "object":
            assert "properties" in schema or "maxProperties" in schema


@pytest.mark.parametrize(("path", "schema"), [n for n in ALL if "[]" not in n[0]], ids=lambda v: str(v)[:60])
def test_every_named_field_teaches(path: str, schema: dict[str, Any]) -> None:
    assert len(schema.get("description", "")) > 10, f"{path} has no description"


def test_objects_default_to_empty_so_that_nested_defaults_apply() -> None:
    assert SECTIONS["spec"]["properties"]["method"]["default"] == {}
    assert SECTIONS["spec"]["properties"]["method"]["properties"]["lora"]["properties"]["dropout"]["default"] == 0.0


def test_exclusive_bounds_become_the_boolean_form() -> None:
    rate = SECTIONS["spec"]["properties"]["training"]["properties"]["learningRate"]
    assert rate["minimum"] == 0
    assert rate["exclusiveMinimum"] is True


class TwoTypes(Contract):
    either: int | str


class FreeObject(Contract):
    anything: dict[str, Any] = Field(default={})


class Multiple(Contract):
    value: int = Field(multiple_of=2)


@pytest.mark.parametrize("model", [TwoTypes, FreeObject, Multiple])
def test_an_unknown_construct_raises_and_is_not_dropped(model: type[Contract]) -> None:
    with pytest.raises(UnknownConstructError, match=model.__name__):
        structural(model, "x")


def test_the_definition_survives_helm_uninstall() -> None:
    annotations = custom_resource_definition()["metadata"]["annotations"]
    assert annotations == {"argocd.argoproj.io/sync-options": "Prune=false", "helm.sh/resource-policy": "keep"}
