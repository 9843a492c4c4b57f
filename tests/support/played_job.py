"""A FinetuneJob on an API server that runs no pods: the test submits it, plays kubelet and trainer, and looks."""

import json
import time
from typing import Any

import cluster_objects as o
from kubectl import Kubectl


def submit(team: Kubectl, *names: str, **spec: Any) -> None:
    base = {"apiVersion": "finetune.dev/v1alpha1", "kind": "FinetuneJob", "spec": {**o.SPEC, **spec}}
    jobs = [{**base, "metadata": {"name": name, "namespace": team.namespace}} for name in names or (o.NAME,)]
    team.apply(*jobs)


def status(team: Kubectl, name: str = o.NAME) -> Any:
    found = team.get("ftj", name)
    return (found or {}).get("status", {})


def children(team: Kubectl, name: str = o.NAME) -> list[Any]:
    return team.items("jobs", "-l", f"finetune.dev/job={name}")


def live_pod(team: Kubectl, kind: str, name: str = o.NAME, *, index: int = 0) -> Any:
    """The child's pod of that index that has not ended."""
    selector = f"finetune.dev/job={name},finetune.dev/kind={kind},batch.kubernetes.io/job-completion-index={index}"
    pods = team.items("pods", "-l", selector)
    return next((pod for pod in pods if pod["status"]["phase"] in ("Pending", "Running")), None)


def until_phase(team: Kubectl, phase: str, name: str = o.NAME) -> Any:
    def reached() -> Any:
        found = status(team, name)
        return found if found.get("phase") == phase else None

    return team.wait(f"{name} is {phase}", reached, timeout=30, interval=0.2, explain=f"ftj {name}")


def play(team: Kubectl, kind: str, state: o.Raw, phase: str, name: str = o.NAME, *, index: int = 0) -> Any:
    """Be scheduler and kubelet of the child's live pod: wait for it, bind it, write its container's state."""
    pod = team.wait(
        f"pod of {kind}", lambda: live_pod(team, kind, name, index=index), timeout=30, interval=0.2, explain="jobs,pods"
    )
    if "nodeName" not in pod["spec"]:
        bind(team, pod)
    container = {"name": "trainer", "state": state, "ready": False, "restartCount": 0, "image": "i", "imageID": "i"}
    patch = json.dumps({"status": {"phase": phase, "containerStatuses": [container]}})
    team.run("patch", "pod", pod["metadata"]["name"], "--subresource=status", "--type=merge", "-p", patch)
    return pod


def bind(team: Kubectl, pod: Any) -> None:
    """To a node that is not there: a pod without a node would not be asked to stop but deleted at once."""
    name = pod["metadata"]["name"]
    target = {"apiVersion": "v1", "kind": "Node", "name": "nowhere"}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
    path = f"/api/v1/namespaces/{team.namespace}/pods/{name}/binding"
    team.run("create", "--raw", path, "-f", "-", stdin=json.dumps(binding))


def start(team: Kubectl, kind: str, name: str = o.NAME, *, index: int = 0) -> Any:
    return play(team, kind, {"running": {"startedAt": o.START}}, "Running", name, index=index)


def end(team: Kubectl, kind: str, code: int, message: str, name: str = o.NAME, *, index: int = 0) -> Any:
    terminated = {"exitCode": code, "message": message, "startedAt": o.START, "finishedAt": o.END, "reason": "Ended"}
    return play(team, kind, {"terminated": terminated}, "Failed" if code else "Succeeded", name, index=index)


def run_to_completion(team: Kubectl, name: str = o.NAME) -> Any:
    end(team, "preflight", 0, o.passed(), name)
    start(team, "train", name)
    until_phase(team, "Running", name)
    end(team, "train", 0, o.trained(), name)
    return until_phase(team, "Complete", name)


def reasons(found: Any) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in found["conditions"]}


def settled(team: Kubectl, seconds: float = 2) -> None:
    """Give an operator that would do something wrong the time to do it."""
    time.sleep(seconds)


def suspend(team: Kubectl, value: bool) -> None:
    team.run("patch", "ftj", o.NAME, "--type=merge", "-p", json.dumps({"spec": {"suspend": value}}))
