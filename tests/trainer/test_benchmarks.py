"""Public benchmarks: the scores are those that lm-eval itself finds with its own adapter, row by row."""

from dataclasses import dataclass

import numpy as np
import pytest
import yaml
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from science_rows import jsonl, science_rows

from finetune_api.spec.evaluation import Benchmark, Evaluation
from finetune_trainer.data.problems import Source
from finetune_trainer.errors import StopRequested
from finetune_trainer.evaluate.benchmarks import Benchmarks
from finetune_trainer.evaluate.compare import Measured
from finetune_trainer.evaluate.examiner import Bench
from finetune_trainer.evaluate.harness import Questions
from finetune_trainer.evaluate.harness_model import HarnessModel
from finetune_trainer.evaluate.task_files import SplitRows
from finetune_trainer.evaluate.watch import Watch

FIELD = "spec.evaluation.benchmarks[0]"
FILES = {
    "arc_easy": {"test": science_rows(0, 9), "train": science_rows(4)},
    # The last word of a text: right where every token of it is the likeliest.
    "lambada_openai": {"test": [{"text": row["question"] + " " + row["choices"]["text"][0]} for row in science_rows()]},
    # Two contexts and one continuation.
    "winogrande": {
        "validation": [
            {"sentence": f"The {a} is larger than the {b} because _ is big.", "option1": a, "option2": b, "answer": "1"}
            for a, b in (("whale", "trout"), ("Sun", "Moon"), ("horse", "hen"), ("hill", "mountain"))
        ]
    },
}
METRICS = {"arc_easy": "acc_norm", "lambada_openai": "acc", "winogrande": "acc"}


def split_rows(rows, name="test"):
    return SplitRows(rows, [Source(f"{name}.jsonl", line + 1) for line in range(len(rows))])


def questions(harness, name, files=None, **settings):
    task = harness.task(Benchmark(task=name, uri="s3://team/bench/", **settings), FIELD)
    files = files or FILES[name]
    return Questions(task, {split: split_rows(files[split], split) for split in task.splits})


def bench(tokenizer, *, batch_tokens=512, heartbeat=lambda: None, should_stop=lambda: False):
    return Bench(
        evaluation=Evaluation(batch_size=4), metrics=(), tokenizer=tokenizer, batch_tokens=batch_tokens, seed=0,
        watch=Watch(heartbeat, should_stop),
    )  # fmt: skip


@dataclass
class Reference:
    """lm-eval on files, with nothing of ours."""

    folder: object

    def scores(self, harness, name, model, tokenizer, few_shot):
        files = {}
        for split, rows in FILES[name].items():
            files[split] = str(self.folder / f"{name}-{split}.jsonl")
            (self.folder / f"{name}-{split}.jsonl").write_bytes(jsonl(rows))
        config = {
            "include": str(harness.task(Benchmark(task=name, uri="s3://team/bench/"), FIELD).entry.yaml_path),
            "task": "local", "dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files},
        }  # fmt: skip
        splits = {"test_split", "validation_split", "training_split", "fewshot_split"}
        known = {
            key: harness.task(Benchmark(task=name, uri="s3://team/bench/"), FIELD).config.get(key) for key in splits
        }
        config |= {key: None for key, split in known.items() if split is not None and split not in files}
        (self.folder / "local.yaml").write_text(yaml.safe_dump(config))
        found = simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1),
            tasks=["local"], task_manager=TaskManager(include_path=self.folder, include_defaults=False),
            num_fewshot=few_shot, bootstrap_iters=0, log_samples=True,
        )  # fmt: skip
        first = found["samples"]["local"][0]["filter"]
        samples = [each for each in found["samples"]["local"] if each["filter"] == first]
        samples.sort(key=lambda each: each["doc_id"])
        asked = [tuple(each) for sample in samples for each in sample["arguments"]]
        return [float(each[METRICS[name]]) for each in samples], asked


