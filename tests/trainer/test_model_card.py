"""The model card: the Hub's library reads it back, and no text of a user becomes markup in it."""

import pytest
from huggingface_hub import ModelCard
from run_results import evaluation, full_result, metric, report, request

from finetune_api.report import Artifact
from finetune_trainer.result_report.card import code_span, loading_code, render_card


def test_the_hubs_library_reads_base_license_and_results_back() -> None:
    data = ModelCard(render_card(full_result(base_license="apache-2.0"))).data
    assert (data.base_model, data.library_name, data.license) == ("s3://models/small", "peft", "apache-2.0")
    assert data.tags == ["finetune-operator", "sft", "lora"]
    assert {each.metric_type: each.metric_value for each in data.eval_results}["exact_match"] == 0.5


def test_a_whole_model_is_one_of_transformers() -> None:
    artifact = Artifact(
        kind="model", uri="s3://t/model/", digest="sha256:0", size_bytes=1, verified=True, loss_difference=0
    )
    result = full_result(report=report(artifact=artifact), request=request(method={"type": "full"}))
    assert ModelCard(render_card(result)).data.library_name == "transformers"
    assert 'AutoModelForCausalLM.from_pretrained("model/")' in loading_code(result)


def test_code_to_load_an_adapter_with_a_head_takes_its_labels_from_beside_it() -> None:
    objective = {"type": "classification", "classification": {"labels": ["a", "b"]}}
    code = loading_code(full_result(request=request(objective=objective)))
    assert 'AutoConfig.from_pretrained("adapter/")' in code
    compile(code, "card", "exec")


def test_the_card_says_where_the_model_is_not_better() -> None:
    told = evaluation(metrics=[metric("exact_match", 0.5, 0.4, -0.2, -0.01)], benchmarks=[])
    card = render_card(full_result(report=report(evaluation=told)))
    assert "**Worse than the base" in card
    assert "- Exact match is worse against the base." in card
    assert "- What the base forgot in tuning was not measured on public tasks." in card


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("plain", "`plain`"),
        ("a `b` c", "``a `b` c``"),
        ("`", "`` ` ``"),
        ("two\nlines", "`two lines`"),
        ("a|b", "`a\\|b`"),
        ("<script>", "`<script>`"),
    ],
)
def test_a_users_text_is_a_code_span(text: str, span: str) -> None:
    assert code_span(text) == span
