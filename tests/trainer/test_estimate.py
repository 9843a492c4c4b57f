"""The estimate against numbers worked out by hand, against what autograd really keeps, and in its directions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_shapes import llama, llama_1b, llama_8b
from trainer_settings import hyperparameters
from transformers import LlamaConfig, LlamaForCausalLM

from finetune_api.report import Estimate
from finetune_api.spec.training import LastLayers, Lora, Method
from finetune_trainer.data.plan import plan_steps
from finetune_trainer.errors import SettingsError
from finetune_trainer.estimate import estimate, fitting_micro_batch, require_fit, run_length
from finetune_trainer.from_spec import method_settings
from finetune_trainer.methods.attach import attach
from finetune_trainer.state import trainable

GIB = 2**30
LLAMA_1B, LLAMA_8B = llama_1b(), llama_8b()


def run(base, method="lora", *, gpu=True, longest=512, available=None, lora=None, last=2, shards=1, **changes):
    usual = {"rank": 16, "tokens_per_step": 16384}
    return estimate(
        base, Method(type=method, lora=lora or Lora(), last_layers=LastLayers(count=last)),
        hyperparameters(**{**usual, **changes}), longest_item=longest, steps=10, tokens=1000, gpu=gpu,
        available=available, shards=shards,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("base", "method", "expected"),
    [
        # 1,235,814,400 numbers of 2 bytes; 704,512 adapter numbers a layer at rank 16 times 16 layers.
        (LLAMA_1B, "lora", {"weights": 2_471_628_800, "adapter": 45_088_768, "optimizer": 90_177_536}),
        # 8,030,261,248 numbers; 41,943,040 in adapters, as published for rank 16 on all linear layers.
        (LLAMA_8B, "lora", {"weights": 16_060_522_496, "adapter": 167_772_160, "gradients": 167_772_160}),
        # The same matrices, and a magnitude for each of their rows.
        (LLAMA_8B, "dora", {"adapter": 167_772_160 + 4 * 32 * (4096 + 1024 + 1024 + 4096 + 2 * 14336 + 4096)}),
        # 6,979,321,856 numbers in 4.127 bits, the other 1,050,939,392 in float32.
        (LLAMA_8B, "qlora", {"weights": 3_600_457_662 + 4_203_757_568}),
        # Float32, the bfloat16 copy, the gradient, two moments: 18 bytes a number.
        (LLAMA_1B, "full", {"weights": 6 * 1_235_814_400, "gradients": 4 * 1_235_814_400, "adapter": 0}),
        # Two layers of 60,821,504 numbers and a norm of 2,048.
        (LLAMA_1B, "last-layers", {"gradients": 4 * 121_645_056, "optimizer": 8 * 121_645_056}),
    ],
)  # fmt: skip
def test_what_does_not_grow_with_the_batch_is_as_worked_out_by_hand(base, method, expected):
    parts = run(base, method).parts
    assert {name: parts[name] for name in expected} == pytest.approx(expected, abs=2)


def test_what_is_trained_is_divided_among_processes_and_a_checkpoint_is_whole():
    alone, divided = run(LLAMA_8B, "full"), run(LLAMA_8B, "full", shards=8)
    assert divided.parts["optimizer"] == alone.parts["optimizer"] // 8
    assert divided.parts["weights"] == alone.parts["weights"], "they are held whole to be measured"
    assert divided.checkpoint_bytes == pytest.approx(alone.checkpoint_bytes, abs=16)


def test_the_parts_are_the_whole():
    found = run(LLAMA_8B)
    assert found.memory_bytes == sum(found.parts.values())
    assert (found.steps, found.tokens) == (10, 1000)


@pytest.mark.parametrize(("method", "numbers"), [("lora", 41_943_040), ("full", 8_030_261_248)])
def test_a_checkpoint_takes_twelve_bytes_a_trained_number(method, numbers):
    """A weight and two moments, all in float32."""
    assert run(LLAMA_8B, method).checkpoint_bytes == 12 * numbers


def test_published_shapes_need_what_is_known_of_them():
    """8B by LoRA in 16k tokens overflows 80 GiB and fits in 4k; the same rank in qlora fits 24 GiB with 1k."""
    assert run(LLAMA_8B).memory_bytes > 80 * GIB
    assert run(LLAMA_8B, micro_batch_tokens=4096).memory_bytes < 80 * GIB
    assert run(LLAMA_8B, "qlora", micro_batch_tokens=1024).memory_bytes < 24 * GIB < run(LLAMA_8B).memory_bytes


def kept(model, tokens):
    """Bytes that autograd keeps of one forward pass of the decoder, weights and their copies not counted."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    shapes = {shape for parameter in model.parameters() for shape in (parameter.shape, parameter.shape[::-1])}
    seen = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if (
            storage.data_ptr() not in weights
            and not {tensor.shape, tensor.T.shape if tensor.ndim == 2 else ()} & shapes
        ):
            seen[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    decoder = (model.get_base_model() if hasattr(model, "get_base_model") else model).model
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = decoder(input_ids=torch.randint(0, 64, (1, tokens)), use_cache=False).last_hidden_state
    assert output.requires_grad
    return sum(size for size, _ in seen.values())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
# Adapters alone have dropout.
@pytest.mark.parametrize(("method", "dropout"), [("lora", 0.0), ("lora", 0.1), ("full", 0.0), ("last-layers", 0.0)])
def test_activations_are_what_autograd_keeps_and_one_layer_more(method, precision, dropout):
    sizes = {"hidden": 96, "layers": 6, "heads": 6, "kv_heads": 2, "inner": 256, "vocabulary": 64, "tied": True}
    base = llama(**sizes)
    config = LlamaConfig(
        hidden_size=96, num_hidden_layers=6, num_attention_heads=6, num_key_value_heads=2, intermediate_size=256,
        vocab_size=64, tie_word_embeddings=True,
    )  # fmt: skip
    tokens = 200
    model = LlamaForCausalLM(config).to({"float32": torch.float32, "bfloat16": torch.bfloat16}[precision])
    lora = Lora(dropout=dropout)
    trained = Method(type=method, lora=lora, last_layers=LastLayers(count=3))
    chosen = hyperparameters(rank=8)
    model = attach(model.requires_grad_(False), method_settings(trained), chosen).train()
    found = run(
        base, method, gpu=False, longest=tokens, lora=lora, last=3, precision=precision, rank=8,
        micro_batch_tokens=tokens,
    )  # fmt: skip
    layers = 3 if method == "last-layers" else 6
    really = kept(model, tokens)
    assert really < found.parts["activations"] < 1.1 * really * (layers + 1) / layers
    assert found.parts["gradients"] == 4 * sum(parameter.numel() for _, parameter in trainable(model))


@given(
    lengths=st.lists(st.integers(1, 400), min_size=1, max_size=400), epochs=st.sampled_from([0.5, 1.0, 3.0]),
    step=st.sampled_from([1024, 2048]), most=st.none() | st.integers(1, 30),
)  # fmt: skip
def test_the_length_of_a_run_is_about_that_of_its_plan(lengths, epochs, step, most):
    plan = plan_steps(lengths, seed=0, epochs=epochs, max_steps=most, tokens_per_step=step)
    chosen = hyperparameters(tokens_per_step=step, epochs=epochs, max_steps=most)
    steps, tokens = run_length(chosen, items=len(lengths), tokens=sum(lengths))
    assert steps == pytest.approx(len(plan), rel=0.3, abs=1.5)
    assert tokens == pytest.approx(sum(lengths[row] for each in plan for row in each), rel=0.3, abs=step)


SHAPES = st.builds(
    llama, hidden=st.sampled_from([256, 1024, 4096]), layers=st.integers(2, 48), heads=st.just(8),
    kv_heads=st.sampled_from([1, 8]), inner=st.sampled_from([512, 8192]), vocabulary=st.sampled_from([1000, 128256]),
    tied=st.booleans(),
)  # fmt: skip


@settings(max_examples=30)
@given(
    base=SHAPES,
    method=st.sampled_from(["lora", "dora", "rslora", "qlora", "full", "last-layers"]),
    micro=st.integers(1024, 60000),
)
def test_more_of_anything_takes_no_less(base, method, micro):
    less = run(base, method, micro_batch_tokens=micro)
    for more in (
        run(base, method, micro_batch_tokens=micro + 1000),
        run(base, method, micro_batch_tokens=micro, longest=micro + 1000),
        run(base, method, micro_batch_tokens=micro, rank=64),
        run(base, method, micro_batch_tokens=micro, lora=Lora(dropout=0.1)),
    ):
        assert all(more.parts[name] >= size for name, size in less.parts.items())


@settings(max_examples=30)
@given(base=SHAPES, method=st.sampled_from(["lora", "qlora", "full"]), available=st.integers(8 * GIB, 200 * GIB))
def test_the_largest_micro_batch_that_fits_fits_and_nothing_larger(base, method, available):
    fitting = fitting_micro_batch(base, Method(type=method), hyperparameters(rank=16), available)
    if fitting < 1024:
        return
    assert run(base, method, micro_batch_tokens=fitting).memory_bytes <= available
    assert run(base, method, micro_batch_tokens=fitting + 2).memory_bytes > available


def judge(base, method="lora", available=24 * GIB, longest=512, shards=1, **changes):
    found = run(base, method, available=available, longest=longest, shards=shards, **changes)
    chosen = hyperparameters(rank=16, **changes)
    require_fit(found, base, Method(type=method), chosen, longest_item=longest, shards=shards)


def refuse(*what, **settings):
    with pytest.raises(SettingsError) as caught:
        judge(*what, **settings)
    return caught.value


@pytest.mark.parametrize("longest", [512, 8000])
def test_what_training_makes_fit_by_itself_is_only_warned_of(longest, caplog):
    """Smaller micro-batches suffice for short rows, and activations that are computed again for a long one."""
    judge(LLAMA_8B, tokens_per_step=16384, longest=longest)
    assert "smaller micro-batches, or compute activations again" in caplog.text


def test_where_layers_are_divided_a_smaller_micro_batch_is_asked_for():
    error = refuse(LLAMA_8B, tokens_per_step=16384, shards=2)
    assert "of GPU memory, one GPU has 24.0 GiB; activations" in error.message
    largest = int(error.advice.partition("at most ")[2].split()[0])
    judge(LLAMA_8B, micro_batch_tokens=largest, shards=2)


def test_a_row_that_is_too_long_for_the_gpu_is_refused_with_what_fits():
    error = refuse(LLAMA_8B, longest=60000)
    assert "training takes at least about" in error.message
    fitting = int(error.advice.partition("goes through at once, ")[2].split()[0])
    judge(LLAMA_8B, longest=fitting)
    refuse(LLAMA_8B, longest=fitting + 100)


def test_a_base_that_does_not_fit_at_all_is_refused_with_qlora():
    advice = refuse(LLAMA_8B, available=12 * GIB).advice
    assert "method.type qlora" in advice
    assert "microBatchTokens" not in advice
    assert "method.type lora" in refuse(LLAMA_8B, "full").advice


def test_what_fits_passes_and_what_is_tight_is_warned_of(caplog):
    def check(available):
        found = Estimate(memory_bytes=95, parts={}, available_bytes=available, steps=1, tokens=1)
        require_fit(found, LLAMA_1B, Method(), hyperparameters(), longest_item=1)

    check(None)
    check(1000)
    assert caplog.text == ""
    check(100)
    assert "of the GPU's" in caplog.text
