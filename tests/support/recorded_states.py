"""FinetuneJobs in every state, as the operator's own decision makes them: what GitOps tools are tested on.

python -m recorded_states --write    record them beside Argo CD's health script
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import cluster_objects as o
import yaml
from scenarios import LACK, PASSED, PREFLIGHT, TRAIN, TRAINED, VALIDATED, Known, decision, storage_down

from finetune_api.conditions import Reason
from finetune_api.progress import Progress
from finetune_api.report import GateResult
from finetune_operator.observe import Refusal, RefusalKind

ROOT: Final = Path(__file__).resolve().parents[2]
CHECK: Final = ROOT / "docs/gitops/argo-cd/resource_customizations/finetune.dev/FinetuneJob"
HEADER: Final = "# Recorded by `make generate`; do not edit.\n"

_MISSED = GateResult(metric="loss", wanted="tuned - baseline < 0", actual=0.25, passed=False)
_WITHHELD = o.report(
    "train",
    data=o.DATA,
    training=o.TRAINING,
    evaluation=o.EVALUATION.model_copy(update={"gates": [_MISSED]}),
    artifact=o.ARTIFACT,
)
_BAD_DATA = o.failed_report("preflight", "Data", Reason.DATASET_INVALID, "train.jsonl:7: not JSON")
_AT_WORK = Progress(stage="training", step=42, total_steps=100, loss=1.2345, tokens_per_second=153.4, eta_seconds=130)
_RUNNING = Known(status=VALIDATED, jobs=(TRAIN,), pods=(o.running("train"),), progress=_AT_WORK)
_NO_ROOM = o.verdict("QuotaReserved", "Pending", "insufficient unused quota for nvidia.com/gpu", holds=False)
_QUEUED = o.child_job("train", spec={"suspend": True}, queue="gpus")
_QUOTA = Refusal(kind=RefusalKind.REFUSED, message="exceeded quota: gpus")

STATES: Final[dict[str, Known]] = {
    "validating": Known(jobs=(PREFLIGHT,), pods=(o.running("preflight"),)),
    "queued-preflight": Known(
        jobs=(o.child_job("preflight", spec={"suspend": True}, queue="checks"),),
        workloads=(o.workload("preflight", _NO_ROOM, queue="checks"),),
    ),
    "queued": Known(status=VALIDATED, jobs=(_QUEUED,), workloads=(o.workload("train", _NO_ROOM),), position=3),
    "preempted": Known(
        status=VALIDATED,
        jobs=(_QUEUED,),
        pods=(o.ended("train", 75),),
        workloads=(o.workload("train", o.verdict("Evicted", "Preempted", "Preempted by team-b"), _NO_ROOM),),
        position=1,
    ),
    "queued-nowhere": Known(status=VALIDATED, jobs=(_QUEUED,)),
    "deactivated": Known(status=VALIDATED, jobs=(_QUEUED,), workloads=(o.workload("train", active=False),)),
    "unschedulable": Known(status=VALIDATED, jobs=(TRAIN,), pods=(o.pod("train", conditions=[LACK]),)),
    "running": _RUNNING,
    "retrying": Known(
        status=VALIDATED,
        jobs=(o.child_job("train", status={"failed": 1}),),
        pods=(o.ended("train", 20, storage_down("train")),),
    ),
    "suspending": replace(_RUNNING, spec={"suspend": True}, metadata={"generation": 2}),
    "suspended": Known(spec={"suspend": True}, status=VALIDATED, jobs=(o.child_job("train", spec={"suspend": True}),)),
    "stalled": Known(status=VALIDATED, refusals={"train": _QUOTA}),
    "failed-data": Known(
        jobs=(o.child_job("preflight", o.condition("Failed", "PodFailurePolicy")),),
        pods=(o.ended("preflight", 11, _BAD_DATA),),
    ),
    "failed-retries": Known(
        status=VALIDATED,
        jobs=(o.child_job("train", o.condition("Failed", "BackoffLimitExceeded"), status={"failed": 4}),),
        pods=(o.ended("train", 20, storage_down("train")),),
    ),
    "complete": Known(status=VALIDATED, jobs=(PREFLIGHT, TRAIN), pods=(PASSED, TRAINED)),
    "complete-withheld": Known(status=VALIDATED, jobs=(TRAIN,), pods=(o.ended("train", 0, _WITHHELD),)),
}
"""Every state that the operator writes, by what leads to it."""


def recorded() -> dict[str, o.Raw]:
    """A FinetuneJob in each state, and the two that the operator has not looked at yet."""
    seen = {name: _stored(known) for name, known in STATES.items()}
    unseen = o.finetune_job()
    del unseen["status"]
    running = seen["running"]
    edited = {**running, "metadata": {**running["metadata"], "generation": 2}}
    return {"new": unseen, "edited": edited, **seen}


def _stored(known: Known) -> o.Raw:
    status = decision(known).status.model_dump(mode="json", exclude_none=True)
    return o.finetune_job(known.spec, status, **known.metadata)


def files() -> dict[Path, str]:
    """Test data of the health script, by where it lies."""
    return {
        CHECK / "testdata" / f"{name}.yaml": HEADER + yaml.safe_dump(item, sort_keys=False, width=110)
        for name, item in recorded().items()
    }


def main() -> int:
    """Entry point; without --write, exits 1 when a file differs from what the operator decides now."""
    parser = argparse.ArgumentParser(description="Record FinetuneJobs of every state for the health script's tests.")
    parser.add_argument("--write", action="store_true", help="write the files")
    write = parser.parse_args().write
    stale = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files()[path])
        print(f"{'wrote' if write else 'stale, run `make generate`:'} {path.relative_to(ROOT)}", file=sys.stderr)
    return 1 if stale and not write else 0


if __name__ == "__main__":
    sys.exit(main())
