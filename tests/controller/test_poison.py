"""Objects that no schema would let pass, as a looser CRD or an older version could leave them: each fails alone."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kubectl import Kubectl, KubectlError
from operator_process import OperatorProcess
from played_job import children, settled, status, submit, until_phase

pytestmark = pytest.mark.cluster

# What is wrong, and what the message names.
POISON: dict[str, tuple[dict[str, Any], str]] = {
    "wrong-type": ({"limits": {"retries": "many"}}, "spec.limits.retries"),
    "null": ({"model": {"uri": None}}, "spec.model.uri"),
    "huge-text": ({"model": {"uri": "s3://" + "x" * 200_000}}, "spec.model.uri"),
    "list-for-an-object": ({"output": []}, "spec.output"),
}
SOUND = [f"sound-{number}" for number in range(20)]


@contextmanager
def any_spec(server: Kubectl) -> Iterator[None]:
    """An API server that takes every spec, for as long as this lasts."""
    crd = server.get("crd", "finetunejobs.finetune.dev")
    assert crd is not None
    loose = json.loads(json.dumps(crd))
    schema = loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    try:
        replace(server, loose)
        yield
    finally:
        replace(server, crd)


def replace(server: Kubectl, crd: Any) -> None:
    patch = json.dumps({"spec": {"versions": crd["spec"]["versions"]}})
    server.run("patch", "crd", "finetunejobs.finetune.dev", "--type=merge", "-p", patch)


def accepted(team: Kubectl, name: str, spec: dict[str, Any]) -> bool:
    try:
        submit(team, name, **spec)
    except KubectlError:
        return False
    return True


def test_poison_fails_alone_and_names_its_field_also_after_a_restart(
    server: Kubectl, team: Kubectl, operator: OperatorProcess
) -> None:
    with any_spec(server):
        for name, (spec, _) in POISON.items():
            team.wait(f"{name} is accepted", lambda name=name, spec=spec: accepted(team, name, spec))
    for name in SOUND:
        submit(team, name)
    for name, (_, field) in POISON.items():
        failure = until_phase(team, "Failed", name)["failure"]
        assert failure["reason"] == "InvalidSpec"
        assert f"{field}: " in failure["message"]
    for name in SOUND:
        until_phase(team, "Validating", name)
    before = [status(team, name) for name in POISON]
    operator.kill()
    operator.start()
    settled(team)
    assert operator.process is not None
    assert operator.process.poll() is None
    assert [status(team, name) for name in POISON] == before
    assert "Traceback" not in operator.log()


def test_odd_annotations_on_children_are_no_reason_to_stop(team: Kubectl, operator: OperatorProcess) -> None:
    submit(team)
    team.wait("preflight Job", lambda: children(team), timeout=30)
    odd = {"finetune.dev/avoided-nodes": ",,;\n" + "n" * 100_000, "finetune.dev/suspended-by": ""}
    patch = json.dumps({"metadata": {"annotations": odd}})
    team.run("patch", "job", "tune-preflight", "--type=merge", "-p", patch)
    team.wait("pod", lambda: team.items("pods"), timeout=30)
    for pod in team.items("pods"):
        team.run("patch", "pod", pod["metadata"]["name"], "--type=merge", "-p", patch)
    submit(team, "later")
    until_phase(team, "Validating", "later")
    assert "Traceback" not in operator.log()
