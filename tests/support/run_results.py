"""Results of runs to make pages from: one with something in every section, one small, one that failed."""

import math
from pathlib import Path
from typing import Any, Final

from finetune_api.conditions import Reason
from finetune_api.report import (
    Artifact,
    Changes,
    DataSummary,
    EvaluationResult,
    Failure,
    GateResult,
    MetricResult,
    ResolvedSetting,
    RivalResult,
    Servable,
    SliceResult,
    TrainerReport,
    TrainingSummary,
)
from finetune_api.request import TrainerRequest
from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.evaluate.compare import ExampleResult, Score
from finetune_trainer.metrics_file import StepRecord, read_steps
from finetune_trainer.result_report.content import Attempt, RunResult

DIGEST: Final = f"sha256:{'3f' * 32}"
RUN: Final = "s3://team/desk/out/runs/0002/"
RECORDED: Final = Path(__file__).resolve().parents[1] / "data" / "order_desk"


def request(**sections: Any) -> TrainerRequest:
    """A work order; `sections` are merged into its spec."""
    spec: dict[str, Any] = {
        "model": {"uri": "s3://models/small"},
        "data": {"train": [{"name": "orders", "uri": "s3://team/desk/orders.jsonl"}]},
        "output": {"uri": "s3://team/desk/out"},
        "resources": {"gpus": {"count": 0}},
    }
    for section, values in sections.items():
        spec[section] = {**spec.get(section, {}), **values}
    parsed = FinetuneJobSpec.model_validate(spec)
    return TrainerRequest(kind="train", namespace="team", name="desk", uid="uid", spec=parsed, spec_digest=DIGEST)


def metric(name: str, baseline: float, tuned: float, low: float, high: float, **more: Any) -> MetricResult:
    fields = {"higher_is_better": name not in ("loss", "perplexity"), "interval": "bootstrap", **more}
    return MetricResult(name=name, baseline=baseline, tuned=tuned, low=low, high=high, **fields)


