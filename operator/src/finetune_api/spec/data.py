"""`spec.data`: data sets, their columns, the template and the split."""

from typing import Literal

from pydantic import ConfigDict, Field

from finetune_api.base import Contract, S3Uri, cel


class Columns(Contract):
    """Names of the columns, where they differ from the ones recognised by themselves."""

    instruction: str | None = Field(default=None, max_length=128)
    """What is asked. Recognised: instruction, prompt, question."""
    input: str | None = Field(default=None, max_length=128)
    """Optional context that follows the instruction. Recognised: input, context."""
    response: str | None = Field(default=None, max_length=128)
    """The wanted answer; the loss is on this. Recognised: response, completion, answer, output."""
    messages: str | None = Field(default=None, max_length=128)
    """A list of {role, content} turns instead of the three above. Recognised: messages, conversations."""


class Dataset(Contract):
    """One file of rows, or a prefix with several."""

    uri: S3Uri
    """A file, or a prefix ending in / whose data files are read in order of name. The end of a name tells the format:
    .jsonl or .ndjson (an object per line), .json (an array of objects), .csv, .tsv, each also with .gz or .zst, and
    .parquet."""
    columns: Columns | None = None
    """Column names, where they differ from the ones recognised by themselves."""


class Split(Contract):
    """How rows are cut off the training data where no validation or test data set is given."""

    validation: float = Field(default=0.05, ge=0, le=0.5)
    """Share of rows kept for validation."""
    test: float = Field(default=0.1, ge=0, le=0.5)
    """Share of rows kept for the final base-against-tuned comparison."""
    seed: int = Field(default=0, ge=0, le=2147483647)
    """Rows are assigned by a hash of this seed and their content, so that equal rows always fall on one side."""


class Template(Contract):
    """How a row becomes the text that the model sees."""

    name: Literal["auto", "chat", "alpaca", "plain"] = "auto"
    """chat: the tokenizer's own chat template. alpaca: the Alpaca prompt, with and without input. plain: instruction,
    blank line, answer. auto: chat where the tokenizer has a template, else alpaca."""
    system: str | None = Field(default=None, max_length=8192)
    """System message put before rows that have none."""


class Data(Contract):
    """What the model is tuned and measured on."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "(has(self.test) && size(self.test) > 0) || self.split.test > 0.0",
                    "data needs test rows: list data.test or set data.split.test above 0",
                ),
                cel(
                    "!has(self.split) || self.split.validation + self.split.test < 0.9",
                    "data.split leaves too little to train on: validation + test must stay below 0.9",
                ),
            ]
        }
    )

    train: list[Dataset] = Field(min_length=1, max_length=16)
    """Data sets to train on."""
    validation: list[Dataset] = Field(default=[], max_length=16)
    """Data sets whose loss is followed during training. Empty: cut from train."""
    test: list[Dataset] = Field(default=[], max_length=16)
    """Data sets for the final base-against-tuned comparison; never trained on. Empty: cut from train."""
    split: Split = Split()
    """Used where validation or test is empty."""
    template: Template = Template()
    """How a row becomes text."""
    max_tokens: int = Field(default=1024, ge=16, le=131072)
    """Longest row in tokens. Longer ones lose the start of their prompt, never the answer; a row whose answer alone is
    longer is refused."""
