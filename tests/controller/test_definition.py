"""The operator and a cluster's definition of FinetuneJob that is not the operator's own: older, newer, upgraded."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cluster_objects as o
import pytest
import released
from api_server import api_server
from kubectl import Kubectl, KubectlError
from operator_process import OperatorProcess
from played_job import children, settled, status, submit, until_phase

from finetune_api.crd import custom_resource_definition
from finetune_operator.definition import lacking, wanted

Schema = dict[str, Any]
CRD = "crd/finetunejobs.finetune.dev"
OLDEST = released.load(released.versions()[0])


def without(*path: str) -> Schema:
    """The operator's schema, but for one field or one value."""
    schema = copy.deepcopy(dict(wanted()))
    *way, last = path
    node: Any = schema
    for name in way:
        node = node[name]
    node.remove(last) if isinstance(node, list) else node.pop(last)
    return schema


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (("properties", "status"), "status.phase"),
        (("properties", "spec", "properties", "suspend"), "spec.suspend"),
        (
            ("properties", "spec", "properties", "data", "properties", "train", "items", "properties", "weight"),
            "spec.data.train[].weight",
        ),
        (("properties", "status", "properties", "phase", "enum", "Queued"), "status.phase: Queued"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_an_older_definition_lacks_is_named(path: tuple[str, ...], named: str) -> None:
    assert named in lacking(wanted(), without(*path))


def test_a_newer_definition_lacks_nothing() -> None:
    newer = copy.deepcopy(dict(wanted()))
    newer["properties"]["spec"]["properties"]["fromTheFuture"] = {"type": "string"}
    assert lacking(wanted(), newer) == []
    assert lacking(newer, wanted()) == ["spec.fromTheFuture"]


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """A server of this module's own, for definitions belong to all its tests."""
    with api_server(tmp_path_factory.mktemp("changing-api-server")) as kubectl:
        yield kubectl


def define(server: Kubectl, definition: dict[str, Any]) -> None:
    """Serve this definition, as `kubectl apply --server-side -f` does."""
    server.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(definition))
    server.run("wait", "--for=jsonpath={.status.conditions}", CRD, "--timeout=60s")
    server.run("wait", "--for=condition=Established", CRD, "--timeout=60s")
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    server.wait("the schema is published", lambda: not differs(server, schema), timeout=60)


def differs(server: Kubectl, schema: Schema) -> bool:
    document = json.loads(server.run("get", "--raw", "/openapi/v3"))["paths"]
    if "apis/finetune.dev/v1alpha1" not in document:
        return True
    found = json.loads(server.run("get", "--raw", "/openapi/v3/apis/finetune.dev/v1alpha1"))["components"]["schemas"]
    published = found["dev.finetune.v1alpha1.FinetuneJob"]
    return bool(lacking(schema, published) or lacking(published, schema))


def changed(**spec: Any) -> dict[str, Any]:
    """Today's definition with other fields under spec."""
    definition = custom_resource_definition()
    fields = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    for name, field in spec.items():
        if field is None:
            del fields[name]
        else:
            fields[name] = field
    return definition


def team_on(server: Kubectl, name: str) -> Kubectl:
    server.run("create", "namespace", name)
    return server.inside(name)


@pytest.mark.cluster
@pytest.mark.slow(name="definition", minutes=2)
def test_an_operator_newer_than_the_definition_says_what_is_missing_and_what_to_do(
    changing: Kubectl, tmp_path: Path
) -> None:
    define(changing, changed(suspend=None))
    operator = OperatorProcess(changing, tmp_path / "operator.log")
    operator.start(wait=False)
    assert operator.ended() == 1
    said = operator.log()
    assert "older than this operator, it lacks spec.suspend." in said
    assert "kubectl apply --server-side -f crds/finetune.dev_finetunejobs.yaml" in said
    assert "Traceback" not in said


