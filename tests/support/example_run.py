"""Run a worked example on the real model, as `make example` does, without its screen."""

from typing import Any

from examples.demo import job as demo_job
from examples.demo.example import Example
from examples.demo.target import TEAM, Target
from rich.console import Console


def run_example(target: Target, example: Example, *, seed: int = 0) -> dict[str, Any]:
    """The finished FinetuneJob."""
    console = Console()
    demo_job.upload_inputs(target, example, console)
    name = demo_job.apply(target, example, console, seed=seed)
    team = target.kubectl.inside(TEAM)

    def ended() -> dict[str, Any] | None:
        job = team.get("ftj", name)
        assert job is not None
        return job if job.get("status", {}).get("phase") in ("Complete", "Failed") else None

    finished: dict[str, Any] = team.wait(f"{name} ends", ended, timeout=1700, explain=f"ftj {name}")
    assert finished["status"]["phase"] == "Complete", finished["status"].get("failure")
    return finished