@pytest.fixture
def reference(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return Reference(tmp_path)


def measured(tokenizer, model, *asked, **options):
    return Benchmarks(bench(tokenizer, **options), asked).measure(model)


def scores(result, name):
    return result.tables[name][:, 0].tolist()


def put_to_a_model(asked):
    """What a model is asked: contexts with continuations."""
    put = []

    class Model:
        def loglikelihood(self, requests):
            put.extend(request.args for request in requests)
            return [(-1.0, False)] * len(requests)

    asked.score(Model())
    return put


REFERENCES = {
    "no examples": ("arc_easy", 0),
    "worked examples": ("arc_easy", 2),
    "the last word": ("lambada_openai", 0),
    "two contexts": ("winogrande", 0),
}


@pytest.mark.parametrize("case", REFERENCES)
def test_every_question_is_scored_as_by_lm_eval_itself(case, harness, reference, tiny_model, tokenizer):
    name, few_shot = REFERENCES[case]
    expected, prompts = reference.scores(harness, name, tiny_model, tokenizer, few_shot)
    asked = questions(harness, name, few_shot=few_shot)
    assert scores(measured(tokenizer, tiny_model, asked), name) == expected
    assert put_to_a_model(asked) == prompts
    assert len(expected) == len(next(iter(FILES[name].values())))


def requests(kind, arguments):
    return [Instance(kind, {}, each, index) for index, each in enumerate(arguments)]


PAIRS = [
    ("Question: Which animal lays eggs?\nAnswer:", " a hen"),
    ("Question: Which animal lays eggs?\nAnswer: ", "a hen"),
    ("", "begins with nothing before it"),
    ("<s>begins by itself", " and goes on"),
    *(("x" * length, "y") for length in range(1, 6)),
]


@pytest.mark.parametrize("which", ["tokenizer", "bos_tokenizer"])
def test_likelihoods_are_those_of_lm_eval_s_own_adapter(which, tiny_model, request):
    tokenizer = request.getfixturevalue(which)
    # Continuations that the model would write itself, so that some are greedy.
    told = HFLM(pretrained=tiny_model, tokenizer=tokenizer, batch_size=1)
    written = told.generate_until(requests("generate_until", [(text, {"max_gen_toks": 2}) for text, _ in PAIRS[:2]]))
    pairs = [*PAIRS, *((text, after) for (text, _), after in zip(PAIRS, written, strict=False))]
    expected = told.loglikelihood(requests("loglikelihood", pairs))
    found = HarnessModel(tiny_model, bench(tokenizer)).loglikelihood(requests("loglikelihood", pairs))
    assert [total for total, _ in found] == pytest.approx([total for total, _ in expected], abs=1e-3)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert any(greedy for _, greedy in found)


def test_a_prompt_too_long_for_the_model_loses_its_start(tiny_model, tokenizer):
    longer = requests("loglikelihood", [("0123456789 " * 200, "longer than the model takes")])
    # lm-eval does not count the last token, which is predicted but not read.
    reference = HFLM(pretrained=tiny_model, tokenizer=tokenizer, batch_size=1, max_length=512 - 1)
    ((expected, _),) = reference.loglikelihood(longer)
    ((found, _),) = HarnessModel(tiny_model, bench(tokenizer)).loglikelihood(longer)
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("which", ["tokenizer", "bos_tokenizer"])
def test_written_answers_are_those_of_lm_eval_s_own_adapter(which, tiny_model, request):
    tokenizer = request.getfixturevalue(which)
    settings = {"max_gen_toks": 24, "until": ["e", "\n\n"]}
    asked = [(context, settings) for context, _ in [*PAIRS, ("0123456789 " * 200, "")] if context]
    expected = HFLM(pretrained=tiny_model, tokenizer=tokenizer, batch_size=1).generate_until(
        requests("generate_until", asked)
    )
    assert HarnessModel(tiny_model, bench(tokenizer)).generate_until(requests("generate_until", asked)) == expected
    assert len(set(expected)) > 3


def test_scores_do_not_depend_on_how_questions_are_batched(harness, tiny_model, tokenizer):
    asked = questions(harness, "arc_easy")
    found = [scores(measured(tokenizer, tiny_model, asked, batch_tokens=size), "arc_easy") for size in (1, 300, 5000)]
    assert found[0] == found[1] == found[2]
    assert 0 < sum(found[0]) < len(found[0]), "a test of all or nothing would not see a mix-up"


def test_every_batch_is_a_sign_of_life_and_a_stop_request_is_honoured_between_two(harness, tiny_model, tokenizer):
    asked, beats = questions(harness, "arc_easy", max_rows=2), []
    measured(tokenizer, tiny_model, asked, batch_tokens=1, heartbeat=lambda: beats.append(1))
    assert len(beats) == 2 * 4, "each of four choices of two questions is a batch"
    with pytest.raises(StopRequested):
        measured(tokenizer, tiny_model, asked, should_stop=lambda: True)


def table(*right):
    return np.array([(value, 1) for value in right], dtype=float)


def test_models_are_compared_on_the_same_questions(harness, tokenizer):
    asked = [questions(harness, "arc_easy", max_rows=4), questions(harness, "winogrande", max_rows=3)]
    base = Measured([], {"arc_easy": table(0, 0, 1, 1), "winogrande": table(1, 0, 1)})
    tuned = Measured([], {"arc_easy": table(1, 1, 1, 0), "winogrande": table(0, 0, 0.5)})
    arc, wino = Benchmarks(bench(tokenizer), asked).compare(baseline=base, rivals={"parent": tuned}, tuned=tuned)
    assert (arc.name, arc.baseline, arc.tuned, arc.interval) == ("arc_easy", 0.5, 0.75, "tango")
    assert arc.low < arc.delta < arc.high
    assert [(rival.name, rival.score) for rival in arc.rivals] == [("parent", 0.75)]
    assert (wino.name, wino.tuned, wino.interval) == ("winogrande", pytest.approx(1 / 6), "bootstrap")
    assert wino.verdict == "inconclusive"


def test_without_benchmarks_nothing_is_measured(tiny_model, tokenizer):
    none = Benchmarks(bench(tokenizer, should_stop=lambda: True), [])
    measured = none.measure(tiny_model)
    assert measured.tables == {}
    assert none.compare(baseline=measured, rivals={}, tuned=measured) == []
