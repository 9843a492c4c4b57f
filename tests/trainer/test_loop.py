"""The loop: exact resume, what is logged and saved, and when it ends. Its arithmetic is in `test_trajectories`."""

import copy
import itertools
import math
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from trainer_settings import hyperparameters
from transformers import LlamaConfig, LlamaForCausalLM

from finetune_api.base import dump_plain, load_plain
from finetune_api.conditions import Reason
from finetune_trainer.data.item import Item
from finetune_trainer.data.plan import plan_steps
from finetune_trainer.errors import DivergedError, InfrastructureError, StopRequested
from finetune_trainer.loop import train
from finetune_trainer.methods.attach import attach
from finetune_trainer.methods.settings import MethodSettings
from finetune_trainer.objectives.language import LanguageTask
from finetune_trainer.schedule import learning_rate
from finetune_trainer.state import Counters, LoopState, trainable


class Run:
    """One training run on a fresh copy of the tiny model, and what it told."""

    def __init__(
        self,
        tiny_config: LlamaConfig,
        rows,
        *,
        stop_at=None,
        state=None,
        validation=5,
        dropout=0.0,
        method=None,
        every=1000,
        minutes=None,
        may_save=lambda: True,
        clock=time.monotonic,
        **changed,
    ):
        torch.manual_seed(0)
        base = LlamaForCausalLM(tiny_config).requires_grad_(False)
        settings = hyperparameters(**changed)
        self.model = attach(base, method or MethodSettings(dropout=dropout), settings)
        self.plan = plan_steps(
            [len(row.token_ids) for row in rows],
            seed=settings.seed, epochs=settings.epochs, max_steps=settings.max_steps,
            tokens_per_step=settings.tokens_per_step,
        )  # fmt: skip
        self.logs, self.states, self.polls, self.stop_at = [], [], 0, stop_at
        items = [Item((row,)) for row in rows]
        followed = LanguageTask(items[:validation]) if validation else None
        arguments = {
            "model": self.model, "task": LanguageTask(items), "validation": followed, "settings": settings
        }  # fmt: skip
        self.start = lambda: train(
            **arguments, plan=self.plan, state=state, on_log=self.logs.append,
            should_stop=self.poll, on_checkpoint=self.states.append, every_steps=every,
            every_minutes=minutes, may_save=may_save, clock=clock,
        )  # fmt: skip

    def poll(self):
        self.polls += 1
        return self.stop_at is not None and self.polls > self.stop_at

    def finish(self):
        self.outcome = self.start()
        return self

    def adapter(self):
        return {name: parameter.detach().clone() for name, parameter in trainable(self.model)}


def losses(run):
    return [log.loss for log in run.logs]


@pytest.mark.parametrize("stop", [0, 1, 3])
def test_a_stopped_and_resumed_run_has_the_same_weights_bit_for_bit(tiny_config, make_rows, stop):
    rows = make_rows(20)
    straight = Run(tiny_config, rows, dropout=0.1).finish()
    first = Run(tiny_config, rows, dropout=0.1, stop_at=stop, validation=0)
    with pytest.raises(StopRequested) as caught:
        first.start()
    assert caught.value.reason == Reason.PREEMPTED
    (state,) = first.states
    assert state.counters.step == stop
    saved = LoopState(
        load_plain(Counters, dump_plain(state.counters)),
        {name: tensor.clone() for name, tensor in state.tensors.items()},
    )
    second = Run(tiny_config, rows, dropout=0.1, state=saved).finish()
    assert losses(first) + losses(second) == losses(straight)
    assert all(torch.equal(tensor, straight.adapter()[name]) for name, tensor in second.adapter().items())
    assert second.outcome.resumed_from_step == stop
    assert (second.outcome.tokens, second.outcome.steps) == (straight.outcome.tokens, straight.outcome.steps)


