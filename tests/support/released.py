"""What each released version wrote and accepted, recorded once, so that later ones are held to it.

python -m released 0.2.0    # with the release, never again
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cluster_objects as o
import yaml

from finetune_api.conditions import Reason
from finetune_api.digest import spec_digest
from finetune_api.report import TrainerReport
from finetune_api.spec.job import FinetuneJobSpec
from finetune_api.termination_message import compact
from finetune_operator.generate import TARGETS

ROOT: Final = Path(__file__).resolve().parents[2]
RELEASES: Final = ROOT / "tests" / "data" / "releases"
_STATES: Final = ROOT / "docs/gitops/argo-cd/resource_customizations/finetune.dev/FinetuneJob/testdata"
_SPECS: Final = ROOT / "tests" / "controller" / "data"
_REPORT: Final = ROOT / "tests" / "data" / "order_desk" / "report.json"


@dataclass(frozen=True)
class Release:
    """One version's record."""

    version: str
    definition: dict[str, Any]
    """The CRD."""
    jobs: list[dict[str, Any]]
    """FinetuneJobs in every state, with status; ones that use every field and the examples, without."""
    digests: dict[str, str]
    """What identifies the jobs' results, by the jobs' names."""
    messages: dict[str, str]
    """Trainers' termination messages."""


def load(version: str) -> Release:
    """A release as it was recorded."""
    folder = RELEASES / version
    return Release(
        version=version,
        definition=yaml.safe_load((folder / "crd.yaml").read_text()),
        jobs=list(yaml.safe_load_all((folder / "jobs.yaml").read_text())),
        digests=json.loads((folder / "digests.json").read_text()),
        messages=json.loads((folder / "messages.json").read_text()),
    )


def versions() -> list[str]:
    """Those that were released."""
    return sorted(path.name for path in RELEASES.iterdir())


def record(version: str) -> None:
    """Write down what this tree does.

    Raises:
        FileExistsError: the version is recorded already.
    """
    folder = RELEASES / version
    folder.mkdir(parents=True)
    (folder / "crd.yaml").write_text((ROOT / TARGETS[0]).read_text())
    jobs = [*_states(), *_everything(), *_examples()]
    (folder / "jobs.yaml").write_text(yaml.safe_dump_all(jobs, sort_keys=False))
    digests = {job["metadata"]["name"]: spec_digest(FinetuneJobSpec.model_validate(job["spec"])) for job in jobs}
    (folder / "digests.json").write_text(json.dumps(digests, indent=1) + "\n")
    (folder / "messages.json").write_text(json.dumps(_messages(), indent=1) + "\n")


def _states() -> list[dict[str, Any]]:
    found = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(_STATES.glob("*.yaml"))}
    return [_job(name, state["spec"], status=state["status"]) for name, state in found.items() if "status" in state]


def _everything() -> list[dict[str, Any]]:
    found = {path.name.removesuffix(".spec.yaml"): path for path in sorted(_SPECS.glob("*.spec.yaml"))}
    return [_job(name, o.SPEC | yaml.safe_load(path.read_text())) for name, path in found.items()]


def _examples() -> list[dict[str, Any]]:
    found = sorted((ROOT / "examples").glob("*/*.yaml"))
    return [_job(f"{path.parent.name}-{path.stem}", yaml.safe_load(path.read_text())["spec"]) for path in found]


def _job(name: str, spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    head = {"apiVersion": "finetune.dev/v1alpha1", "kind": "FinetuneJob", "metadata": {"name": name}}
    return {**head, "spec": spec, **more}


def _messages() -> dict[str, str]:
    return {
        "preflight passed": o.passed(),
        "trained": compact(TrainerReport.model_validate_json(_REPORT.read_text())),
        "data refused": o.failed_report("preflight", "Data", Reason.DATASET_INVALID, "train.jsonl line 3: no answer"),
    }


if __name__ == "__main__":
    record(sys.argv[1])
