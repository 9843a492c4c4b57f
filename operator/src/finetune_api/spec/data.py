"""`spec.data`: data sets, their columns, the template and the split."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue, StringConstraints

from finetune_api.base import Contract, S3OutputUri, S3Uri, cel

ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class Columns(Contract):
    """Names of the columns, where they differ from the ones recognised by themselves."""

    instruction: ColumnName | None = None
    """What is asked; of a preference pair, the prompt. Recognised: instruction, prompt, question."""
    input: ColumnName | None = None
    """Optional context that follows the instruction. Recognised: input, context."""
    response: ColumnName | None = None
    """The wanted answer; the loss is on this. Recognised: response, completion, answer, output."""
    messages: ColumnName | None = None
    """A list of {role, content} turns instead of the three above. Recognised: messages, conversations."""
    text: ColumnName | None = None
    """Raw text to learn from, or the text to classify. Recognised: text, and sentence and review to classify."""
    label: ColumnName | None = None
    """The class of a text. Recognised: label, category, class."""
    chosen: ColumnName | None = None
    """The preferred answer: text, or turns that include the prompt. Recognised: chosen."""
    rejected: ColumnName | None = None
    """The other answer, in the same form. Recognised: rejected."""


DatasetName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=40)]


class Dataset(Contract):
    """One file of rows, or a prefix with several."""

    uri: S3Uri
    """A file, or a prefix ending in / whose data files are read in order of name. The end of a name tells the format:
    .jsonl or .ndjson (an object per line), .json (an array of objects), .csv, .tsv, .txt (a document per file), each
    also with .gz or .zst, and .parquet."""
    columns: Columns | None = None
    """Column names, where they differ from the ones recognised by themselves."""
    name: DatasetName | None = None
    """Name of the data set in reports and per-set metrics. Empty: train-0, test-1 and so on, by place in the list."""
    weight: float = Field(default=1.0, gt=0, le=1000)
    """How often each row is seen in an epoch, for data sets to train on: 0.5 takes half of the rows, another half in
    each epoch, 2 takes each twice. Replay data that limits forgetting is a data set with a small weight."""


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

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "(has(self.name) && self.name == 'jinja') == has(self.jinja)",
                    "data.template.jinja and data.template.name jinja go together",
                )
            ]
        }
    )

    name: Literal["auto", "chat", "alpaca", "plain", "jinja"] = "auto"
    """chat: the tokenizer's own chat template. alpaca: the Alpaca prompt, with and without input. plain: instruction,
    blank line, answer. jinja: the chat template in `jinja`. auto: chat where the tokenizer has a template, else
    alpaca."""
    jinja: str | None = Field(default=None, min_length=1, max_length=16384)
    """A chat template of your own, as tokenizers have them: it sees `messages` and `add_generation_prompt`, and runs
    in a sandbox."""
    system: str | None = Field(default=None, max_length=8192)
    """System message put before rows that have none."""
    supervise: Literal["assistant", "last-turn", "all"] = "assistant"
    """What the loss is on. assistant: every answer with its end-of-turn token; a message's own `weight` (0 to 1) scales
    or silences it. last-turn: the last answer. all: every token."""


def _distinct_names(side: str) -> dict[str, JsonValue]:
    twice = "has(other.name) && other.name == each.name"
    return cel(
        f"!has(self.{side}) || self.{side}.all(each, !has(each.name) || self.{side}.exists_one(other, {twice}))",
        f"data.{side} has two data sets of one name",
    )


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
                *(_distinct_names(side) for side in ("train", "validation", "test")),
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
    max_tokens: int | None = Field(default=None, ge=16, le=131072)
    """Longest row in tokens. Longer ones lose the start of their prompt, never the answer; a row whose answer alone is
    longer is a bad row. Raw text is cut into pieces of this length instead. Empty: as long as the longest row, at most
    the model's context; for raw text 1024."""
    on_bad_row: Literal["fail", "quarantine"] = "fail"
    """fail: a bad row ends the job. quarantine: bad rows are written aside to quarantine.jsonl under output.uri, and
    the job goes on without them, up to maxBadShare."""
    max_bad_share: float = Field(default=0.01, ge=0, le=1)
    """Largest share of bad rows that quarantine puts up with."""
    show_rows: bool = True
    """Whether the data report and the result's page show text of rows and answers; false leaves counts, scores and
    places."""
    prepared_uri: S3OutputUri | None = None
    """Prefix where prepared data (token ids) is kept for all jobs on the same data. Empty: `.prepared/` in the folder
    that output.uri lies in. What was not used for 30 days is removed."""
