"""docs/s3.md: manifests that a user would copy are valid, and every heading of a service says whether it was tried."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune_api.spec.job import FinetuneJobSpec

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "s3.md").read_text()
HEADINGS = re.findall(r"^## (.+)$", PAGE, re.M)
ABOUT_ALL = ("What a service must have", "The rights that a job needs")


def documents(kind: str) -> Iterator[Any]:
    for block in re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S):
        yield from yaml.safe_load_all(block) if kind == "yaml" else [json.loads(block)]


def test_every_job_is_one_that_the_operator_takes() -> None:
    jobs = [item for item in documents("yaml") if item.get("kind") == "FinetuneJob"]
    assert len(jobs) == 2
    for job in jobs:
        FinetuneJobSpec.model_validate(job["spec"])


def test_every_manifest_is_in_a_namespace_and_every_policy_is_json() -> None:
    manifests = [item for item in documents("yaml") if "kind" in item]
    assert {item["metadata"]["namespace"] for item in manifests} == {"team-a"}
    assert len(list(documents("json"))) == 2


@pytest.mark.parametrize("heading", [heading for heading in HEADINGS if heading not in ABOUT_ALL])
def test_every_service_says_whether_it_was_tried(heading: str) -> None:
    assert heading.endswith(("(tried)", "(untested)"))
