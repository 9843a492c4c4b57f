"""The Argo CD Applications and Flux objects that the docs offer: valid for these tools' own schemas, and in order.

That the tools do with them what their documentation says has not been tried: neither is installed here.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from gitops_definitions import definitions
from kubectl import Kubectl, KubectlError
from rendered_chart import CHART, render

ROOT = Path(__file__).resolve().parents[2]
GITOPS = ROOT / "docs" / "gitops"
FILES = ("argo-cd/applications.yaml", "flux/operator.yaml", "flux/release.yaml", "flux/kustomization.yaml")
ANNOTATION = "argocd.argoproj.io/sync-wave"


def load(file: str) -> dict[tuple[str, str], dict[str, Any]]:
    documents = yaml.safe_load_all((GITOPS / file).read_text())
    return {(item["kind"], item["metadata"]["name"]): item for item in documents}


@pytest.fixture(scope="module")
def tools(server: Kubectl) -> Kubectl:
    """An API server that knows the objects of both tools."""
    for definition in definitions():
        server.run("apply", "--server-side", "-f", str(definition))
        server.established("-f", str(definition))
    for namespace in ("argocd", "flux-system"):
        server.run("create", "namespace", namespace)
    return server


@pytest.mark.cluster
@pytest.mark.slow(name="gitops examples", minutes=1)
@pytest.mark.parametrize("file", FILES)
def test_an_example_is_valid_for_the_tool_it_is_for(tools: Kubectl, file: str) -> None:
    strictly = ("create", "--dry-run=server", "--validate=strict", "-f", "-")
    text = (GITOPS / file).read_text()
    tools.run(*strictly, stdin=text)
    with pytest.raises(KubectlError, match="unknown field"):
        tools.run(*strictly, stdin=text.replace("spec:\n", "spec:\n  nothingOfTheKind: 1\n", 1))


@pytest.mark.cluster
def test_the_chart_takes_the_values_of_both_examples(tmp_path: Path) -> None:
    argo = load("argo-cd/applications.yaml")["Application", "finetune-operator"]["spec"]["source"]["helm"][
        "valuesObject"
    ]
    flux = load("flux/release.yaml")["HelmRelease", "finetune-operator"]["spec"]["values"]
    for number, values in enumerate((argo, flux)):
        (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump(values))
        assert render("--values", str(tmp_path / f"{number}.yaml"))


def test_argo_cd_brings_the_operator_before_the_jobs() -> None:
    applications = load("argo-cd/applications.yaml")
    waves = {name: int(item["metadata"]["annotations"][ANNOTATION]) for (_, name), item in applications.items()}
    assert waves["finetune-operator"] < waves["fine-tunes"]
    # Waves hold only where Argo CD judges Applications; the jobs are tried again for as long as there is no definition.
    jobs = applications["Application", "fine-tunes"]["spec"]["syncPolicy"]
    assert jobs["retry"]["limit"] > 0
    assert "SkipDryRunOnMissingResource=true" in jobs["syncOptions"]


def test_flux_brings_the_operator_before_the_jobs() -> None:
    jobs = load("flux/kustomization.yaml")["Kustomization", "fine-tunes"]
    (before,) = jobs["spec"]["dependsOn"]
    operator = load("flux/operator.yaml")["Kustomization", before["name"]]
    # It waits for the HelmRelease, which is ready when the operator is.
    assert operator["spec"]["wait"] is True
    release = load("flux/release.yaml")["HelmRelease", "finetune-operator"]["spec"]
    source = release["chart"]["spec"]
    assert ("GitRepository", source["sourceRef"]["name"]) in load("flux/operator.yaml")
    assert (ROOT / source["chart"]).resolve() == CHART


@pytest.mark.cluster
def test_whatever_a_tool_removes_the_definition_stays() -> None:
    (definition,) = [item for item in render() if item["kind"] == "CustomResourceDefinition"]
    annotations = definition["metadata"]["annotations"]
    # Argo CD deletes no CRD together with its Application, but would prune one that is no longer rendered.
    assert annotations["argocd.argoproj.io/sync-options"] == "Prune=false"
    assert annotations["helm.sh/resource-policy"] == "keep"
