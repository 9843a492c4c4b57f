"""A model small enough to be trained in milliseconds, with all that a real one has: tokenizer, template, files."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tiny_model import CHATML, make_tiny_model, tiny_config, train_tokenizer, wrap
from tokenizers import processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from finetune_trainer.data.encode import Tokenized
from finetune_trainer.data.problems import Source


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return wrap(train_tokenizer())


@pytest.fixture
def make_tokenizer() -> Callable[[str | None], PreTrainedTokenizerFast]:
    """The same tokenizer with another chat template, or with none."""
    return lambda template: wrap(train_tokenizer(), template)


@pytest.fixture(scope="session")
def bos_tokenizer() -> PreTrainedTokenizerFast:
    """Adds `<s>` to every text, and has a template that writes `<s>` itself."""
    inner = train_tokenizer()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    return wrap(inner, "{{ bos_token }}" + CHATML, bos_token="<s>")


@pytest.fixture(scope="session", name="tiny_config")
def shared_tiny_config() -> LlamaConfig:
    return tiny_config()


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory as it stands in S3."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture
def tiny_model(tiny_config: LlamaConfig) -> LlamaForCausalLM:
    """A fresh copy of the same weights, frozen, in evaluation mode."""
    torch.manual_seed(0)
    return LlamaForCausalLM(tiny_config).eval().requires_grad_(False)


@pytest.fixture
def make_rows() -> Callable[..., list[Tokenized]]:
    """Random rows of several lengths, each with a random prompt and a supervised rest."""

    def make(count: int, seed: int = 0, longest: int = 24) -> list[Tokenized]:
        generator = torch.Generator().manual_seed(seed)

        def draw(low: int, high: int) -> int:
            return int(torch.randint(low, high, (1,), generator=generator))

        rows = []
        for line in range(count):
            length = draw(4, longest)
            prompt = draw(1, length)
            ids = [draw(3, 320) for _ in range(length)]
            rows.append(Tokenized(ids, [index >= prompt for index in range(length)], Source("rows.jsonl", line + 1)))
        return rows

    return make


@pytest.fixture(scope="session")
def harness():
    """All tasks of lm-eval, found once: it reads thousands of files."""
    from finetune_trainer.evaluate.harness import Harness

    return Harness()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, and sums in one order are the same everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
