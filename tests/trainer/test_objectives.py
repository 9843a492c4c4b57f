"""The loss of each objective is its published formula, however rows are cut into batches and padded."""

import math

import pytest
import torch
from torch.nn import functional
from trainer_settings import hyperparameters
from transformers import LlamaForCausalLM

from finetune_api.spec.training import Classification, Objective, Preference
from finetune_trainer.data.item import Item
from finetune_trainer.data.plan import plan_steps
from finetune_trainer.errors import StopRequested
from finetune_trainer.head import Head, put_head
from finetune_trainer.loop import train
from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.objectives.base import supervised_share
from finetune_trainer.objectives.choose import make_task, sample_loss
from finetune_trainer.objectives.preference import PreferenceTask, dpo_losses, log_probabilities
from finetune_trainer.packing import enable_packing
from finetune_trainer.state import trainable

OBJECTIVES = {
    "sft": Objective(),
    "classification": Objective(type="classification", classification=Classification(labels=["a", "b", "c"])),
    "preference": Objective(type="preference", preference=Preference(beta=0.5)),
    "reward": Objective(type="reward"),
}
HEADS = {"classification": Head(("a", "b", "c")), "reward": Head(("reward",))}
EVERY = pytest.mark.parametrize("name", OBJECTIVES)


def make_items(name, rows):
    """Items as an objective has them, from rows in order."""
    if name in ("preference", "reward"):
        return [Item(pair) for pair in zip(rows[::2], rows[1::2], strict=True)]
    return [Item((row,), label=index % 3) for index, row in enumerate(rows)]


def make_model(name, base, **changed):
    settings = hyperparameters(**changed)
    head = HEADS.get(name, Head())
    return attach(put_head(base, head, settings.seed), MethodSettings(dropout=0.1), settings, head=head)


