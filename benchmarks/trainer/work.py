"""What every contender trains: the same rows in the same steps, all of the same base or LoRA on its linear layers."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

SHAPES: Final[dict[str, dict[str, int]]] = {
    "0.6b": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
             "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
           "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
           "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256},
}  # fmt: skip
"""Dimensions of Qwen3-0.6B, Llama-3.2-1B and Llama-3.1-8B, filled with random weights."""
METHODS: Final = ("lora", "full")
LENGTHS: Final = ("uniform", "log-normal", "long-tailed")
LORA_RANK: Final = 16
LEARNING_RATE: Final = 1e-4


@dataclass(frozen=True)
class Work:
    """One measurement's task, as the command line names it."""

    model: str
    """A model directory, or the name of a shape."""
    lengths: str
    longest: int
    supervised: float
    """Share of each row, at its end, that the loss is on."""
    rows_per_step: int
    steps: int
    """Measured ones; one more goes before them."""
    micro_batch: int
    """Tokens that ours puts through the model at once."""
    precision: str
    """Of the frozen base; empty for what is usual on the device."""
    method: str

    @property
    def device(self) -> torch.device:
        """The GPU where there is one."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Of the frozen base. bfloat16 is slower than float32 on most CPUs."""
        if self.precision:
            return {"bfloat16": torch.bfloat16, "float32": torch.float32}[self.precision]
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    @property
    def held(self) -> torch.dtype:
        """What those hold the weights in who leave the products' precision to autocast: trained ones need float32."""
        return torch.float32 if self.method == "full" else self.dtype

    def load(self, dtype: torch.dtype | None = None) -> Any:
        """The base model on the device, in another precision if asked."""
        torch.manual_seed(0)
        dtype = dtype or self.dtype
        if self.model in SHAPES:
            with torch.device(self.device):
                config = LlamaConfig(**SHAPES[self.model], tie_word_embeddings=self.model != "8b", dtype=dtype)
                return LlamaForCausalLM._from_config(config, dtype=dtype, attn_implementation="sdpa")
        loaded = AutoModelForCausalLM.from_pretrained(self.model, dtype=dtype, attn_implementation="sdpa")
        return loaded.to(self.device)

    @property
    def vocabulary(self) -> int:
        """Token ids that there are."""
        if self.model in SHAPES:
            return SHAPES[self.model]["vocab_size"]
        return int(AutoConfig.from_pretrained(self.model).vocab_size)

    def rows(self) -> list[tuple[list[int], int]]:
        """Token ids of every row, and how many of them, at the start, are masked."""
        vocabulary = self.vocabulary
        generator = torch.Generator().manual_seed(0)
        count = self.rows_per_step * (self.steps + 1)
        rows = []
        for _ in range(count):
            length = self._length(generator)
            ids = torch.randint(3, vocabulary, (length,), generator=generator).tolist()
            rows.append((ids, max(1, round(length * (1 - self.supervised)))))
        return rows

    def _length(self, generator: torch.Generator) -> int:
        if self.lengths == "uniform":
            return self.longest
        # A median of an eighth of the longest; the long tail is what conversations and documents have.
        spread = 0.9 if self.lengths == "log-normal" else 1.4
        drawn = torch.randn((), generator=generator).mul(spread).exp() * self.longest / 8
        return int(drawn.clamp(8, self.longest))


def synchronize() -> None:
    """Wait until the GPU, where there is one, has done what it was asked to."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory() -> int:
    """Bytes: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line's part about the work."""
    parser.add_argument("--model", required=True, help=f"a model directory, or a shape: {', '.join(SHAPES)}")
    parser.add_argument("--lengths", choices=LENGTHS, default="log-normal")
    parser.add_argument("--longest", type=int, default=512, help="tokens of the longest row (default: %(default)s)")
    parser.add_argument("--supervised", type=float, default=0.4, help="share of each row (default: %(default)s)")
    parser.add_argument("--rows-per-step", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4, help="measured steps (default: %(default)s)")
    parser.add_argument(
        "--micro-batch", type=int, default=512, help="tokens, of ours; on a GPU 16384 (default: %(default)s)"
    )
    parser.add_argument("--method", choices=METHODS, default=METHODS[0], help="default: %(default)s")
    parser.add_argument("--precision", default="", choices=("", "bfloat16", "float32"), help="default: by device")


def work_arguments(arguments: list[str]) -> list[str]:
    """Those of a command line that say what is trained, whatever else it says."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    options, _ = parser.parse_known_args(arguments)
    return [f"--{name.replace('_', '-')}={value}" for name, value in vars(options).items()]


def work_from(options: argparse.Namespace) -> Work:
    """The work that the command line asks for."""
    model = options.model if options.model in SHAPES else str(Path(options.model).resolve())
    return Work(
        model, options.lengths, options.longest, options.supervised, options.rows_per_step, options.steps,
        options.micro_batch, options.precision, options.method,
    )  # fmt: skip
