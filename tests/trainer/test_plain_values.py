"""What the loop holds as plain dataclasses: written as ever, read strictly, and with the spec's defaults."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from finetune_api.base import dump_plain, load_plain
from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.control import Control
from finetune_trainer.divergence import LossTrend
from finetune_trainer.execution import Execution
from finetune_trainer.from_spec import control, method_settings
from finetune_trainer.hyperparameters import Hyperparameters
from finetune_trainer.manifest import CheckpointManifest
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.state import Counters
from finetune_trainer.validation import Measurement, ValidationRecord
from finetune_trainer.verify import Sample

COUNTERS = Counters(
    step=12, plan_digest="sha256:0", tokens=300, weight=120.0, loss=0.5, validation_loss=math.inf,
    validation=ValidationRecord(step=10, best=Measurement(step=5, value=0.25), worse=1),
    trend=LossTrend(steps=12, mean=0.25, first=2.0, lowest=0.5, lowest_step=11), rollbacks=1,
)  # fmt: skip
EXECUTION = Execution(world_size=2, packing=True, micro_batch_tokens=512)
SETTINGS = Hyperparameters(learning_rate=2e-4, epochs=3.0, tokens_per_step=512, max_tokens=128)
WRITTEN = {
    "counters": (
        COUNTERS,
        '{"step":12,"planDigest":"sha256:0","tokens":300,"weight":120.0,"loss":0.5,"validationLoss":"Infinity",'
        '"validation":{"step":10,"best":{"step":5,"value":0.25},"worse":1},'
        '"trend":{"steps":12,"mean":0.25,"first":2.0,"lowest":0.5,"lowestStep":11},"rollbacks":1}',
    ),
    "counters of the start": (
        Counters(plan_digest="sha256:0"),
        '{"step":0,"planDigest":"sha256:0","tokens":0,"weight":0.0,"loss":null,"validationLoss":null,'
        '"validation":{"step":0,"best":null,"worse":0},'
        '"trend":{"steps":0,"mean":0.0,"first":null,"lowest":null,"lowestStep":0},"rollbacks":0}',
    ),
    "execution": (
        EXECUTION,
        '{"worldSize":2,"packing":true,"microBatchTokens":512,"compiled":false,"recomputed":false,'
        '"randomState":"none is kept: every step seeds from (seed, step, rank)"}',
    ),
    "hyper-parameters": (
        SETTINGS,
        '{"learningRate":0.0002,"epochs":3.0,"maxSteps":null,"tokensPerStep":512,"microBatchTokens":null,'
        '"schedule":"cosine","warmupRatio":0.03,"weightDecay":0.0,"maxGradNorm":1.0,"precision":"auto",'
        '"packing":"auto","compile":"auto","seed":0,"maxTokens":128,"rank":16,"alpha":32}',
    ),
}


BEFORE = [
    ("execution", '"compiled":false,"recomputed":false,'),
    ("hyper-parameters", '"compile":"auto",'),
]
"""What has been added since the first version."""


@pytest.mark.parametrize(("case", "added"), BEFORE)
def test_files_without_what_was_added_since_are_read(case: str, added: str) -> None:
    value, written = WRITTEN[case]
    assert added in written
    assert load_plain(type(value), written.replace(added, "")) == value


@pytest.mark.parametrize("case", WRITTEN)
def test_files_are_read_and_written_to_the_byte(case: str) -> None:
    value, written = WRITTEN[case]
    assert dump_plain(value) == written
    assert load_plain(type(value), written) == value


def test_as_part_of_a_document_they_are_written_alike() -> None:
    manifest = CheckpointManifest(
        spec_digest="s", data_digest="d", plan_digest="p", execution=EXECUTION, epoch=1, step=2, saved_at="", files=[]
    )
    assert f'"execution":{WRITTEN["execution"][1]},' in manifest.model_dump_json()
    sample = Sample(kind="adapter", artifact_uri="s3://team/a", model_directory="/m", settings=SETTINGS, items=[])
    assert f'"settings":{WRITTEN["hyper-parameters"][1]},' in sample.model_dump_json()
    assert Sample.model_validate_json(sample.model_dump_json()) == sample


def test_a_field_that_a_newer_version_knows_is_passed_over() -> None:
    content = '{"planDigest":"p","later":1,"trend":{"steps":1,"later":2}}'
    assert load_plain(Counters, content) == Counters(plan_digest="p", trend=LossTrend(steps=1))


@pytest.mark.parametrize(
    "content", ["{}", '{"planDigest":1}', '{"planDigest":"p","step":"two"}', '{"planDigest":"p","trend":{"mean":null}}']
)
def test_a_file_that_lacks_a_field_or_has_another_type_is_refused(content: str) -> None:
    with pytest.raises(ValidationError):
        load_plain(Counters, content)


def spec(**sections: Any) -> FinetuneJobSpec:
    given = {
        "model": {"uri": "s3://team/base"},
        "data": {"train": [{"uri": "s3://team/train/"}]},
        "output": {"uri": "s3://team/out"},
    }
    return FinetuneJobSpec.model_validate(given | sections)


def test_what_nobody_sets_is_what_the_spec_leaves_it_at() -> None:
    assert method_settings(spec().method) == MethodSettings()
    assert control(spec().training) == Control()
    training = spec().training
    assert Hyperparameters(
        learning_rate=2e-4, epochs=3.0, tokens_per_step=512, max_tokens=128, schedule=training.schedule,
        warmup_ratio=training.warmup_ratio, weight_decay=training.weight_decay, max_grad_norm=training.max_grad_norm,
        precision=training.precision, packing=training.packing, seed=training.seed,
    ) == SETTINGS  # fmt: skip


def test_what_the_spec_sets_reaches_the_loop() -> None:
    validation = {"metric": "chrf", "times": 7, "keep": "best", "patience": 3}
    guards = {"onDivergence": "rollback", "divergenceFactor": 2.5}
    assert control(spec(training={"validation": validation, "guards": guards}).training) == Control(
        **validation, on_divergence="rollback", divergence_factor=2.5
    )
    lora = {"dropout": 0.25, "targetModules": ["q_proj"]}
    method = spec(method={"type": "dora", "lora": lora, "lastLayers": {"count": 5}}).method
    assert method_settings(method) == MethodSettings(
        type="dora", dropout=0.25, target_modules=("q_proj",), last_layers=5
    )


@pytest.mark.parametrize(
    ("execution", "predicted", "told"),
    [
        (EXECUTION, None, "micro-batches of 512 tokens, packed, 2 processes"),
        (
            Execution(world_size=1, packing=False, micro_batch_tokens=64, compiled=True, recomputed=True),
            25_140_000_000,
            "micro-batches of 64 tokens, padded, layers compiled, activations computed again, 25.1 GB predicted",
        ),
    ],
)  # fmt: skip
def test_a_line_says_how_steps_are_computed(execution: Execution, predicted: int | None, told: str) -> None:
    assert execution.summary(predicted) == told


def test_a_change_of_execution_is_told_by_the_names_that_checkpoints_use() -> None:
    now = Execution(world_size=1, packing=True, micro_batch_tokens=128)
    assert now.changes_since(EXECUTION) == "microBatchTokens was 512 and is 128, worldSize was 2 and is 1"
    assert now.changes_since(now) == ""
