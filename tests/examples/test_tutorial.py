"""The commands of docs/tutorial.md give a job all that it names, on an API server that runs no pods."""

import shutil
from pathlib import Path

import pytest
from kubectl import Kubectl
from shell_blocks import ROOT, run, shell_blocks

COMMANDS = shell_blocks(ROOT / "docs" / "tutorial.md")

pytestmark = pytest.mark.cluster


def test_a_job_finds_what_the_steps_before_it_have_made(server: Kubectl, tmp_path: Path) -> None:
    # The page changes the current namespace of whoever follows it.
    kubeconfig = Path(shutil.copy(server.kubeconfig or "", tmp_path / "kubeconfig"))
    (tmp_path / "aws").write_text('#!/bin/bash\necho "$@"\n')
    (tmp_path / "aws").chmod(0o755)
    (tmp_path / "ca.crt").write_text("an authority")
    kubectl = Kubectl(server.binary, kubeconfig)

    def follow(step: str) -> str:
        heading = next(each for each in COMMANDS if each.startswith(f"{step}. "))
        return "".join(run(commands, tmp_path, tmp_path, kubectl=kubectl) for commands in COMMANDS[heading])

    uploaded = follow("1")
    follow("2")
    follow("4")
    team = server.inside("team-a")
    job = team.get("ftj", "order-desk")
    assert job is not None
    storage, data = job["spec"]["storage"], job["spec"]["data"]
    assert set((team.get("secret", storage["credentials"]["secretName"]) or {})["data"]) == {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    }
    bundle = storage["caBundle"]
    assert bundle["key"] in (team.get("configmap", bundle["configMapName"]) or {})["data"]
    *_, source, prefix = uploaded.split()
    named = [item["uri"] for side in ("train", "validation", "test") for item in data[side]]
    assert all((ROOT / source / uri.removeprefix(prefix)).is_file() for uri in named)
    assert job["spec"]["model"]["uri"] in follow("6")
    follow("7")
    assert team.get("ftj", "order-desk") is None
