"""What the spec leaves open is resolved by rule, and each rule says why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_api.spec.job import FinetuneJobSpec
from finetune_trainer.parent import AdapterConfig
from finetune_trainer.resolve import DataStats, resolve

LABELS = {"type": "classification", "classification": {"labels": ["a", "b"]}}


def spec(**sections):
    usual = {
        "model": {"uri": "s3://team/model"},
        "data": {"train": [{"uri": "s3://team/rows.jsonl"}]},
        "output": {"uri": "s3://team/out"},
    }
    return FinetuneJobSpec.model_validate({**usual, **sections})


def data(**sections):
    return {"train": [{"uri": "s3://team/rows.jsonl"}], **sections}


def stats(**changes):
    usual = {
        "items": 500, "tokens": 100_000, "supervised_tokens": 40_000, "longest_row": 700, "hidden": 4096,
        "limit": 7936,
    }  # fmt: skip
    return DataStats(**{**usual, **changes})


def value(name, job, **changes):
    return {each.name: each for each in resolve(job, stats(**changes))[1]}[name]


def rate(hidden=4096, **sections):
    return resolve(spec(**sections), stats(hidden=hidden))[0].learning_rate


def test_every_open_setting_is_resolved_once_by_its_name_in_the_spec_with_a_reason():
    settings, resolved = resolve(spec(), stats())
    assert {each.name: each.value for each in resolved} == {
        "data.maxTokens": "700", "training.epochs": "3", "training.tokensPerStep": "2048",
        "training.learningRate": "0.0002", "method.lora.rank": "8", "method.lora.alpha": "16",
    }  # fmt: skip
    assert all(each.why and "\n" not in each.why for each in resolved)
    assert (settings.max_tokens, settings.epochs, settings.tokens_per_step) == (700, 3.0, 2048)
    assert (settings.learning_rate, settings.rank, settings.alpha) == (2e-4, 8, 16)


def test_what_the_spec_sets_is_kept_and_not_explained():
    training = {"epochs": 0.5, "learningRate": 1e-3, "tokensPerStep": 300, "seed": 5, "maxSteps": 7}
    lora = {"rank": 3, "alpha": 5}
    settings, resolved = resolve(spec(training=training, method={"lora": lora}, data=data(maxTokens=99)), stats())
    assert resolved == []
    assert (settings.epochs, settings.learning_rate, settings.tokens_per_step, settings.seed) == (0.5, 1e-3, 300, 5)
    assert (settings.rank, settings.alpha, settings.max_tokens, settings.max_steps) == (3, 5, 99, 7)


def test_full_tuning_has_a_tenth_of_lora_s_rate_and_last_layers_lie_between():
    lora, full, last = (rate(method={"type": name}) for name in ("lora", "full", "last-layers"))
    assert lora == pytest.approx(10 * full)
    assert full < last < lora
    assert {rate(method={"type": name}) for name in ("dora", "rslora", "qlora")} == {lora}


def test_preference_tuning_is_gentle_and_a_new_head_is_not():
    assert 5e-6 <= rate(objective={"type": "preference"}) <= 5e-5
    assert rate(objective={"type": "reward"}) < rate() < rate(objective=LABELS)
    generative = {**LABELS, "classification": {"labels": ["a", "b"], "variant": "generative"}}
    assert rate(objective=generative) == rate()


def test_smaller_models_take_more_within_bounds():
    rates = [rate(hidden) for hidden in (32, 576, 2048, 4096, 8192, 10**6)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == rates[1] == 5e-4
    assert rates[-1] == 1e-4


@pytest.mark.parametrize(("items", "epochs"), [(999, 3), (1000, 2), (9999, 2), (10_000, 1)])
def test_few_rows_are_gone_through_more_often(items, epochs):
    assert resolve(spec(), stats(items=items))[0].epochs == epochs


@pytest.mark.parametrize(("longest", "expected"), [(700, 700), (9000, 7936), (3, 16)])
def test_rows_are_as_long_as_the_longest_if_the_base_takes_it(longest, expected):
    assert resolve(spec(), stats(longest_row=longest))[0].max_tokens == expected


def test_raw_text_is_cut_into_pieces():
    job = spec(objective={"type": "continued-pretraining"})
    assert resolve(job, stats(longest_row=10**6, limit=1024))[0].max_tokens == 1024
    assert "pieces" in value("data.maxTokens", job, longest_row=10, limit=256).why


def test_a_step_holds_the_longest_pair_and_a_micro_batch():
    few = {"tokens": 1000, "longest_row": 700}
    assert resolve(spec(), stats(**few))[0].tokens_per_step == 1024
    assert resolve(spec(), stats(**few, sequences_per_item=2))[0].tokens_per_step == 2048
    micro = spec(training={"microBatchTokens": 3000})
    assert resolve(micro, stats(**few))[0].tokens_per_step == 4096
    assert "longest row" in value("training.tokensPerStep", spec(), **few).why


@pytest.mark.parametrize(
    ("supervised", "rank"), [(99_999, 8), (100_000, 16), (1_000_000, 32), (10_000_000, 64), (10**9, 64)]
)
def test_more_to_learn_takes_a_higher_rank_and_alpha_is_twice_the_rank(supervised, rank):
    settings, _ = resolve(spec(), stats(supervised_tokens=supervised))
    assert (settings.rank, settings.alpha) == (rank, 2 * rank)


def test_methods_without_adapters_have_no_rank_to_explain():
    _, resolved = resolve(spec(method={"type": "full"}), stats())
    assert not any(each.name.startswith("method.lora") for each in resolved)


def test_rank_and_scale_of_a_parent_are_kept():
    parent = AdapterConfig(
        peft_type="LORA", base_model_name_or_path="s3://team/model", r=24, lora_alpha=7, target_modules=["q_proj"]
    )
    settings, resolved = resolve(spec(), stats(), parent)
    assert (settings.rank, settings.alpha) == (24, 7)
    assert {each.why for each in resolved if each.name.startswith("method.lora")} == {
        "kept from the adapter of model.adapterUri"
    }


@given(
    tokens=st.integers(1, 10**12), longest=st.integers(1, 131072), hidden=st.integers(8, 65536),
    limit=st.integers(16, 131072), pairs=st.sampled_from([1, 2]),
)  # fmt: skip
def test_whatever_the_data_every_value_could_have_stood_in_the_spec(tokens, longest, hidden, limit, pairs):
    found = stats(
        items=max(1, tokens // 50), tokens=tokens, supervised_tokens=tokens, longest_row=longest, hidden=hidden,
        limit=limit, sequences_per_item=pairs,
    )  # fmt: skip
    settings, _ = resolve(spec(), found)
    written = {
        "tokensPerStep": settings.tokens_per_step, "epochs": settings.epochs, "learningRate": settings.learning_rate
    }  # fmt: skip
    lora = {"rank": settings.rank, "alpha": settings.alpha}
    again = spec(training=written, method={"lora": lora}, data=data(maxTokens=settings.max_tokens))
    assert resolve(again, stats())[0] == settings
    assert settings.tokens_per_step & (settings.tokens_per_step - 1) == 0
    assert settings.tokens_per_step >= min(longest, settings.max_tokens) * pairs
