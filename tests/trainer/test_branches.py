"""Labels scored on one pass of their prompt come out as they do in rows of their own, whatever the architecture."""

import pytest
import torch
from tiny_architectures import tiny

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.problems import Source
from finetune_trainer.evaluate import branches
from finetune_trainer.evaluate.branches import make_trees, score_branches
from finetune_trainer.evaluate.score import score

SOURCE = Source("rows.jsonl", 1)
LABELS = [[10, 1], [11, 12, 13, 1], [11, 12, 1]]
TOGETHER = ["llama", "qwen2", "qwen3", "mistral", "gemma", "phi3"]
APART = ["qwen2-window", "mistral-window", "gemma3-window", "lfm2-convolution"]


def row(prompt, labels=LABELS):
    return [Tokenized([*prompt, *label], [0.0] * len(prompt) + [1.0] * len(label), SOURCE) for label in labels]


def rows(count=7):
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(1, 30, (count,), generator=generator).tolist()
    return [row(torch.randint(3, 320, (length,), generator=generator).tolist()) for length in lengths]


def apart(model, asked, budget=64):
    flat = [sequence for row in asked for sequence in row]
    return torch.tensor([loss.total for loss in score(model, flat, budget)], dtype=torch.float64).view(len(asked), -1)


def together(model, asked, budget=64):
    return score_branches(model, asked, budget, lambda _trees: None)


@pytest.mark.parametrize("budget", [16, 64, 1000])
@pytest.mark.parametrize("name", TOGETHER)
def test_losses_equal_those_of_rows_apart(name, budget, monkeypatch):
    model, asked = tiny(name), rows()
    expected = apart(model, asked)
    calls = []
    monkeypatch.setattr(branches, "_apart", _counted(branches._apart, calls))
    found = together(model, asked, budget)
    assert len(calls) == 1, "the longest row, to see that both ways agree"
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5), float((found - expected).abs().max())


@pytest.mark.parametrize("name", APART)
def test_a_model_that_does_not_heed_the_mask_is_asked_for_each_label_apart(name, monkeypatch):
    model, asked = tiny(name), rows()
    calls = []
    monkeypatch.setattr(branches, "_apart", _counted(branches._apart, calls))
    assert torch.allclose(together(model, asked), apart(model, asked), rtol=1e-5, atol=1e-5)
    assert len(calls) > 1


def _counted(function, calls):
    def counted(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return counted


def test_a_label_makes_no_difference_to_another(tiny_model):
    prompt = [5, 6, 7, 8, 9]
    found = together(tiny_model, [row(prompt)])
    changed = together(tiny_model, [row(prompt, [LABELS[0], [99, 98, 97, 1], LABELS[2]])])
    assert found[0, [0, 2]].tolist() == changed[0, [0, 2]].tolist()
    assert found[0, 1] != changed[0, 1]


def test_a_tree_holds_the_prompt_once_and_each_label():
    (tree,) = make_trees(row([5, 6, 7, 8]), 100)
    assert tree.shared == 3, "the last token of the prompt predicts each label's first"
    assert tree.length == 3 + 3 + 5 + 4


def test_many_labels_make_several_trees_within_the_budget():
    trees = make_trees(row([5, 6, 7, 8], [[n, 1] for n in range(10, 30)]), 16)
    assert sum(len(tree.sequences) for tree in trees) == 20
    assert max(tree.length for tree in trees) <= 16
    assert [sequence.token_ids[4] for tree in trees for sequence in tree.sequences] == list(range(10, 30))


def test_prompts_that_differ_share_what_they_have_in_common_and_an_only_token_is_not_shared():
    one, other = row([5, 6, 7, 8], [[10, 1]])[0], row([5, 6, 9, 8], [[11, 1]])[0]
    assert [tree.shared for tree in make_trees([one, other], 100)] == [2]
    assert make_trees(row([5]), 100)[0].shared == 0


def test_together_fewer_tokens_go_through_the_model(tiny_model):
    seen = {"tokens": 0}

    def count(_module, arguments, keywords):
        seen["tokens"] += keywords["input_ids"].numel()

    hook = tiny_model.model.register_forward_pre_hook(count, with_kwargs=True)
    asked = [row(list(range(20, 60))) for _ in range(20)]
    apart(tiny_model, asked, 512)
    before, seen["tokens"] = seen["tokens"], 0
    together(tiny_model, asked, 512)
    hook.remove()
    assert seen["tokens"] < before / 2