def steps(count: int = 120) -> list[StepRecord]:
    """A run whose loss falls, with a peak at step 60 and a validation loss at every quarter."""
    return [
        StepRecord(
            step=step,
            total_steps=count,
            loss=4 * math.exp(-step / 30) + 0.3 * (1 + math.sin(step * 12.9898)) + (2 if step == 60 else 0.2),
            grad_norm=1 + 0.5 * math.sin(step * 78.233),
            learning_rate=0.002 * min(step / 10, 1 - (step - 10) / count),
            tokens=500 * step,
            tokens_per_second=180 + 12 * math.sin(step / 4),
            validation_loss=4 * math.exp(-step / 32) + 0.6 if step % (count // 4) == 0 else None,
        )
        for step in range(1, count + 1)
    ]


def example(number: int, **fields: Any) -> ExampleResult:
    """A row that the tuned model has broken, fixed, or not changed, in turn."""
    change = ("broken", "fixed", "fixed", "unchanged")[number % 4]
    before, after = {"broken": (1, 0), "fixed": (0, 1), "unchanged": (0, 0)}[change]
    row = {
        "source": f"s3://team/desk/test.jsonl:{number + 1}",
        "dataset": ("orders", "requests")[number % 2],
        "prompt": f"Order as item | quantity | size | day:\nplease send {number} large plates by Friday",
        "reference": f"plate | {number} | L | Fri",
        "baseline": f"I would be glad to help you with {number} plates.",
        "rivals": {"few_shot": f"plates, {number}"},
        "tuned": f"plate | {number} | L | Fri" if after else f"plate {number} {number} {number} {number}",
        "scores": {"exact_match": Score(baseline=before, tuned=after)},
        "change": change,
        "classes": ["repeats_itself", "off_topic"] if change == "broken" else [],
        "tuned_finished": change != "broken",
        **fields,
    }
    return ExampleResult.model_validate(row)


def report(**fields: Any) -> TrainerReport:
    """The report of a success."""
    whole = {
        "kind": "train",
        "outcome": "succeeded",
        "spec_digest": DIGEST,
        "report_uri": f"{RUN}report.json",
        "epoch": 2,
        "data": DataSummary(
            digest=DIGEST, train_rows=1500, validation_rows=80, test_rows=40, train_tokens=60210,
            supervised_tokens=15570, longest_row=97, truncated_rows=3, duplicate_rows=2, left_out_rows=1, bad_rows=4,
            report_uri="s3://team/desk/out/data_report.html",
        ),
        "settings": [ResolvedSetting(name="method.lora.rank", value="8", why="enough for 15570 supervised tokens")],
        "training": TrainingSummary(
            steps=120, tokens=60000, final_loss=0.61, validation_loss=0.69, tokens_per_second=183.4,
            resumed_from_step=40,
        ),
        "evaluation": evaluation(),
        "artifact": Artifact(
            uri=f"{RUN}adapter/", digest=DIGEST, size_bytes=4_884_192, verified=True, loss_difference=2.4e-8,
            servable=Servable(vllm=True, why="LoRA of rank 8 on linear layers"),
        ),
        "libraries": {"torch": "2.11.0", "transformers": "5.17.0", "peft": "0.21.0"},
        "lineage": {
            "baseModel": "s3://models/small", "baseModelDigest": DIGEST, "dataDigest": DIGEST,
            "preparedDigest": DIGEST, "image": f"registry.example.com/finetune-trainer@{DIGEST}",
        },
    }  # fmt: skip
    return TrainerReport(**{**whole, **fields})


def evaluation(**fields: Any) -> EvaluationResult:
    """Something of everything."""
    rival = [RivalResult(name="few_shot", score=0.225, low=0.31, high=0.62)]
    whole: dict[str, Any] = {
        "rows": 40,
        "metrics": [
            metric("exact_match", 0.25, 0.5, 0.08, 0.41, interval="tango", rivals=rival),
            metric("token_f1", 0.43, 0.81, 0.3, 0.47),
            metric("chrf", 38.2, 41.0, -1.1, 6.9),
            metric("loss", 4.91, 0.64, -4.5, -4.05),
            metric("perplexity", 135.6, 1.9, -170.2, -101.3),
        ],
        "slices": [
            SliceResult(name="orders", rows=20, baseline=0.5, tuned=0.5),
            SliceResult(name="requests", rows=20, baseline=0.0, tuned=0.5),
        ],
        "benchmarks": [metric("arc_easy", 0.55, 0.49, -0.1, -0.02)],
        "gates": [
            GateResult(metric="exact_match", wanted="tuned - baseline >= 0.05 at worst", actual=0.08, passed=True),
            GateResult(metric="arc_easy", wanted="tuned - baseline >= -0.03", actual=-0.06, passed=False),
        ],
        "changes": Changes(fixed=20, broken=10, unchanged=10),
        "error_classes": {"repeats_itself": 10, "off_topic": 10},
    }  # fmt: skip
    return EvaluationResult(**{**whole, **fields})


def full_result(**fields: Any) -> RunResult:
    """Something in every section."""
    whole: dict[str, Any] = {
        "request": request(),
        "report": report(),
        "steps": steps(),
        "examples": [example(number) for number in range(40)],
        "attempts": [
            Attempt(1, "2026-01-31T12:00:00Z", "desk-train-0-x7x2p"),
            Attempt(2, "2026-01-31T12:20:00Z", "desk-train-0-9fq8v"),
        ],
        "made_at": "2026-01-31T12:40:00Z",
        **fields,
    }
    return RunResult(**whole)


def failed_result() -> RunResult:
    """A run that diverged at step 30."""
    failure = Failure(
        failure_class="Diverged", reason=Reason.DIVERGED, retryable=False,
        message="training diverged: loss nan, gradient norm nan at step 31 of 120",
        advice="Lower training.learningRate.",
    )  # fmt: skip
    told = report(outcome="failed", failure=failure, evaluation=None, artifact=None, training=None)
    return full_result(report=told, steps=steps()[:30], examples=[])


def recorded_result() -> RunResult:
    """A real run of the example order-desk, recorded on a busy machine; only its pod's name is made up."""
    return RunResult(
        request=TrainerRequest.model_validate_json((RECORDED / "request.json").read_text()),
        report=TrainerReport.model_validate_json((RECORDED / "report.json").read_text()),
        steps=read_steps((RECORDED / "metrics.jsonl").read_text()),
        examples=[
            ExampleResult.model_validate_json(line) for line in (RECORDED / "examples.jsonl").read_text().splitlines()
        ],
        attempts=[Attempt(1, "2026-11-24T18:27:42Z", "order-desk-train-0-m4k7z")],
        made_at="2026-11-24T18:58:13Z",
        base_license="apache-2.0",
    )
