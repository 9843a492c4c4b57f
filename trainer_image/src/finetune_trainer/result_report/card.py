"""The model card: what the artifact is, what it was made from, what it can and cannot be used for.

Written as `README.md` beside the artifact, with the front matter of the Hugging Face Hub, so that a pushed folder is a
model page; the HTML page shows the same sentences.
"""

from functools import cache
from pathlib import Path
from typing import Final

import jinja2
from huggingface_hub import EvalResult, ModelCardData

from finetune_trainer.result_report import wording
from finetune_trainer.result_report.content import RunResult
from finetune_trainer.result_report.verdict import judge

_TASKS: Final = {
    "sft": "text-generation",
    "continued-pretraining": "text-generation",
    "classification": "text-classification",
    "preference": "text-generation",
    "reward": "text-classification",
}
"""The Hub's name of what a model of each objective does."""
_USES: Final = {
    "sft": "Answers prompts like those it was tuned on",
    "continued-pretraining": "Continues text of the domain that it was tuned on; it was taught no instructions",
    "classification": "Chooses one of its labels for a text",
    "preference": "Answers prompts in the way that the preferred answers do",
    "reward": "Scores answers; the difference of two scores says which is preferred",
}


def render_card(result: RunResult) -> str:
    """`README.md` in the Hub's format."""
    return _template().render(
        front_matter=_front_matter(result),
        result=result,
        report=result.report,
        evaluation=result.report.evaluation,
        spec=result.request.spec,
        judgement=judge(result.report),
        use=about_use(result),
        limits=known_limits(result),
        code=loading_code(result),
    )


def about_use(result: RunResult) -> str:
    """What the artifact is meant for."""
    use = _USES[result.request.spec.objective.type]
    return f"{use}. Other uses were not measured."


def known_limits(result: RunResult) -> list[str]:
    """What to know before relying on it."""
    evaluation, data = result.report.evaluation, result.report.data
    found = []
    if evaluation is not None:
        found.append(f"Measured on {evaluation.rows:,} test rows of its own data; on other data it may do worse.")
        unproven = [metric for metric in evaluation.metrics if metric.verdict != "better"]
        found += [f"{wording.metric_title(each.name)} is {each.verdict} against the base." for each in unproven]
        if not evaluation.benchmarks:
            found.append("What the base forgot in tuning was not measured on public tasks.")
    if data is not None and data.truncated_rows:
        found.append(f"{data.truncated_rows:,} training rows were longer than data.maxTokens and were cut.")
    found.append("Errors and biases of the base model and of the training data are not removed by tuning.")
    return found


def loading_code(result: RunResult) -> str:
    """Python that loads the artifact from a folder beside it."""
    heads = {"classification": "SequenceClassification", "reward": "SequenceClassification"}
    spec, artifact = result.request.spec, result.report.artifact
    objective = spec.objective
    generative = objective.classification is not None and objective.classification.variant == "generative"
    auto = f"AutoModelFor{'CausalLM' if generative else heads.get(objective.type, 'CausalLM')}"
    if artifact is not None and artifact.kind == "model":
        return f'from transformers import {auto}\n\nmodel = {auto}.from_pretrained("model/")\n'
    if auto.endswith("CausalLM"):
        base = 'AutoModelForCausalLM.from_pretrained("base/")'
    else:
        base = f'{auto}.from_pretrained("base/", config=AutoConfig.from_pretrained("adapter/"))'
    names = auto if auto.endswith("CausalLM") else f"AutoConfig, {auto}"
    return (
        f"from peft import PeftModel\nfrom transformers import {names}\n\n"
        f'base = {base}\nmodel = PeftModel.from_pretrained(base, "adapter/")\n'
    )


def _front_matter(result: RunResult) -> str:
    spec, artifact = result.request.spec, result.report.artifact
    is_model = artifact is not None and artifact.kind == "model"
    task = _TASKS[spec.objective.type]
    evaluation = result.report.evaluation
    results = [
        EvalResult(
            task_type=task,
            dataset_type="own-test-rows",
            dataset_name="test rows of the job",
            metric_type=metric.name,
            metric_value=round(metric.tuned, 6),
        )
        for metric in (evaluation.metrics if evaluation else [])
    ]
    card = ModelCardData(
        base_model=spec.model.uri,
        library_name="transformers" if is_model else "peft",
        pipeline_tag=task,
        license=result.base_license,
        tags=["finetune-operator", spec.objective.type, spec.method.type],
        model_name=result.request.name,
        eval_results=results or None,
    )
    return str(card.to_yaml())


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701  Markdown; what users wrote stands in code spans, by the filter `code`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"score": wording.score, "metric": wording.metric_title, "code": code_span}
    environment.globals["rival_titles"] = wording.RIVAL_TITLES
    return environment.get_template("card.md.jinja")


def code_span(text: str) -> str:
    """Text as Markdown shows it literally, in one line (CommonMark 0.31, section 6.1), in a table cell too."""
    flat = " ".join(text.split()).replace("|", "\\|")
    longest = max((len(run) for run in "".join(c if c == "`" else " " for c in flat).split()), default=0)
    fence = "`" * (longest + 1)
    padding = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{padding}{flat}{padding}{fence}"
