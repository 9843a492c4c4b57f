"""Show the job as a platform engineer sees it: the rows of `kubectl get ftj -w`, until it ends."""

import subprocess
import time
from typing import Any, Final

from examples.demo.target import TEAM, DemoError, Target
from rich.console import Console

DEADLINE_SECONDS: Final = 45 * 60
UNSEEN_SECONDS: Final = 60
POLL_SECONDS: Final = 5
"""Each look starts a kubectl, and on a small machine that time is taken from the training."""


def follow(target: Target, name: str, console: Console) -> dict[str, Any]:
    """Stream kubectl's rows until the job is Complete or Failed, and return the finished object.

    Raises:
        DemoError: the job failed, or did not end in time.

    """
    team = target.kubectl.inside(TEAM)
    console.print(f"  $ kubectl -n {TEAM} get ftj {name} -w\n")
    with subprocess.Popen(team.command("get", "ftj", name, "-w")) as rows:
        try:
            finished = _wait(target, name)
        finally:
            rows.terminate()
    console.print()
    status = finished["status"]
    if status["phase"] == "Failed":
        failure = status.get("failure", {})
        raise DemoError(
            f"{name} failed: {failure.get('reason')}: {failure.get('message')} {failure.get('advice')}\n"
            f"Look further: kubectl -n {TEAM} describe ftj {name}"
        )
    return finished


def _wait(target: Target, name: str) -> dict[str, Any]:
    begun = time.monotonic()
    while time.monotonic() < begun + DEADLINE_SECONDS:
        job: dict[str, Any] | None = target.kubectl.inside(TEAM).get("ftj", name)
        if job is None:
            raise DemoError(f"{name} was deleted")
        if "status" not in job and time.monotonic() > begun + UNSEEN_SECONDS:
            raise DemoError(f"no operator looks at {name}: does one run, and serve namespace {TEAM}?")
        if job.get("status", {}).get("phase") in ("Complete", "Failed"):
            # One more row: the watch shows the final state before it is stopped.
            time.sleep(1)
            return job
        time.sleep(POLL_SECONDS)
    raise DemoError(
        f"{name} did not end within {DEADLINE_SECONDS // 60} minutes: kubectl -n {TEAM} describe ftj {name}"
    )
