"""Whole runs that end in a model, and runs that go on from an earlier result."""

import json
from pathlib import Path

import pytest
from s3_server import S3Server
from trainer_run import Bench, Finished, add_rows

from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode
from finetune_api.layout import OutputLayout
from finetune_trainer.lineage import listing_digest
from finetune_trainer.manifest import FinalManifest
from finetune_trainer.storage import Storage


@pytest.fixture
def storage(bench: Bench, tmp_path: Path) -> Storage:
    spec = bench.request("any").spec.storage
    return Storage.connect(
        spec, credentials_dir=bench.s3.credentials_dir, ca_file=tmp_path / "ca.crt", check=lambda: None
    )


def test_last_layers_end_in_a_verified_model_that_another_job_can_start_from(bench: Bench, storage: Storage) -> None:
    bench.put_rows("last", add_rows(60))
    outcome = bench.train("last", method={"type": "last-layers", "lastLayers": {"count": 1}})
    assert outcome.code == ExitCode.SUCCESS, outcome.output
    artifact = outcome.report.artifact
    assert (artifact.kind, artifact.verified) == ("model", True)
    assert artifact.uri == "s3://team/last/out/runs/0001/model/"
    names = bench.s3.keys(artifact.uri)
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= set(names)
    manifest = FinalManifest.model_validate_json(storage.read(OutputLayout.of("s3://team/last/out").manifest) or b"")
    assert {f"model/{name}" for name in names} < {entry.name for entry in manifest.files}
    bench.put_rows("next", add_rows(60))
    assert bench.preflight("next", model={"uri": artifact.uri}).code == ExitCode.SUCCESS


def test_a_job_goes_on_from_an_earlier_adapter_and_tells_where_it_came_from(
    finished: Finished, storage: Storage
) -> None:
    bench, parent = finished.bench, finished.training.report.artifact
    bench.put_rows("second", add_rows(80))
    model = {"uri": bench.model_uri, "adapterUri": parent.uri}
    outcome = bench.train("second", model=model, training={"maxSteps": 1, "learningRate": 1e-6})
    assert outcome.code == ExitCode.SUCCESS, outcome.output
    stored = json.loads(bench.s3.get(outcome.report.report_uri))
    assert stored["lineage"] == {
        "baseModel": bench.model_uri,
        "baseModelDigest": listing_digest(storage, bench.model_uri),
        "parentAdapter": parent.uri,
        "parentAdapterDigest": parent.digest,
        "dataDigest": bench.digest("second"),
        "preparedDigest": outcome.report.prepared.digest,
    }
    loss = next(metric for metric in outcome.report.evaluation.metrics if metric.name == "loss")
    assert loss.tuned < 0.8 * loss.baseline, "what the parent has learnt is still there after one tiny step"


def test_an_adapter_that_is_not_what_its_job_committed_is_refused(finished: Finished) -> None:
    bench, parent = finished.bench, finished.training.report.artifact
    name = f"{parent.uri}adapter_model.safetensors"
    before = bench.s3.get(name)
    bench.put_rows("forged", add_rows(60))
    try:
        bench.s3.put(name.removeprefix("s3://team/"), before[:-4] + b"\0\0\0\0")
        outcome = bench.preflight("forged", model={"uri": bench.model_uri, "adapterUri": parent.uri})
    finally:
        bench.s3.put(name.removeprefix("s3://team/"), before)
    assert (outcome.code, outcome.report.failure.reason) == (ExitCode.SETTINGS, Reason.SETTINGS_INVALID)
    assert "is not what its job committed" in outcome.report.failure.message


def test_an_output_named_instead_of_its_artifact_is_refused_with_the_artifact_s_uri(finished: Finished) -> None:
    bench = finished.bench
    bench.put_rows("inside", add_rows(60))
    outcome = bench.preflight("inside", model={"uri": bench.model_uri, "adapterUri": finished.root})
    assert outcome.code == ExitCode.SETTINGS
    assert finished.training.report.artifact.uri in outcome.report.failure.advice


def test_an_unknown_target_module_is_refused_by_preflight(bench: Bench) -> None:
    bench.put_rows("unknown", add_rows(60))
    outcome = bench.preflight("unknown", method={"lora": {"targetModules": ["no_such_layer"]}})
    assert (outcome.code, outcome.report.failure.reason) == (ExitCode.SETTINGS, Reason.SETTINGS_INVALID)
    assert "no_such_layer" in outcome.report.failure.message


def test_the_digest_of_a_model_changes_with_one_byte_of_a_weight(
    s3: S3Server, bench: Bench, storage: Storage, tiny_model_dir: Path
) -> None:
    uri = s3.put_directory("models/marked", tiny_model_dir)
    first = listing_digest(storage, uri)
    assert first == listing_digest(storage, bench.model_uri), "the same files elsewhere are the same model"
    weights = s3.get(f"{uri}/model.safetensors")
    s3.put("models/marked/model.safetensors", weights[:-1] + bytes([weights[-1] ^ 1]))
    assert listing_digest(storage, uri) != first


def test_a_merged_model_lies_beside_the_adapter_verified_and_in_the_manifest(bench: Bench, storage: Storage) -> None:
    bench.put_rows("merged", add_rows(60))
    outcome = bench.train("merged", output={"uri": "s3://team/merged/out", "merged": True})
    assert outcome.code == ExitCode.SUCCESS, outcome.output
    artifact = outcome.report.artifact
    assert artifact.servable.vllm
    assert artifact.merged.uri == "s3://team/merged/out/runs/0001/merged/"
    assert artifact.merged.loss_difference <= 1e-5
    assert artifact.merged.distance <= 1e-4
    names = {f"merged/{name}" for name in bench.s3.keys(artifact.merged.uri)}
    manifest = FinalManifest.model_validate_json(storage.read(OutputLayout.of("s3://team/merged/out").manifest) or b"")
    assert {"merged/model.safetensors", "merged/tokenizer.json"} <= names
    assert names < {entry.name for entry in manifest.files}
    bench.put_rows("next-of-merged", add_rows(60))
    assert bench.preflight("next-of-merged", model={"uri": artifact.merged.uri}).code == ExitCode.SUCCESS