@pytest.mark.parametrize("method", ["full", "last-layers", "dora"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_run_is_resumed_bit_for_bit_whatever_is_trained(tiny_config, make_rows, tmp_path, method, tied):
    """Through the file that a checkpoint is: a tied weight stands in it once."""
    config = copy.deepcopy(tiny_config)
    config.tie_word_embeddings = tied
    rows, trained = make_rows(20), MethodSettings(type=method, last_layers=1)
    straight = Run(config, rows, method=trained).finish()
    first = Run(config, rows, method=trained, stop_at=2, validation=0)
    with pytest.raises(StopRequested):
        first.start()
    (state,) = first.states
    save_file(state.tensors, tmp_path / "state.safetensors")
    saved = LoopState(state.counters, load_file(tmp_path / "state.safetensors"))
    second = Run(config, rows, method=trained, state=saved).finish()
    assert losses(first) + losses(second) == losses(straight)
    assert len(state.tensors) == 4 * len(second.adapter())
    assert all(torch.equal(tensor, straight.adapter()[name]) for name, tensor in second.adapter().items())
    fresh = Run(config, rows, method=trained).adapter()
    assert not any(torch.equal(tensor, fresh[name]) for name, tensor in second.adapter().items())


def test_a_state_is_not_changed_by_later_steps(tiny_config, make_rows):
    run = Run(tiny_config, make_rows(20), every=2).finish()
    earlier, later = run.states[0].tensors, run.states[1].tensors
    assert earlier.keys() == later.keys()
    assert not all(torch.equal(earlier[name], later[name]) for name in earlier)


def saved(run):
    return [state.counters.step for state in run.states]


def test_a_state_is_saved_when_the_last_one_is_so_old(tiny_config, make_rows):
    """Every step takes twenty seconds: it is asked before each whether to stop."""
    run = Run(tiny_config, make_rows(20), every=None, minutes=0.5, validation=0, clock=lambda: 20.0 * run.polls)
    run.finish()
    assert saved(run) == [2, 4, 6]


def test_a_state_that_cannot_be_taken_is_taken_as_soon_as_it_can(tiny_config, make_rows):
    asked = itertools.count(1)  # once after each step
    run = Run(tiny_config, make_rows(20), every=2, may_save=lambda: next(asked) != 4).finish()
    assert saved(run)[:3] == [2, 5, 6]


def test_the_last_state_and_the_one_on_a_stop_request_do_not_wait(tiny_config, make_rows):
    run = Run(tiny_config, make_rows(20), every=1, may_save=lambda: False).finish()
    assert saved(run) == [len(run.plan)]
    stopped = Run(tiny_config, make_rows(20), every=1, may_save=lambda: False, stop_at=2, validation=0)
    with pytest.raises(StopRequested):
        stopped.start()
    assert saved(stopped) == [2]


def test_what_saving_raises_ends_training_at_the_next_step(tiny_config, make_rows):
    def superseded():
        raise InfrastructureError(reason=Reason.SUPERSEDED, message="a newer attempt", advice="none")

    run = Run(tiny_config, make_rows(20), may_save=superseded)
    with pytest.raises(InfrastructureError, match="a newer attempt"):
        run.start()
    assert (saved(run), len(run.logs)) == ([], 0)


def test_a_finished_run_has_a_checkpoint_after_its_last_step_and_resumes_to_no_step(tiny_config, make_rows):
    rows = make_rows(20)
    done = Run(tiny_config, rows).finish()
    assert done.states[-1].counters.step == len(done.plan)
    again = Run(tiny_config, rows, state=done.states[-1]).finish()
    assert again.logs == []
    assert again.outcome.final_loss == done.outcome.final_loss
    assert again.outcome.validation_loss == done.outcome.validation_loss
    assert all(torch.equal(tensor, done.adapter()[name]) for name, tensor in again.adapter().items())


def test_a_checkpoint_of_another_plan_is_refused(tiny_config, make_rows):
    state = Run(tiny_config, make_rows(20)).finish().states[-1]
    with pytest.raises(InfrastructureError, match="another order"):
        Run(tiny_config, make_rows(20), state=state, seed=8).finish()


def test_every_step_is_logged_once_in_order_with_its_counts(tiny_config, make_rows):
    rows = make_rows(20)
    run = Run(tiny_config, rows, every=3).finish()
    assert [log.step for log in run.logs] == list(range(1, len(run.plan) + 1))
    assert run.logs[-1].tokens == 2 * sum(len(row.token_ids) for row in rows)
    assert run.logs[-1].weight == 2 * sum(row.targets for row in rows)
    assert sum(log.validation_loss is not None for log in run.logs) == 4
    assert run.logs[-1].validation_loss == run.outcome.validation_loss


def test_training_lowers_the_loss_and_moves_the_adapter_alone(tiny_config, make_rows):
    run = Run(tiny_config, make_rows(12), epochs=15.0)
    before = {name: parameter.clone() for name, parameter in run.model.named_parameters() if "lora" not in name}
    run.finish()
    assert losses(run)[-1] < 0.8 * losses(run)[0]
    for name, parameter in run.model.named_parameters():
        if name in before:
            assert torch.equal(parameter, before[name])


def test_a_loss_that_is_not_finite_ends_the_run_before_anything_is_saved(tiny_config, make_rows):
    run = Run(tiny_config, make_rows(12))
    with torch.no_grad():
        run.model.get_base_model().lm_head.weight.fill_(math.nan)
    with pytest.raises(DivergedError, match="at step 1 of"):
        run.start()
    assert run.states == []
    assert run.logs == []


def test_a_stop_request_during_validation_leaves_it_for_saving_the_state(tiny_config, make_rows):
    run = Run(tiny_config, make_rows(20))
    first_validation = math.ceil(len(run.plan) / 4)
    run.stop_at = first_validation
    with pytest.raises(StopRequested):
        run.start()
    assert run.states[-1].counters.step == first_validation
    assert run.states[-1].counters.validation_loss is None
    assert run.logs[-1].step == first_validation


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        ("cosine", [0.5, 1.0, 1.0, 0.962, 0.854, 0.691, 0.5, 0.309, 0.146, 0.038]),
    ],
)
def test_the_learning_rate_rises_then_falls_as_its_schedule_says(schedule, expected):
    settings = hyperparameters(learning_rate=1.0, warmup_ratio=0.2, schedule=schedule)
    assert [learning_rate(step, 10, settings) for step in range(10)] == pytest.approx(expected, abs=5e-4)
