"""The CustomResourceDefinition, generated from the models.

Pydantic's JSON schema holds constructs that a structural schema refuses (`$ref`, `anyOf` with null, numeric exclusive
bounds). They are rewritten here; anything not known to this module raises, so that nothing is dropped in silence.
"""

from typing import Any, Final

from finetune_api import GROUP, KIND, PLURAL, VERSION
from finetune_api.base import Contract
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.status import FinetuneJobStatus

Schema = dict[str, Any]

_COPIED: Final = frozenset(
    {"type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
     "maxProperties", "required"}
)  # fmt: skip
_DROPPED: Final = frozenset({"title", "additionalProperties", "$defs", "propertyNames"})
"""No meaning in a structural schema: unknown fields are pruned or refused by the API server itself."""

COLUMNS: Final = (
    ("Phase", "string", ".status.phase", 0),
    ("Stage", "string", ".status.progress.stage", 0),
    ("Progress", "string", ".status.progress.percent", 0),
    ("Loss", "string", ".status.progress.loss", 0),
    ("Tokens/s", "string", ".status.progress.tokensPerSecond", 0),
    ("ETA", "string", ".status.progress.eta", 0),
    ("Result", "string", ".status.evaluation.summary", 0),
    ("Gates", "string", '.status.conditions[?(@.type=="GatePassed")].status', 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Queue", "string", ".status.queue.name", 1),
    ("Place", "integer", ".status.queue.position", 1),
    ("Model", "string", ".spec.model.uri", 1),
    ("Message", "string", ".status.message", 1),
)


class UnknownConstructError(TypeError):
    """A model uses a JSON schema construct that this generator does not translate."""


def custom_resource_definition() -> Schema:
    """The CRD as a plain object, ready to be written as YAML."""
    schema = {
        "type": "object",
        "description": "FinetuneJob tunes a language model on a team's data and measures the result against the base.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(FinetuneJobSpec, "What is wanted; identity settings cannot change once created."),
            "status": structural(FinetuneJobStatus, "What is known; written by the operator."),
        },
    }
    columns = [
        {"name": name, "type": kind, "jsonPath": path, **({"priority": priority} if priority else {})}
        for name, kind, path, priority in COLUMNS
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{PLURAL}.{GROUP}",
            # Uninstalling the chart, or leaving the definition out of it, must not delete every team's jobs with it.
            "annotations": {"argocd.argoproj.io/sync-options": "Prune=false", "helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["ftj"],
                "categories": ["ml"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def structural(model: type[Contract], description: str) -> Schema:
    """A model's schema as a structural schema.

    Raises:
        UnknownConstructError: the model uses a construct that is not translated here.

    """
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    return {**_convert(schema, definitions, model.__name__), "description": description}


def _convert(node: Schema, definitions: dict[str, Schema], path: str) -> Schema:
    node = _resolve(node, definitions, path)
    result: Schema = {}
    for key, value in node.items():
        if key == "description":
            result[key] = " ".join(value.split())
        elif key in _COPIED or key.startswith("x-kubernetes-"):
            result[key] = value
        elif key == "properties":
            result[key] = {name: _convert(child, definitions, f"{path}.{name}") for name, child in value.items()}
        elif key == "items":
            result[key] = _convert(value, definitions, f"{path}[]")
        elif key == "const":
            result["enum"] = [value]
        elif key in ("exclusiveMinimum", "exclusiveMaximum"):
            result[key.replace("exclusiveM", "m")] = value
            result[key] = True
        elif key == "default":
            _set_default(result, node, value)
        elif key not in _DROPPED:
            raise UnknownConstructError(f"{path}: JSON schema keyword {key!r} has no translation")
    _finish_map(result, node, definitions, path)
    return result


def _resolve(node: Schema, definitions: dict[str, Schema], path: str) -> Schema:
    """Inline a reference and collapse `X or null` to X; the field's own description wins over the type's."""
    if "anyOf" in node:
        choices = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
        if len(choices) != 1:
            raise UnknownConstructError(f"{path}: a union of several types has no structural schema")
        node = {**choices[0], **{key: value for key, value in node.items() if key != "anyOf"}}
    if "$ref" in node:
        target = definitions[node["$ref"].removeprefix("#/$defs/")]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
        return _resolve(node, definitions, path) if "$ref" in node or "anyOf" in node else node
    return node


def _set_default(result: Schema, node: Schema, value: Any) -> None:
    if value is None:
        return
    is_object = node.get("type") == "object" and "properties" in node
    # An empty object: the API server fills in the nested defaults, and `kubectl explain` stays readable.
    result["default"] = {} if is_object else value


def _finish_map(result: Schema, node: Schema, definitions: dict[str, Schema], path: str) -> None:
    """A map keeps the schema of its values; pydantic says keys' patterns in a keyword Kubernetes does not have."""
    if node.get("type") != "object" or "properties" in node:
        return
    values = node.get("additionalProperties")
    if not isinstance(values, dict):
        raise UnknownConstructError(f"{path}: an object needs properties or a schema for its values")
    result["additionalProperties"] = _convert(values, definitions, f"{path}{{}}")
