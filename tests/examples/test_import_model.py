"""The Job that brings a model into S3: a restricted namespace takes it, and its command is one the trainer has."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kubectl import Kubectl
from shell_blocks import ROOT, run, shell_blocks

from finetune_trainer import command_line
from finetune_trainer.errors import SettingsError
from finetune_trainer.import_model import HubModel

JOB: dict[str, Any] = yaml.safe_load((ROOT / "docs/models/import-job.yaml").read_text())


def test_its_arguments_are_those_of_the_command_and_only_a_commit_is_missing() -> None:
    (container,) = JOB["spec"]["template"]["spec"]["containers"]
    options = command_line._parse(container["args"])
    assert HubModel.of(options).license == "apache-2.0"
    options.revision = "main"
    with pytest.raises(SettingsError):
        HubModel.of(options)


@pytest.mark.cluster
def test_a_restricted_namespace_takes_it_by_the_pages_commands(server: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("an authority")
    (commands,) = shell_blocks(ROOT / "docs" / "models.md")["From a hub"]
    restricted = "kubectl label namespace models pod-security.kubernetes.io/enforce=restricted"
    made, *more = commands.splitlines()
    run("\n".join([made, restricted, *more]), tmp_path, kubectl=server)
    # The Job controller reports what the namespace refused.
    pods = server.inside("models")
    (pod,) = pods.wait("its pod is made", lambda: pods.items("pods"), timeout=30, explain="job")
    secrets = {volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume}
    authorities = {volume["configMap"]["name"] for volume in pod["spec"]["volumes"] if "configMap" in volume}
    assert all(pods.get("secret", name) for name in secrets)
    assert all(pods.get("configmap", name) for name in authorities)
    assert secrets
    assert authorities
