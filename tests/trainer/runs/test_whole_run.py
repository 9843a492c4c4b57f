"""One job from preflight to the adapter, and what happens when it is applied again."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from s3_server import SECRETS
from trainer_run import WHOLE, Finished
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode


def test_preflight_reports_the_data_that_training_uses(finished: Finished) -> None:
    assert finished.preflight.report.data == finished.training.report.data
    assert finished.preflight.report.data.digest == finished.bench.digest("whole")


def test_the_manifest_names_every_published_file_with_its_sha256(finished: Finished) -> None:
    manifest = json.loads(finished.bench.s3.get(f"{finished.root}manifest.json"))
    names = {entry["name"] for entry in manifest["files"]}
    assert names == {
        "adapter/README.md", "adapter/adapter_config.json", "adapter/adapter_model.safetensors", "examples.jsonl",
        "metrics.jsonl", "report.html",
    }  # fmt: skip
    for entry in manifest["files"]:
        content = finished.bench.s3.get(manifest["prefix"] + entry["name"])
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["size"], entry["sha256"])


def test_checkpoints_are_removed_once_the_adapter_is_committed(finished: Finished) -> None:
    assert finished.bench.s3.keys(f"{finished.root}checkpoints/") == []


def test_the_full_report_in_s3_is_the_termination_message_and_more(finished: Finished) -> None:
    report = finished.training.report
    stored = json.loads(finished.bench.s3.get(report.report_uri))
    assert stored["artifact"] == json.loads(finished.training.message)["artifact"]
    assert stored["training"]["steps"] == WHOLE["training"]["maxSteps"]


def test_a_page_and_a_model_card_tell_people_what_the_report_tells(finished: Finished) -> None:
    report = finished.training.report
    headline = report.evaluation.metrics[0]
    assert report.page_uri == f"{finished.root}runs/0001/report.html"
    page = finished.bench.s3.get(report.page_uri).decode()
    card = finished.bench.s3.get(f"{report.artifact.uri}README.md").decode()
    for text in (page, card):
        assert report.artifact.digest in text
        assert f"{headline.tuned:.3f}" in text
    assert page.count('<article class="answer') == report.evaluation.rows
    assert report.lineage["baseModelDigest"] in page


def test_every_step_has_a_line_of_metrics(finished: Finished) -> None:
    lines = finished.bench.s3.get(f"{finished.root}runs/0001/metrics.jsonl").splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, WHOLE["training"]["maxSteps"] + 1))


def test_the_report_says_where_the_time_of_the_start_went(finished: Finished) -> None:
    phases = finished.training.report.training.start_seconds
    assert list(phases) == [
        "checks", "libraries", "claim", "modelDownload", "data", "modelLoad", "baseline", "firstSteps",
    ]  # fmt: skip
    assert all(f"start-up: {phase} took" in finished.training.output for phase in phases)
    assert phases["libraries"] > 0


def test_progress_walks_through_the_stages_in_order(finished: Finished) -> None:
    stages = list(dict.fromkeys(progress.stage for progress in finished.training.progress))
    assert stages == ["loading", "baseline", "rehearsing", "training", "evaluating", "uploading", "verifying"]


def test_plain_transformers_and_peft_score_what_the_report_says(
    finished: Finished, tiny_model_dir: Path, tmp_path: Path
) -> None:
    report = finished.training.report
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes(finished.bench.s3.get(report.artifact.uri + name))
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model_dir), str(tmp_path))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    total, tokens = 0.0, 0
    for line in finished.bench.s3.get(f"{finished.root}runs/0001/examples.jsonl").splitlines():
        example = json.loads(line)
        ask = [{"role": "user", "content": example["prompt"]}]
        prompt = tokenizer.apply_chat_template(ask, tokenize=False, add_generation_prompt=True)
        start = len(tokenizer(prompt)["input_ids"])
        ids = torch.tensor(tokenizer(prompt + example["reference"] + "<|im_end|>")["input_ids"])
        with torch.no_grad():
            logits = model(input_ids=ids[None]).logits[0, start - 1 : -1]
        total += torch.nn.functional.cross_entropy(logits, ids[start:], reduction="sum").item()
        tokens += len(ids) - start
    loss = next(metric for metric in report.evaluation.metrics if metric.name == "loss")
    assert total / tokens == pytest.approx(loss.tuned, abs=1e-3)
    assert loss.verdict == "better"


def test_the_base_model_stays_on_its_volume_for_the_next_job(finished: Finished, tiny_model_dir: Path) -> None:
    (kept,) = finished.bench.models.iterdir()
    assert (kept / "model.safetensors").read_bytes() == (tiny_model_dir / "model.safetensors").read_bytes()


def test_applied_again_the_job_is_adopted_and_nothing_is_trained(finished: Finished) -> None:
    bench = finished.bench
    before = bench.s3.keys(finished.root)
    again = bench.train("whole", **WHOLE)
    assert again.code == ExitCode.SUCCESS
    assert again.report.adopted
    assert again.report.artifact == finished.training.report.artifact
    assert again.progress == []
    assert bench.s3.keys(finished.root) == before


def test_preflight_of_a_finished_job_reports_its_result_so_that_no_gpu_is_requested(finished: Finished) -> None:
    report = finished.bench.preflight("whole", **WHOLE).report
    assert (report.kind, report.adopted) == ("preflight", True)
    assert report.artifact == finished.training.report.artifact
    assert report.evaluation == finished.training.report.evaluation


def test_an_output_of_another_spec_is_refused_by_the_owners_name(finished: Finished) -> None:
    other = finished.bench.preflight("whole", **{**WHOLE, "training": {"seed": 7}})
    assert (other.code, other.report.failure.reason) == (ExitCode.SETTINGS, Reason.OUTPUT_OCCUPIED)
    assert "team/whole" in other.report.failure.message


def test_an_output_made_from_other_data_is_refused_and_stays(finished: Finished) -> None:
    bench = finished.bench
    rows = bench.s3.get("s3://team/whole/data/rows.jsonl")
    try:
        bench.s3.put("whole/data/rows.jsonl", rows.replace(b"plus", b"PLUS", 1))
        other = bench.preflight("whole", **WHOLE)
    finally:
        bench.s3.put("whole/data/rows.jsonl", rows)
    assert (other.code, other.report.failure.reason) == (ExitCode.SETTINGS, Reason.OUTPUT_OCCUPIED)
    assert "same spec" in other.report.failure.message


def test_no_object_under_the_output_holds_a_secret(finished: Finished) -> None:
    for key in finished.bench.s3.keys(finished.root):
        content = finished.bench.s3.get(finished.root + key)
        assert not any(secret.encode() in content for secret in SECRETS), key
