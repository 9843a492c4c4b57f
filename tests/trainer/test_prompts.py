"""What a model is asked where answers are labels, and where a template does not take what it is asked."""

from types import SimpleNamespace

import pytest

from finetune_api.spec.data import Template
from finetune_api.spec.evaluation import Evaluation
from finetune_trainer.data.dialogue import Dialogue
from finetune_trainer.data.problems import Source
from finetune_trainer.data.prompts import make_label_prompts, make_prompts
from finetune_trainer.data.rows import Conversation, Labelled, Text, Turn
from finetune_trainer.errors import DataError

LABELS = ["lazy", "quick"]
ASKED = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def source(number: int) -> Source:
    return Source("test.jsonl", number)


@pytest.fixture
def prepared(tokenizer):
    """What of prepared data prompts are made from."""

    def make(tests, examples=(), using=tokenizer, max_tokens=512):
        dialogue = Dialogue(Template(), using)
        return SimpleNamespace(test_rows=list(tests), examples=list(examples), dialogue=dialogue, max_tokens=max_tokens)

    return make


def test_every_label_is_an_answer_to_the_same_prompt(prepared, tokenizer):
    rows = [Labelled("the dog", "lazy", source(1)), Labelled("the fox", "quick", source(2))]
    prompts = make_label_prompts(prepared(rows), Evaluation(few_shot=0), LABELS)
    assert prompts.few_shot is None
    for row, asked in zip(rows, prompts.plain, strict=True):
        assert {tokenizer.decode(prompt.token_ids) for prompt in asked} == {ASKED.format(row.text)}
        assert [tokenizer.decode(prompt.answer_ids) for prompt in asked] == ["lazy<|im_end|>", "quick<|im_end|>"]
        assert {prompt.source for prompt in asked} == {row.source}


def test_worked_examples_show_texts_with_their_labels(prepared, tokenizer):
    examples = [Labelled("the dog", "lazy", source(1))]
    rows = [Labelled("the fox", "quick", source(2))]
    ((first, _),) = make_label_prompts(prepared(rows, examples), Evaluation(few_shot=1), LABELS).few_shot
    shown = ASKED.format("the dog") + "lazy<|im_end|>\n"
    assert tokenizer.decode(first.token_ids) == shown + ASKED.format("the fox")


def test_a_long_text_is_cut_alike_for_every_label_and_no_label_is_cut(prepared, tokenizer):
    """Likelihoods after different prompts could not be compared."""
    rows = [Labelled("x" * 100, "lazy", source(1))]
    labels = ["lazy", "jumps over the lazy dog"]
    ((short, long),) = make_label_prompts(prepared(rows, max_tokens=64), Evaluation(few_shot=0), labels).plain
    assert short.token_ids == long.token_ids
    assert len(long.token_ids) + len(long.answer_ids) == 64
    assert tokenizer.decode(long.answer_ids) == "jumps over the lazy dog<|im_end|>"


def test_a_label_that_does_not_fit_is_named_with_the_row(prepared):
    rows = [Labelled("x" * 100, "lazy", source(1))]
    with pytest.raises(DataError, match=r"test\.jsonl:1 cannot be asked in evaluation: the answer has"):
        make_label_prompts(prepared(rows, max_tokens=16), Evaluation(few_shot=0), ["lazy", "y" * 99])


def test_an_answer_that_training_leaves_out_is_asked_for_all_the_same(prepared, tokenizer):
    turns = (Turn("user", "the fox"), Turn("assistant", "quick", weight=0))
    (prompt,) = make_prompts(prepared([Conversation(turns, source(1))]), Evaluation(few_shot=0)).plain
    assert tokenizer.decode(prompt.answer_ids) == "quick<|im_end|>"


def test_a_template_that_takes_one_exchange_only_is_named_with_the_row(prepared, make_tokenizer, tokenizer):
    guard = "{% if messages|length > 2 %}{{ raise_exception('one question only') }}{% endif %}"
    rows = [Labelled("the fox", "quick", source(2))]
    data = prepared(rows, [Labelled("the dog", "lazy", source(1))], make_tokenizer(guard + tokenizer.chat_template))
    with pytest.raises(DataError, match=r"test\.jsonl:2 cannot be asked in evaluation: .*one question only") as caught:
        make_label_prompts(data, Evaluation(few_shot=1), LABELS)
    assert "fewShot" in caught.value.advice


def test_rows_that_hold_no_question_are_not_asked(prepared):
    with pytest.raises(TypeError, match="Text rows"):
        make_prompts(prepared([Text("the fox", source(1))]), Evaluation())
