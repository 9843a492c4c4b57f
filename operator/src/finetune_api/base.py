"""The base of every model in the contract: camelCase outside, snake_case inside, nothing unknown, nothing mutable."""

from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, RootModel, StringConstraints
from pydantic.alias_generators import to_camel


class Contract(BaseModel):
    """A frozen model that refuses unknown fields.

    Used for what we write ourselves and for the spec, whose unknown fields the API server prunes or refuses.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )


class Message(Contract):
    """A model that crosses versions: a reader ignores fields that only a newer writer knows."""

    # A number that is not finite stays one: as null, pydantic's own choice, it could not be read again.
    model_config = ConfigDict(extra="ignore", ser_json_inf_nan="strings")


Plain = TypeVar("Plain")


class _Document(RootModel[Plain]):
    # Pydantic allows no `extra` here: unknown fields of a dataclass are ignored.
    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        ser_json_inf_nan="strings",
    )


def dump_plain(value: object) -> str:
    """A frozen dataclass, of code that runs without pydantic, as the JSON that a `Message` of its fields would be.

    As a field of a model a dataclass becomes that anyway; this is for one that is a whole document.
    """
    document: Any = _Document[type(value)]  # type: ignore[misc]  # known at run time alone
    return str(document(value).model_dump_json())


def load_plain(kind: type[Plain], content: str) -> Plain:
    """The dataclass that `dump_plain` wrote.

    Raises:
        ValidationError: pydantic's; it is none of this kind.

    """
    return _Document[kind].model_validate_json(content).root  # type: ignore[valid-type]


_S3_URI: Final = r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()=/-]*)?$"

S3Uri = Annotated[str, StringConstraints(pattern=_S3_URI, max_length=1024)]
"""`s3://bucket/key-or-prefix`; the key is limited to characters that every S3 server treats alike."""

S3OutputUri = Annotated[str, StringConstraints(pattern=_S3_URI, max_length=900)]
"""A prefix under which names are put, that must fit into 1024 characters too."""

ObjectName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)]
"""The name of a Kubernetes object in the job's own namespace."""

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$", max_length=20)]
"""A Kubernetes quantity such as `500m`, `4` or `16Gi`."""

Decimal = Annotated[str, StringConstraints(max_length=32)]
"""A fractional number in status, as a string: floats in a CRD's status round differently in every client."""

Timestamp = Annotated[str, StringConstraints(max_length=32)]
"""RFC 3339 in UTC, whole seconds, `2026-01-31T12:00:00Z`."""


def cel(rule: str, message: str) -> dict[str, JsonValue]:
    """One CEL validation rule, to stand beside the model or field that it guards."""
    return {"rule": rule, "message": message}