def shake(model):
    """Give the adapters another than their first value, which changes nothing."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for _, parameter in trainable(model):
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return model.eval()


def gradients(model, task, batches):
    model.zero_grad()
    losses = torch.cat([task.losses(model, batch, packing=False) for batch in batches])
    losses.sum().backward()
    return losses.detach(), [parameter.grad.clone() for _, parameter in trainable(model)]


@EVERY
def test_cutting_a_step_into_batches_and_padding_change_nothing(tiny_model, make_rows, name):
    items = make_items(name, make_rows(12))
    model = make_model(name, tiny_model)
    task = make_task(OBJECTIVES[name], items, model=model, batch_tokens=64)
    shake(model)
    count = len(items)
    whole, expected = gradients(model, task, [list(range(count))])
    single, found = gradients(model, task, [[index] for index in range(count)])
    torch.testing.assert_close(single, whole, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)
    assert any(gradient.abs().max() > 1e-3 for gradient in expected)
    assert task.lengths == [item.length for item in items]


@EVERY
def test_packing_changes_nothing(tiny_model, make_rows, name):
    items = make_items(name, make_rows(12))
    model = make_model(name, tiny_model)
    assert enable_packing(model, max(item.length for item in items))
    task = make_task(OBJECTIVES[name], items, model=model, batch_tokens=64)
    shake(model)
    everything = range(len(items))
    shapes = []
    model.get_input_embeddings().register_forward_hook(lambda _module, inputs, _output: shapes.append(inputs[0].shape))
    padded, packed = (task.losses(model, everything, packing=packing).detach() for packing in (False, True))
    torch.testing.assert_close(packed, padded, rtol=1e-4, atol=1e-5)
    assert shapes == [(12, max(len(row.token_ids) for item in items for row in item.sequences)), (1, sum(task.lengths))]


@EVERY
def test_every_trained_weight_gets_a_gradient(tiny_model, make_rows, name):
    model = make_model(name, tiny_model)
    items = make_items(name, make_rows(12))
    task = make_task(OBJECTIVES[name], items, model=model, batch_tokens=64)
    _, found = gradients(shake(model), task, [list(range(len(items)))])
    assert all(gradient.abs().sum() > 0 for gradient in found)


class Run:
    """A run of the loop that stops after `stop` polls and keeps its states."""

    def __init__(self, name, base, rows, *, stop=None, state=None):
        items = make_items(name, rows)
        settings = hyperparameters()
        self.model = make_model(name, base)
        task = make_task(OBJECTIVES[name], items, model=self.model, batch_tokens=64)
        plan = plan_steps(task.lengths, seed=7, epochs=4.0, max_steps=None, tokens_per_step=96)
        self.states, self.polls = [], 0

        def should_stop():
            self.polls += 1
            return stop is not None and self.polls > stop

        self.start = lambda: train(
            model=self.model, task=task, validation=task, settings=settings, plan=plan, state=state,
            on_log=lambda _log: None, should_stop=should_stop, on_checkpoint=self.states.append, every_steps=1000,
        )  # fmt: skip

    def weights(self):
        return [parameter.detach().clone() for _, parameter in trainable(self.model)]


@EVERY
def test_a_stopped_and_resumed_run_ends_at_the_same_weights_bit_for_bit(tiny_config, make_rows, name):
    def base():
        torch.manual_seed(0)
        return LlamaForCausalLM(tiny_config).eval().requires_grad_(False)

    rows = make_rows(16)
    straight = Run(name, base(), rows)
    outcome = straight.start()
    first = Run(name, base(), rows, stop=2)
    with pytest.raises(StopRequested):
        first.start()
    second = Run(name, base(), rows, state=first.states[-1])
    assert second.start().final_loss == outcome.final_loss
    assert all(torch.equal(*pair) for pair in zip(second.weights(), straight.weights(), strict=True))


def test_dpo_is_equation_7_of_its_paper():
    """-log sigmoid(beta log(pi_w / ref_w) - beta log(pi_l / ref_l)), written with probabilities."""
    policy, reference, beta = [(0.3, 0.2), (0.1, 0.4)], [(0.25, 0.25), (0.2, 0.1)], 0.7
    expected = []
    for (won, lost), (won_before, lost_before) in zip(policy, reference, strict=True):
        odds = (won / won_before) ** beta / (lost / lost_before) ** beta
        expected.append(-math.log(odds / (1 + odds)))
    logs = torch.tensor([*zip(*policy, strict=True), *zip(*reference, strict=True)]).log()
    assert dpo_losses(*logs, beta).tolist() == pytest.approx(expected, rel=1e-6)


@torch.no_grad()
def test_a_pair_s_loss_comes_from_the_summed_log_probabilities_of_its_answers(tiny_model, make_rows):
    items = make_items("preference", make_rows(6))
    model = make_model("preference", tiny_model)
    reference = log_probabilities(model, items, 64)
    shake(model)

    def answer(row):
        ids = torch.tensor(row.token_ids)
        logs = model(input_ids=ids[None]).logits[0, :-1].log_softmax(1).gather(1, ids[1:, None])[:, 0]
        return float(logs[torch.tensor(row.weights[1:]) > 0].sum())

    expected = []
    for item, (won_before, lost_before) in zip(items, reference.tolist(), strict=True):
        won, lost = (answer(row) for row in item.sequences)
        margin = torch.tensor(0.5 * ((won - won_before) - (lost - lost_before)), dtype=torch.float64)
        expected.append(float(functional.softplus(-margin)))
    found = PreferenceTask(items, reference, 0.5).losses(model, range(len(items)), packing=False)
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_before_the_first_step_dpo_s_loss_is_log_2_of_every_pair(tiny_model, make_rows):
    items = make_items("preference", make_rows(8))
    model = make_model("preference", tiny_model).eval()
    task = make_task(OBJECTIVES["preference"], items, model=model, batch_tokens=64)
    found = task.losses(model, range(len(items)), packing=False)
    assert found.tolist() == pytest.approx([math.log(2)] * len(items), abs=1e-5)


def test_the_reference_is_the_model_before_training_not_the_one_in_training(tiny_model, make_rows):
    items = make_items("preference", make_rows(8))
    model = make_model("preference", tiny_model)
    task = make_task(OBJECTIVES["preference"], items, model=model, batch_tokens=64)
    before = log_probabilities(model, items, 64)
    shake(model)
    found = task.losses(model, range(len(items)), packing=False)
    now = log_probabilities(model, items, 64)
    expected = dpo_losses(now[:, 0], now[:, 1], before[:, 0], before[:, 1], 0.5)
    torch.testing.assert_close(found.detach(), expected, rtol=1e-4, atol=1e-5)


def test_measuring_the_reference_heeds_a_stop_request(tiny_model, make_rows):
    def stop(_rows):
        raise InterruptedError

    model = make_model("preference", tiny_model)
    with pytest.raises(InterruptedError):
        make_task(
            OBJECTIVES["preference"],
            make_items("preference", make_rows(4)),
            model=model,
            batch_tokens=64,
            on_batch=stop,
        )


@torch.no_grad()
@pytest.mark.parametrize("name", HEADS)
def test_rewards_and_classes_are_read_at_the_last_real_token(tiny_model, make_rows, name):
    rows = make_rows(6)
    items = make_items(name, rows)
    model = shake(make_model(name, tiny_model))
    scores = torch.stack([model(input_ids=torch.tensor(row.token_ids)[None]).logits[0] for row in rows])
    if name == "reward":
        expected = functional.softplus(scores[1::2, 0] - scores[::2, 0])
    else:
        expected = functional.cross_entropy(scores, torch.arange(6) % 3, reduction="none")
    task = make_task(OBJECTIVES[name], items, model=model, batch_tokens=64)
    found = task.losses(model, range(len(items)), packing=False)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@EVERY
def test_an_item_counts_its_supervised_tokens_or_one_decision(tiny_model, make_rows, name):
    items = make_items(name, make_rows(4))
    task = make_task(OBJECTIVES[name], items, model=make_model(name, tiny_model), batch_tokens=64)
    expected = [item.sequences[0].targets if name == "sft" else 1 for item in items]
    assert [task.weight(index) for index in range(len(items))] == expected


@EVERY
def test_the_tokens_that_the_head_is_applied_to_are_counted(tiny_model, make_rows, name):
    """A new head is another one; of a pair, both answers go through the language model's."""
    items = make_items(name, make_rows(4))
    task = make_task(OBJECTIVES[name], items, model=make_model(name, tiny_model), batch_tokens=64)
    whole = sum(sequence.targets for item in items for sequence in item.sequences)
    assert supervised_share(task) * sum(task.lengths) == pytest.approx(0 if name in HEADS else whole)


def test_the_sample_of_preference_tuning_is_scored_as_language_without_a_reference(tiny_model, make_rows):
    items = make_items("preference", make_rows(8))
    chosen = [Item(item.sequences[:1]) for item in items]
    found = sample_loss(tiny_model, OBJECTIVES["preference"], items, 64)
    assert found == pytest.approx(sample_loss(tiny_model, OBJECTIVES["sft"], chosen, 64))
