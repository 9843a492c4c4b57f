"""The spec digest changes with everything that decides the result and with nothing else."""

from typing import Any

import pytest

from finetune_api.digest import spec_digest
from finetune_api.spec.job import FinetuneJobSpec

BASE: dict[str, Any] = {
    "model": {"uri": "s3://models/base"},
    "data": {"train": [{"uri": "s3://team/train.jsonl"}]},
    "output": {"uri": "s3://team/out"},
}


def digest(**changes: Any) -> str:
    return spec_digest(FinetuneJobSpec.model_validate({**BASE, **changes}))


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"uri": "s3://models/other"}},
        {"data": {"train": [{"uri": "s3://team/other.jsonl"}]}},
        {"training": {"learningRate": 0.001}},
        {"training": {"seed": 1}},
        {"method": {"lora": {"rank": 8}}},
        {"evaluation": {"fewShot": 0}},
        {"output": {"uri": "s3://team/elsewhere"}},
        {"runId": "again"},
    ],
    ids=str,
)
def test_an_identity_setting_changes_the_digest(change: dict[str, Any]) -> None:
    assert digest(**change) != digest()


@pytest.mark.parametrize(
    "change",
    [
        {"suspend": True},
        {"limits": {"retries": 0}},
        {"resources": {"gpus": {"count": 0}}},
        {"storage": {"endpoint": "https://s3.example.com"}},
        {"checkpoint": {"everySteps": 1}},
        {"training": {"microBatchTokens": 64}},
        {"evaluation": {"batchSize": 1}},
        {"output": {"uri": "s3://team/out", "onDelete": "delete"}},
        {"training": {"guards": {"stallMinutes": 1}}},
    ],
    ids=str,
)
def test_an_execution_setting_leaves_the_digest(change: dict[str, Any]) -> None:
    assert digest(**change) == digest()


def test_a_default_written_out_equals_a_default_left_out() -> None:
    assert digest(training={"schedule": "cosine", "warmupRatio": 0.03}) == digest()
