"""Admin settings reach the operator as the chart's values have them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendered_chart import CHART, operator_pod, template

from finetune_operator.admin import Admin, Defaults
from finetune_operator.settings import read_settings

pytestmark = pytest.mark.cluster

VALUES: dict[str, Any] = {
    "allowedEndpoints": ["aws", "https://s3.example.com"],
    "allowedBuckets": ["s3://team-data/{namespace}/", "s3://{namespace}-private/"],
    "allowedSources": ["s3://shared/"],
    "allowedModels": ["s3://models/approved/"],
    "allowedServiceAccounts": ["trainer"],
    "allowedGpuResources": ["nvidia.com/gpu"],
    "allowedPriorityClasses": ["batch"],
    "maxNodes": 2,
    "maxGpus": 16,
    "maxMemory": "512Gi",
    "maxRunSeconds": 86400,
    "defaults": {
        "endpoint": "https://s3.example.com",
        "queue": "gpus",
        "priorityClass": "batch",
    },
}


def test_every_admin_setting_arrives_as_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(yaml.safe_dump({"admin": VALUES, "kueue": {"enabled": True}}))
    container = operator_pod("--values", str(tmp_path / "values.yaml"))["containers"][0]
    found = read_settings([], {item["name"]: item["value"] for item in container["env"]}).admin
    assert found == Admin.model_validate(VALUES)
    assert json.loads(found.model_dump_json(exclude_defaults=True)) == VALUES, "one has its default here, untried"


def test_the_chart_documents_every_admin_setting_and_no_other() -> None:
    documented = yaml.safe_load((CHART / "values.yaml").read_text())["admin"]
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["admin"]["properties"]
    for values, typed, model in (
        (documented, schema, Admin),
        (documented["defaults"], schema["defaults"]["properties"], Defaults),
    ):
        fields = {field.alias for field in model.model_fields.values()}
        assert set(values) == set(typed) == fields


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ('admin.allowedBucket=["s3://a"]', "allowedBucket"),
        ('admin.allowedBuckets=["s3://{team}/"]', "allowedBuckets"),
        ('admin.allowedEndpoints=["s3.example.com"]', "allowedEndpoints"),
        ('admin.allowedGpuResources=["gpu"]', "allowedGpuResources"),
        ("admin.maxGpus=-1", "maxGpus"),
        ('admin.maxMemory="64GB"', "maxMemory"),
        ('admin.defaults.endpoint="ftp://x"', "endpoint"),
        ('admin.defaults.queue="gpus"', "kueue"),
    ],
)
def test_a_wrong_admin_setting_is_refused_and_named(setting: str, says: str) -> None:
    done = template("--set-json", setting)
    assert done.returncode != 0
    assert says in done.stderr


def test_the_page_explains_every_setting_and_its_example_is_valid() -> None:
    page = (CHART.parents[1] / "docs" / "admin.md").read_text()
    example = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])["admin"]
    found = Admin.model_validate(example)
    assert found.model_fields_set == set(Admin.model_fields), "the example leaves one out"
    rows = [row for row in page.splitlines() if row.startswith("| `")]
    for name in [*example, *(f"defaults.{name}" for name in example["defaults"])]:
        assert name == "defaults" or any(f"`{name}`" in row.split("|")[1] for row in rows), name
