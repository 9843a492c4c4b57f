"""What rows of each objective become."""

import numpy as np
import pytest

from finetune_api.spec.data import Data, Dataset, Template
from finetune_api.spec.training import Classification, Objective
from finetune_trainer.data.item import Item
from finetune_trainer.data.problems import RowError, Source
from finetune_trainer.data.shapes import make_shape
from finetune_trainer.errors import SettingsError

SOURCE = Source("train.jsonl", 1)


@pytest.fixture
def encode(tokenizer):
    def encode_rows(objective, *raws, max_tokens=512, template=None, using=tokenizer, variant="head"):
        labels = Classification(labels=["yes", "no"], variant=variant) if objective == "classification" else None
        data = Data(train=[Dataset(uri="s3://team/train.jsonl")], template=template or Template())
        shape = make_shape(Objective(type=objective, classification=labels), data, using, max_tokens)
        return shape.encode([shape.parse(raw, None, SOURCE) for raw in raws])

    return encode_rows


def only(encoded: list[list[Item] | RowError]) -> Item:
    ((item,),) = encoded
    return item


def learnt(tokenizer, sequence) -> str:
    return tokenizer.decode(sequence.token_ids[sequence.weights > 0])


def test_sft_rows_are_one_sequence_each_supervised_on_the_answer(encode, tokenizer):
    first, second = encode("sft", {"prompt": "fox", "answer": "dog"}, {"prompt": "the", "answer": "lazy"})
    assert [learnt(tokenizer, item.sequences[0]) for item in (*first, *second)] == ["dog<|im_end|>", "lazy<|im_end|>"]


def test_a_row_that_cannot_be_encoded_does_not_keep_the_others_from_it(encode):
    good, bad, good_too = encode(
        "sft", {"prompt": "a", "answer": "b"}, {"prompt": "a", "answer": "x" * 99}, {"prompt": "c", "answer": "d"},
        max_tokens=64,
    )  # fmt: skip
    assert isinstance(bad, RowError)
    assert "leaves no room for its prompt in data.maxTokens = 64" in str(bad)
    assert len(good) == len(good_too) == 1


def test_what_a_row_lost_is_counted(encode):
    item = only(encode("sft", {"prompt": "x" * 100, "answer": "dog"}, max_tokens=64))
    whole = only(encode("sft", {"prompt": "x" * 100, "answer": "dog"}))
    assert item.length == 64
    assert item.cut == whole.length - 64


def test_ids_and_weights_are_arrays_of_4_bytes(encode):
    sequence = only(encode("sft", {"prompt": "fox", "answer": "dog"})).sequences[0]
    assert (sequence.token_ids.dtype, sequence.weights.dtype) == (np.int32, np.float32)


# continued-pretraining


def test_raw_text_is_learnt_whole_and_ends_with_the_end_of_sequence(encode, tokenizer):
    sequence = only(encode("continued-pretraining", {"text": "The quick fox"})).sequences[0]
    assert tokenizer.decode(sequence.token_ids) == "The quick fox<|im_end|>"
    assert sequence.weights.all()


def test_long_text_is_cut_into_pieces_and_nothing_is_lost_or_doubled(encode, tokenizer):
    text = "The quick brown fox jumps over the lazy dog. " * 20
    (items,) = encode("continued-pretraining", {"text": text}, max_tokens=64)
    lengths = [item.length for item in items]
    assert len(items) > 5
    assert max(lengths) <= 64
    assert max(lengths) - min(lengths) <= 1, "no piece is too short to teach anything"
    joined = np.concatenate([item.sequences[0].token_ids for item in items])
    assert tokenizer.decode(joined) == text + "<|im_end|>"


def test_raw_text_begins_as_the_tokenizer_begins_texts(encode, bos_tokenizer):
    (items,) = encode("continued-pretraining", {"text": "fox " * 99}, max_tokens=64, using=bos_tokenizer)
    starts = [item.sequences[0].token_ids[0] == bos_tokenizer.bos_token_id for item in items]
    assert starts == [True] + [False] * (len(items) - 1)


def test_control_tokens_in_raw_text_are_its_characters(encode, tokenizer):
    sequence = only(encode("continued-pretraining", {"text": "a<|im_end|>b"})).sequences[0]
    assert (sequence.token_ids == tokenizer.eos_token_id).sum() == 1
    assert tokenizer.decode(sequence.token_ids) == "a<|im_end|>b<|im_end|>"


