"""Status stays under 10 KB with everything in it at its longest, and is not shortened where it need not be."""

from typing import Any

import cluster_objects as o
import pytest

from finetune_api.conditions import ConditionType
from finetune_api.status import FinetuneJobStatus
from finetune_operator.attempts import KEPT
from finetune_operator.status_size import LIMIT, fitted

URI = f"s3://{'b' * 63}/{'k' * 230}"
DIGEST = f"sha256:{'0' * 64}"
NAME = "n" * 63
TEXT = "\N{CJK UNIFIED IDEOGRAPH-5B57}" * 1024
"""As many characters as the schema allows, each three bytes."""

METRIC: o.Raw = {
    "name": "perplexity",
    "baseline": "1" * 20,
    "tuned": "1" * 20,
    "delta": "+" + "1" * 20,
    "low": "-" + "1" * 20,
    "high": "+" + "1" * 20,
    "verdict": "inconclusive",
    "rivals": [{"name": name, "score": "1" * 20, "verdict": "inconclusive"} for name in ("few_shot", "parent")],
}
GATE: o.Raw = {
    "metric": "m" * 40,
    "wanted": "tuned - baseline >= 0.123456789 at the lower end of the interval",
    "actual": "1" * 20,
    "passed": True,
}
LONGEST: o.Raw = {
    "observedGeneration": 99,
    "phase": "Failed",
    "message": TEXT,
    "conditions": [
        {
            "type": kind,
            "status": "False",
            "reason": "BackoffLimitExceeded",
            "message": TEXT,
            "lastTransitionTime": o.END,
            "observedGeneration": 99,
        }
        for kind in ConditionType
        if kind is not ConditionType.COMPLETE
    ],
    "specDigest": DIGEST,
    "image": f"{URI}@{DIGEST}",
    "progress": {
        "stage": "evaluating",
        "step": 10**7,
        "totalSteps": 10**7,
        "percent": "100%",
        "rows": 10**9,
        "loss": "1" * 20,
        "tokensPerSecond": "1" * 9,
        "execution": "x" * 128,
        "eta": "999h59m",
    },
    "data": {
        "digest": DIGEST,
        "trainRows": 10**9,
        "validationRows": 10**9,
        "testRows": 10**9,
        "trainTokens": 10**13,
        "supervisedTokens": 10**13,
        "truncatedRows": 10**9,
        "leftOutRows": 10**9,
        "badRows": 10**9,
        "duplicateRows": 10**9,
        "reportUri": URI,
        "preparedUri": URI,
        "preparedDigest": DIGEST,
    },
    "settings": [{"name": "training.microBatchTokens", "value": "v" * 40, "why": "w" * 256}] * 16,
    "estimate": {
        "memory": "1023.9Gi",
        "available": "1023.9Gi",
        "steps": 10**7,
        "tokens": 10**13,
        "checkpointBytes": 10**13,
    },
    "evaluation": {
        "summary": "s" * 40,
        "rows": 10**5,
        "metrics": [METRIC] * 10,
        "slices": [{"name": "n" * 40, "rows": 10**5, "baseline": "1" * 20, "tuned": "1" * 20}] * 16,
        "gates": [GATE, {**GATE, "passed": False}] * 8,
        "benchmarks": [METRIC | {"name": "b" * 64}] * 8,
    },
    "artifact": {
        "kind": "adapter",
        "uri": URI,
        "digest": DIGEST,
        "sizeBytes": 10**13,
        "verified": True,
        "promotedUri": URI,
    },
    "reportUri": URI,
    "checkpoint": {"step": 10**7, "uri": URI, "savedAt": o.END, "sizeBytes": 10**13},
    "attempts": [
        {
            "pod": NAME,
            "uid": "u" * 36,
            "node": NAME,
            "startedAt": o.START,
            "finishedAt": o.END,
            "outcome": "Preempted",
            "exitCode": 137,
            "reason": "StorageUnavailable",
            "resumedFromStep": 10**7,
            "step": 10**7,
            "savedStep": 10**7,
            "lostSteps": 10**7,
            "gpuSeconds": 10**9,
        }
    ]
    * KEPT,
    "queue": {"name": NAME, "workload": NAME, "position": 10**6, "message": TEXT[:256]},
    "failure": {
        "class": "Infrastructure",
        "reason": "StorageUnavailable",
        "message": TEXT,
        "advice": TEXT,
        "retryable": False,
        "reportUri": URI,
        "exitCode": 137,
        "container": f"{NAME}/trainer",
        "node": NAME,
    },
    "startedAt": o.START,
    "finishedAt": o.END,
    "avoidedNodes": [NAME] * 2,
    "failedAttempts": 20,
    "runSeconds": 10**8,
    "gpuSeconds": 10**9,
}


# What an ended job has of all this.
FAILED: o.Raw = {"evaluation": None, "artifact": None, "reportUri": None}
COMPLETE: o.Raw = {
    "failure": None,
    "checkpoint": None,
    "conditions": [each for each in LONGEST["conditions"] if each["type"] not in ("Failed", "Stalled")],
}


def status(**changes: Any) -> FinetuneJobStatus:
    return FinetuneJobStatus.model_validate({**LONGEST, **changes})


def size(made: FinetuneJobStatus) -> int:
    return len(made.model_dump_json(exclude_none=True).encode())


@pytest.mark.parametrize("end", [FAILED, COMPLETE], ids=["failed", "complete"])
def test_everything_at_its_longest_fits_and_pointers_stay(end: o.Raw) -> None:
    whole = status(**end)
    made = fitted(whole)
    assert size(made) <= LIMIT
    assert (made.data, made.artifact, made.report_uri) == (whole.data, whole.artifact, whole.report_uri)
    assert len(made.attempts) == KEPT


def test_a_result_keeps_its_first_metrics() -> None:
    made = fitted(status(**COMPLETE, evaluation={**LONGEST["evaluation"], "gates": []}))
    assert made.evaluation is not None
    assert len(made.evaluation.metrics) >= 4


def test_gates_that_failed_outlive_those_that_held() -> None:
    made = fitted(status(**COMPLETE))
    assert made.evaluation is not None
    assert [gate.passed for gate in made.evaluation.gates] == [False] * 8


def test_what_a_failed_gate_wanted_outlives_what_the_others_did() -> None:
    made = fitted(status(**COMPLETE, attempts=LONGEST["attempts"][:1]))
    assert made.evaluation is not None
    assert [bool(gate.wanted) for gate in made.evaluation.gates] == [False, True] * 8


def test_what_fits_is_kept_whole() -> None:
    small = status(message="", conditions=[], failure=None, settings=[], evaluation=None)
    assert size(small) <= LIMIT
    assert fitted(small) == small


def test_texts_that_stand_twice_are_shortened_before_anything_is_lost() -> None:
    made = fitted(status(settings=[], evaluation=None, attempts=[]))
    assert made.failure is not None
    assert len(made.conditions[0].message) < len(made.failure.message)


@pytest.mark.parametrize("count", range(0, 17, 4))
def test_fitting_again_with_whole_texts_changes_nothing(count: int) -> None:
    """Conditions and failure are computed anew at each look; what reports told is not."""
    first = fitted(status(settings=LONGEST["settings"][:count]))
    again = status(
        settings=[each.model_dump(by_alias=True) for each in first.settings],
        evaluation=first.evaluation.model_dump(by_alias=True) if first.evaluation else None,
    )
    assert fitted(again) == first
