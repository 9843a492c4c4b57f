"""No secret leaves its Secret: looked for in everything that a job's whole life has left on the cluster and in S3."""

import base64
import urllib.parse
from collections.abc import Iterator
from contextlib import suppress

import pytest
from examples.demo.job import OPERATOR_NAMESPACE
from examples.demo.target import Target
from kubectl import KubectlError
from team import Team

pytestmark = pytest.mark.cluster


def forms(secret: str) -> set[str]:
    """The ways in which a value could be written."""
    return {secret, base64.b64encode(secret.encode()).decode().rstrip("="), urllib.parse.quote(secret, safe="")}


def everywhere(team: Team, target: Target) -> Iterator[tuple[str, str]]:
    """What can be read, and where: every kind of object but Secrets, logs, metrics, and what lies under the output."""
    whole = target.kubectl
    kinds = whole.run("api-resources", "--verbs=list", "-o", "name").split()
    for kind in sorted(set(kinds) - {"secrets"}):
        with suppress(KubectlError):  # an API whose server is away
            yield kind, whole.run("get", kind, "--all-namespaces", "-o", "json")
    for namespace in (str(team.kubectl.namespace), OPERATOR_NAMESPACE):
        inside = whole.inside(namespace)
        for pod in inside.items("pods"):
            name = pod["metadata"]["name"]
            yield f"log of {name}", inside.run("logs", name, "--all-containers", "--ignore-errors")
    services = whole.inside(OPERATOR_NAMESPACE).items("services")
    for service in services:
        path = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/services/{service['metadata']['name']}:http/proxy/metrics"
        yield "metrics", whole.run("get", "--raw", path)
    for uri in team.objects("finished"):
        yield uri, (team.storage.read(uri) or b"").decode(errors="replace")


def test_no_secret_is_anywhere_but_in_its_secret(finished: Team, installed: Target) -> None:
    stored = finished.kubectl.get("secret", "s3-credentials") or {}
    secret = base64.b64decode(stored["data"]["AWS_SECRET_ACCESS_KEY"]).decode()
    assert secret == installed.keys["AWS_SECRET_ACCESS_KEY"], "the scan would look for something else"
    seen = dict(everywhere(finished, installed))
    assert {"pods", "jobs.batch", "events", "finetunejobs.finetune.dev", "metrics"} <= seen.keys()
    assert any(where.endswith("report.html") for where in seen)
    leaks = [where for where, text in seen.items() if any(form in text for form in forms(secret))]
    assert leaks == []


@pytest.mark.slow(name="variables in a spec", minutes=0.5)
def test_the_kubelet_takes_nothing_in_a_spec_for_a_variable(team: Team) -> None:
    manifest = team.job("dollars")
    manifest["spec"]["data"]["template"] = {"system": "$(KUBERNETES_SERVICE_HOST) costs $$5 $$(HOME) $"}
    team.submit(manifest)
    # Preflight compares the digest of what it got with the operator's.
    team.until("dollars", "validated", lambda job: job["status"].get("data"))
    team.kubectl.run("delete", "ftj", "dollars", "--wait=false")