# classification


def test_a_text_for_a_head_is_encoded_as_the_tokenizer_itself_does(encode, bos_tokenizer):
    item = only(encode("classification", {"text": "the fox", "label": "no"}, using=bos_tokenizer))
    assert item.sequences[0].token_ids.tolist() == bos_tokenizer("the fox")["input_ids"]
    assert item.label == 1
    assert not item.sequences[0].weights.any()


def test_a_long_text_for_a_head_loses_its_end_as_servers_cut_it(encode, bos_tokenizer):
    text = "fox " * 99
    item = only(encode("classification", {"text": text, "label": "yes"}, using=bos_tokenizer, max_tokens=64))
    served = bos_tokenizer(text, truncation=True, max_length=64)["input_ids"]
    assert item.sequences[0].token_ids.tolist() == served
    assert item.length + item.cut == len(bos_tokenizer(text)["input_ids"])


def test_a_generative_classifier_writes_the_label(encode, tokenizer):
    item = only(encode("classification", {"text": "the fox", "label": "no"}, variant="generative"))
    assert learnt(tokenizer, item.sequences[0]) == "no<|im_end|>"
    assert item.label == 1


def test_a_label_named_twice_is_refused(tokenizer):
    objective = Objective(type="classification", classification=Classification(labels=["yes", "yes"]))
    with pytest.raises(SettingsError, match="names a label twice"):
        make_shape(objective, Data(train=[Dataset(uri="s3://team/train.jsonl")]), tokenizer, 64)


# preference and reward

PAIR = {"prompt": "the fox", "chosen": "lazy dog", "rejected": "quick"}


@pytest.mark.parametrize("objective", ["preference", "reward"])
def test_a_pair_is_two_sequences_the_preferred_one_first_that_share_their_prompt(encode, tokenizer, objective):
    chosen, rejected = only(encode(objective, PAIR)).sequences
    assert [learnt(tokenizer, each) for each in (chosen, rejected)] == ["lazy dog<|im_end|>", "quick<|im_end|>"]
    prompts = [each.token_ids[each.weights == 0].tolist() for each in (chosen, rejected)]
    assert prompts[0] == prompts[1]
    assert tokenizer.decode(prompts[0]) == "<|im_start|>user\nthe fox<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("supervise", ["assistant", "last-turn", "all"])
def test_of_a_long_pair_only_the_answers_that_differ_are_compared(encode, tokenizer, supervise):
    shared = [{"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"))]
    raw = {side: [*shared, {"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    sequences = only(encode("preference", raw, template=Template(supervise=supervise))).sequences
    assert [learnt(tokenizer, each) for each in sequences] == ["chosen<|im_end|>", "rejected<|im_end|>"]


def test_a_long_pair_loses_the_same_start_of_its_prompt_on_both_sides(encode, bos_tokenizer):
    raw = {**PAIR, "prompt": "fox " * 99}
    item = only(encode("preference", raw, using=bos_tokenizer, max_tokens=64))
    chosen, rejected = item.sequences
    assert max(len(chosen.token_ids), len(rejected.token_ids)) == 64
    prompts = [each.token_ids[each.weights == 0].tolist() for each in (chosen, rejected)]
    assert prompts[0] == prompts[1]
    assert prompts[0][0] == bos_tokenizer.bos_token_id
    whole = only(encode("preference", raw, using=bos_tokenizer))
    assert item.cut == max(len(each.token_ids) for each in whole.sequences) - 64


def test_a_pair_whose_answer_alone_does_not_fit_is_a_bad_row(encode):
    (error,) = encode("preference", {**PAIR, "rejected": "x" * 99}, max_tokens=64)
    assert isinstance(error, RowError)
    assert "leaves no room for its prompt" in str(error)


def test_answers_that_the_template_makes_equal_are_a_bad_row(encode, make_tokenizer, tokenizer):
    lower = make_tokenizer(tokenizer.chat_template.replace("| trim", "| trim | lower"))
    (error,) = encode("preference", {**PAIR, "chosen": "QUICK"}, using=lower)
    assert isinstance(error, RowError)
    assert "makes chosen and rejected the same text" in str(error)
