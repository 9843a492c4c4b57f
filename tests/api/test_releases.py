"""What an earlier release accepted, stored or reported is understood by this one, as docs/api-versions.md says."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import released

from finetune_api.digest import spec_digest
from finetune_api.report import TrainerReport
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.status import FinetuneJobStatus
from finetune_operator.definition import lacking, wanted

RELEASES = [released.load(version) for version in released.versions()]
JOBS = [pytest.param(job, id=f"{each.version} {job['metadata']['name']}") for each in RELEASES for job in each.jobs]
MESSAGES = [
    pytest.param(text, id=f"{each.version} {name}") for each in RELEASES for name, text in each.messages.items()
]
Schema = dict[str, Any]


def schema_of(definition: dict[str, Any]) -> Schema:
    (version,) = definition["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


@pytest.mark.parametrize("release", RELEASES, ids=lambda each: each.version)
def test_no_field_and_no_value_of_a_release_is_gone(release: released.Release) -> None:
    assert lacking(schema_of(release.definition), wanted()) == []


@pytest.mark.parametrize("release", RELEASES, ids=lambda each: each.version)
def test_nothing_that_was_optional_is_required_and_no_default_has_another_value(release: released.Release) -> None:
    assert list(narrowed(schema_of(release.definition), dict(wanted()), "")) == []


def narrowed(old: Schema, new: Schema, path: str) -> Iterator[str]:
    """Where a manifest that an earlier release took would be refused or mean something else."""
    for name in set(new.get("required", ())) - set(old.get("required", ())):
        if "default" not in new["properties"][name]:
            yield f"{path}.{name} is required now"
    if "default" in old and old["default"] != new.get("default"):
        yield f"{path} had the default {old['default']}"
    for name, field in old.get("properties", {}).items():
        yield from narrowed(field, new["properties"][name], f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in old:
            yield from narrowed(old[key], new[key], f"{path}[]")


@pytest.mark.parametrize("job", JOBS)
def test_a_stored_job_is_read_whole(job: dict[str, Any]) -> None:
    spec = FinetuneJobSpec.model_validate(job["spec"])
    assert holds(spec.model_dump(mode="json"), job["spec"])
    if "status" in job:
        status = FinetuneJobStatus.model_validate(job["status"])
        assert holds(status.model_dump(mode="json"), job["status"])


@pytest.mark.parametrize("release", RELEASES, ids=lambda each: each.version)
def test_a_job_has_the_digest_that_its_output_bears(release: released.Release) -> None:
    """Else a result that is there would not be adopted, and a checkpoint not gone on from."""
    specs = {job["metadata"]["name"]: FinetuneJobSpec.model_validate(job["spec"]) for job in release.jobs}
    assert {name: spec_digest(spec) for name, spec in specs.items()} == release.digests


@pytest.mark.parametrize("text", MESSAGES)
def test_a_trainers_last_words_are_read_whole(text: str) -> None:
    """A reader ignores what it does not know, so that a field that got another name would be lost in silence."""
    assert holds(TrainerReport.model_validate_json(text).model_dump(mode="json"), json.loads(text))


def holds(found: Any, recorded: Any) -> bool:
    """Whether everything that was recorded is found."""
    if isinstance(recorded, dict):
        return all(name in found and holds(found[name], value) for name, value in recorded.items())
    if isinstance(recorded, list):
        return len(found) == len(recorded) and all(map(holds, found, recorded))
    return bool(found == recorded)
