"""What preflight decides from the numbers of prepared data."""

import json

import pytest
from model_shapes import llama_8b

from finetune_api.digest import spec_digest
from finetune_api.request import TrainerRequest
from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.data.quarantine import BadRows
from finetune_trainer.data.split import Repeats
from finetune_trainer.data.store_index import SideIndex, StoreIndex
from finetune_trainer.errors import SettingsError
from finetune_trainer.forecast import forecast
from finetune_trainer.ready import token_limit

GIB = 2**30


def request(gpu_memory=None, gpus=1, weights=(1.0,), **sections):
    train = [{"uri": f"s3://team/rows-{number}.jsonl", "weight": weight} for number, weight in enumerate(weights)]
    usual = {
        "model": {"uri": "s3://team/model"}, "data": {"train": train}, "output": {"uri": "s3://team/out"},
        "resources": {"gpus": {"count": gpus}},
    }  # fmt: skip
    spec = FinetuneJobSpec.model_validate({**usual, **sections})
    return TrainerRequest(
        kind="preflight", namespace="team", name="job", uid="1", spec=spec, spec_digest=spec_digest(spec),
        gpu_memory_bytes=gpu_memory,
    )  # fmt: skip


def index(limit=8192, **changes):
    train = {
        "rows": 20_000, "items": 20_000, "tokens": 10_000_000, "supervised": 4_000_000, "longest": 3000,
        "dataset_items": [20_000], "dataset_tokens": [10_000_000],
    }  # fmt: skip
    return StoreIndex(
        train=SideIndex(**{**train, **changes}), validation=SideIndex(), test=SideIndex(), files=[], rows_read=20_000,
        repeats=Repeats(), bad=BadRows(), max_tokens=limit,
    )  # fmt: skip


def test_a_job_that_fits_is_given_its_numbers():
    found = forecast(request(80 * GIB, training={"microBatchTokens": 4096}), index(), llama_8b(), None)
    assert (found.settings.epochs, found.settings.tokens_per_step, found.settings.max_tokens) == (1.0, 65536, 3000)
    assert {each.name for each in found.reasons} >= {"training.learningRate", "method.lora.rank"}
    assert found.estimate.available_bytes == 80 * GIB
    assert (found.estimate.steps, found.estimate.tokens) == (154, 10_000_000)


def test_a_job_that_cannot_fit_is_refused_and_one_on_an_unknown_gpu_or_the_cpu_is_not():
    with pytest.raises(SettingsError, match=r"of GPU memory, one GPU has 12.0 GiB"):
        forecast(request(12 * GIB), index(), llama_8b(), None)
    forecast(request(None), index(), llama_8b(), None)
    assert forecast(request(24 * GIB, gpus=0), index(), llama_8b(), None).estimate.available_bytes is None


def test_the_limit_that_rows_were_cut_to_is_the_longest_row_that_counts():
    assert forecast(request(), index(limit=2000), llama_8b(), None).settings.max_tokens == 2000


def test_pairs_go_through_the_model_together():
    one, two = (
        forecast(request(objective={"type": kind}, training={"microBatchTokens": 16}), index(), llama_8b(), None)
        for kind in ("sft", "preference")
    )
    assert two.estimate.parts["activations"] == 2 * one.estimate.parts["activations"]


def test_the_weights_of_data_sets_decide_how_much_an_epoch_takes():
    parts = {"dataset_items": [10_000, 10_000], "dataset_tokens": [6_000_000, 4_000_000]}
    found = forecast(request(weights=(0.5, 2.0)), index(**parts), llama_8b(), None)
    assert found.estimate.tokens == 11_000_000


def test_a_new_head_s_rank_is_by_what_it_reads():
    objective = {"type": "classification", "classification": {"labels": ["a", "b"]}}
    assert forecast(request(objective=objective), index(supervised=0), llama_8b(), None).settings.rank == 64


@pytest.mark.parametrize(
    ("objective", "data", "context", "limit"),
    [
        ({}, {}, 8192, 8192 - 256),
        ({}, {"maxTokens": 9000}, 8192, 9000),
        ({}, {}, 64, 16),
        ({"type": "preference"}, {}, 8192, 8192),
        ({"type": "continued-pretraining"}, {}, 8192, 1024),
        ({"type": "continued-pretraining"}, {}, 512, 512),
    ],
)
def test_rows_may_be_as_long_as_the_context_leaves_room_for_an_answer(tmp_path, objective, data, context, limit):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": context}))
    spec = request(objective=objective, data={"train": [{"uri": "s3://team/rows.jsonl"}], **data}).spec
    assert token_limit(spec, tmp_path) == limit
