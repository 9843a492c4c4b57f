"""The commands of docs/install.md do what the page says, on an API server that runs no pods.

`tests/e2e/test_chart_life_cycle.py` runs those that wait for pods as they stand.
"""

import re
from pathlib import Path

import pytest
from helm_release import Release
from kubectl import Kubectl
from rendered_chart import CHART, render
from shell_blocks import ROOT, run, shell_blocks

PAGE = ROOT / "docs" / "install.md"
COMMANDS = shell_blocks(PAGE)

pytestmark = pytest.mark.cluster
long = pytest.mark.slow(name="chart life cycle", minutes=3)


def without_pods(commands: str) -> str:
    """The commands, but for what only a cluster that runs pods can answer."""
    return re.sub(r" --wait\b", "", re.sub(r"^helm test .*\n", "", commands, flags=re.MULTILINE))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A reader's working folder with the page's own values.yaml."""
    values = PAGE.read_text().split("```yaml\n# values.yaml\n")[1].split("```")[0]
    (tmp_path / "values.yaml").write_text(values)
    return tmp_path


@long
def test_what_the_page_installs_upgrades_rolls_back_and_removes_is_there_or_gone(
    bare_server: Kubectl, release: Release, folder: Path
) -> None:
    for heading in ("Install", "Upgrade", "Uninstall"):
        first, *more = COMMANDS[heading]
        run(without_pods(first), folder, kubectl=bare_server)
        if heading != "Uninstall":
            assert release.environment()["FINETUNE_OPERATOR_GPU_MEMORY"] == "nvidia.com/gpu=80Gi"
            for commands in more:
                run(without_pods(commands), folder, kubectl=bare_server)
    assert release.kubectl.items("deployments") == []
    release.upgrade()
    run(COMMANDS["Uninstall"][1], folder, kubectl=bare_server)
    assert bare_server.get("crd", "finetunejobs.finetune.dev") is None


@long
def test_the_pages_install_for_some_namespaces_needs_nothing_of_the_whole_cluster(
    bare_server: Kubectl, release: Release, folder: Path
) -> None:
    for name in ("team-a", "team-b"):
        bare_server.run("create", "namespace", name)
    for commands in COMMANDS["Some namespaces only"]:
        run(without_pods(commands), folder, kubectl=bare_server)
    made = release.helm("get", "manifest", release.name)
    assert "kind: Cluster" not in made
    assert [team for team in ("team-a", "team-b") if bare_server.inside(team).items("roles")] == ["team-a", "team-b"]


def test_the_pages_mirror_gets_every_image_and_the_chart_is_carried(bare_server: Kubectl, folder: Path) -> None:
    (folder / "skopeo").write_text('#!/bin/bash\necho "${@: -1}"\n')
    (folder / "skopeo").chmod(0o755)
    (commands,) = COMMANDS["Without the internet"]
    printed = run(commands, folder, folder, kubectl=bare_server)
    images = (CHART / "images.txt").read_text().split()
    assert printed.split()[: len(images)] == [f"docker://mirror.internal/finetune/{image}" for image in images]
    assert (folder / "finetune-operator-0.1.0.tgz").exists()


SAMPLES = {
    "imagePullSecrets": '[{"name": "registry"}]',
    "podAnnotations": '{"sidecar.istio.io/inject": "false"}',
    "digest": f'"sha256:{"0" * 64}"',
    "httpsProxy": '"http://proxy:3128"',
    "enabled": "true",
    "replicas": "2",
    "fixedUser": "false",
    "nodes": "true",
}
"""What the schema takes for values by these names; for all others a word."""


def test_every_value_that_the_page_names_is_there() -> None:
    table = PAGE.read_text().split("| you have | set |")[1].split("\n\n")[0]
    named = re.findall(r"`((?:\w+\.)*\w+)(?:: \w+)?`", table)
    assert len(named) > 8
    options = [f"{value}={SAMPLES.get(value.rpartition('.')[2], chr(34) + 'word' + chr(34))}" for value in named]
    assert render(*[part for option in options for part in ("--set-json", option)])