@pytest.mark.cluster
@pytest.mark.slow(name="definition", minutes=2)
def test_an_operator_that_starts_while_the_definition_is_brought_up_to_date_waits_for_it(
    changing: Kubectl, tmp_path: Path
) -> None:
    define(changing, changed(suspend=None))
    operator = OperatorProcess(changing, tmp_path / "operator.log")
    operator.start(wait=False)
    try:
        define(changing, custom_resource_definition())
        changing.wait("the operator is ready", lambda: operator.get("/readyz")[0] == 200, timeout=60)
    finally:
        operator.kill()


@pytest.mark.cluster
@pytest.mark.slow(name="definition", minutes=2)
def test_an_operator_works_with_a_newer_definition_and_refuses_only_what_it_does_not_know(
    changing: Kubectl, tmp_path: Path
) -> None:
    """A rollback takes the operator back, and need not take the definition; no field is ever ignored."""
    define(changing, changed(fromTheFuture={"type": "string", "maxLength": 10}))
    team = team_on(changing, "newer")
    with OperatorProcess(team, tmp_path / "operator.log", "--namespaces", "newer"):
        submit(team, "known")
        submit(team, "unknown", fromTheFuture="x")
        until_phase(team, "Validating", "known")
        assert "spec.fromTheFuture" in until_phase(team, "Failed", "unknown")["message"]


def manifests() -> list[dict[str, Any]]:
    """What the users of the oldest release wrote."""
    return [{name: value for name, value in job.items() if name != "status"} for job in OLDEST.jobs]


@pytest.mark.cluster
@pytest.mark.slow(name="definition", minutes=2)
def test_jobs_of_the_oldest_release_live_on_after_an_upgrade(changing: Kubectl, tmp_path: Path) -> None:
    changing.run("delete", CRD, "--ignore-not-found", "--wait=true")
    define(changing, OLDEST.definition)
    team = team_on(changing, "upgraded")
    team.apply(*manifests())
    stood = "\n---\n".join(json.dumps(job) for job in OLDEST.jobs if "status" in job)
    team.run("apply", "--server-side", "--subresource=status", "--force-conflicts", "-f", "-", stdin=stood)
    before = {item["metadata"]["name"]: item for item in team.items("ftj")}
    assert len(before) == len(OLDEST.jobs)
    assert sum("status" in item for item in before.values()) == sum("status" in job for job in OLDEST.jobs)
    define(changing, custom_resource_definition())
    # As GitOps would, for ever: what a team has in Git stays valid.
    team.apply(*manifests())
    team.run("label", "ftj", "--all", "upgraded=yes")
    after = {item["metadata"]["name"]: item for item in team.items("ftj")}
    assert {name: item["spec"] for name, item in after.items()} == {n: item["spec"] for n, item in before.items()}
    with OperatorProcess(team, tmp_path / "operator.log", "--namespaces", "upgraded") as operator:
        team.wait("a job without status is begun", lambda: children(team, "order-desk-finetunejob"), timeout=30)
        settled(team)
        for name, item in before.items():
            if item.get("status", {}).get("phase") in ("Complete", "Failed"):
                assert status(team, name)["phase"] == item["status"]["phase"], name
        assert "status cannot be read" not in operator.log()
        assert "fault of the operator" not in operator.log()


@pytest.mark.cluster
@pytest.mark.slow(name="definition", minutes=2)
def test_a_rule_that_becomes_stricter_stops_no_job_that_is_there(changing: Kubectl, tmp_path: Path) -> None:
    """Ratcheting: Kubernetes judges again only what a write changes, from 1.30 on by default."""
    define(changing, custom_resource_definition())
    team = team_on(changing, "ratchet")
    submit(team)
    stricter = custom_resource_definition()
    fields = stricter["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    fields["output"]["properties"]["uri"]["pattern"] = "^s3://results/"
    define(changing, stricter)
    changing.wait("the rule holds", lambda: refused(team), timeout=30)
    team.run("label", "ftj", o.NAME, "touched=yes")
    with OperatorProcess(team, tmp_path / "operator.log", "--namespaces", "ratchet"):
        until_phase(team, "Validating")
    define(changing, custom_resource_definition())


def refused(team: Kubectl) -> bool:
    try:
        submit(team, "another")
    except KubectlError as error:
        return "spec.output.uri" in error.stderr
    team.run("delete", "ftj", "another")
    return False
