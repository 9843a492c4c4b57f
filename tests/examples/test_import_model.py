"""The Job that brings a model into S3: a restricted namespace takes it, and its command is one the trainer has."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kubectl import Kubectl

from finetune_trainer import command_line
from finetune_trainer.errors import SettingsError
from finetune_trainer.import_model import HubModel

JOB: dict[str, Any] = yaml.safe_load(Path(__file__).parents[2].joinpath("docs/models/import-job.yaml").read_text())


def test_its_arguments_are_those_of_the_command_and_only_a_commit_is_missing() -> None:
    (container,) = JOB["spec"]["template"]["spec"]["containers"]
    options = command_line._parse(container["args"])
    assert HubModel.of(options).license == "apache-2.0"
    options.revision = "main"
    with pytest.raises(SettingsError):
        HubModel.of(options)


@pytest.mark.cluster
def test_a_restricted_namespace_takes_it(server: Kubectl) -> None:
    server.run("create", "namespace", "models")
    server.run("label", "namespace", "models", "pod-security.kubernetes.io/enforce=restricted")
    server.run("label", "namespace", "models", "pod-security.kubernetes.io/warn=restricted")
    server.inside("models").apply(JOB)
    # The Job controller reports what the namespace refused.
    pods = server.inside("models")
    pods.wait("its pod is made", lambda: pods.items("pods"), timeout=30, explain="job")
