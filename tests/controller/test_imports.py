"""What the operator does not import at its start: seconds and memory, on every replica."""

import json
import subprocess
import sys

import pytest

OF_KOPF = {"v1_managed_fields_entry", "v1_object_meta", "v1_owner_reference"}
"""Models that it tells from dictionaries."""


@pytest.fixture(scope="module")
def imported() -> list[str]:
    code = "import json, sys, finetune_operator.__main__; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules: list[str] = json.loads(done.stdout)
    return modules


def test_none_of_the_clients_thousand_models_and_apis_is_imported(imported: list[str]) -> None:
    generated = [name for name in imported if name.startswith("kubernetes.")]
    assert [name for name in generated if ".client.api." in name] == []
    assert {name.rpartition(".")[2] for name in generated if ".client.models." in name} <= OF_KOPF


def test_no_large_package_is_imported(imported: list[str]) -> None:
    large = {"boto3", "google.auth", "grpc", "numpy", "pandas", "rich", "torch"}
    assert not large & set(imported)
