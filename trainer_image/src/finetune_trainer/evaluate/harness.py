"""lm-eval, the harness that public benchmarks are scored with: its tasks, without their data, a model or torch.

Prompts, choices, filters and scores are lm-eval's own, so that numbers compare with published ones. Only where rows
come from is ours: nothing is asked of a hub, and no code comes with data. Of the code that lm-eval ships with its
tasks, none that judges freely written answers is run: some of it executes what a model wrote.
"""

import difflib
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any, Final

from datasets import Dataset
from jinja2 import Environment, meta
from lm_eval.api.metrics import mean
from lm_eval.tasks import TaskManager
from lm_eval.tasks._factory import TaskFactory
from lm_eval.tasks._index import Entry, Kind
from lm_eval.tasks._yaml_loader import load_yaml

from finetune_api.conditions import Reason
from finetune_api.spec.evaluation import Benchmark
from finetune_trainer.data.problems import Source
from finetune_trainer.errors import DataError, SettingsError
from finetune_trainer.evaluate.task_files import SplitRows
from finetune_trainer.model_files import first_line

_HEADLINES: Final = ("acc_norm", "acc", "exact_match")
"""The metric that stands for a task, the first that it has; otherwise its first."""
_SUPPORTED: Final = ("multiple_choice", "loglikelihood", "generate_until")
_TEMPLATES: Final = ("doc_to_text", "doc_to_target", "doc_to_choice")
_PARSER: Final = Environment(autoescape=True)
_EXAMPLE_SEED: Final = 1234
"""lm-eval's own default for drawing worked examples."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task as lm-eval defines it, and how it is to be asked."""

    benchmark: Benchmark
    field: str
    """`spec.evaluation.benchmarks[0]`, for messages."""
    entry: Entry
    config: Mapping[str, Any]
    asked: str
    """The split that questions are taken from."""
    examples: str | None
    """The split that worked examples are taken from, if any are wanted."""

    @property
    def splits(self) -> list[str]:
        """The splits whose files are needed."""
        return sorted({self.asked, self.examples or self.asked})


class Harness:
    """All tasks of lm-eval; finding them reads thousands of files and takes seconds."""

    def __init__(self) -> None:
        # Its warnings advise on options of its own command line.
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        self._entries: dict[str, Entry] = TaskManager().task_index

    def task(self, benchmark: Benchmark, field: str) -> Task:
        """Find a task by name.

        Raises:
            SettingsError: there is none, or it is one that can't be asked here.

        """
        name, entry = benchmark.task, self._entries.get(benchmark.task)
        if entry is None:
            near = difflib.get_close_matches(name, self._entries, n=3)
            advice = f"did you mean {' or '.join(near)}?" if near else "docs/benchmarks.md lists tasks"
            raise _refused(f"{field}.task: lm-eval has no task {name!r}", advice)
        if entry.kind in (Kind.GROUP, Kind.TAG):
            members = ", ".join(_members(entry)[:5])
            raise _refused(f"{field}.task: {name!r} is a group of tasks, not a task", f"name its tasks, as {members}")
        if (why := _unsupported(entry)) is not None:
            raise _unusable(field, name, why)
        try:
            config = load_yaml(entry.yaml_path)
        except Exception as error:
            raise _unusable(field, name, first_line(error)) from error
        if benchmark.few_shot and config.get("num_fewshot") == 0:
            raise _refused(
                f"{field}.fewShot: the prompt of {name!r} is complete without worked examples", "set it to 0"
            )
        return Task(benchmark, field, entry, config, _asked(config), _examples(config) if benchmark.few_shot else None)


class Questions:
    """A task's prompts, ready to be put to one model after the other."""

    def __init__(self, task: Task, rows: Mapping[str, SplitRows]) -> None:
        """Make the prompts of the first `maxRows` rows.

        Raises:
            DataError: rows that the task can't be made from, naming file, line and column.
            SettingsError: the task needs what is not there, or has no metric that is a mean over its questions.

        """
        _check_columns(task, rows)
        self._task = _build(task, rows)
        self.name = task.benchmark.task
        self.metric = _headline(task, self._task)
        self.higher_is_better = bool(self._task.higher_is_better()[self.metric])
        self._task.set_fewshot_seed(_EXAMPLE_SEED)
        sources = rows[task.asked].sources if task.config.get("process_docs") is None else None
        self._instances = list(_instances(task, self._task, sources))
        try:
            self.score(_Silent())
        except Exception as error:
            raise _misfit(task, f"answers to the rows of {task.benchmark.uri}: {first_line(error)}") from error

    def score(self, model: Any) -> list[float]:
        """What each question's answer is worth, in their order; 1 or 0 where it is right or wrong.

        `model` is an `lm_eval.api.model.LM`.
        """
        instances = [replace(instance, resps=[], filtered_resps={}) for instance in self._instances]
        answers = getattr(model, instances[0].request_type)(instances)
        for instance, answer in zip(instances, answers, strict=True):
            instance.resps.append(answer)
        self._task._instances = instances  # lm-eval sets it only together with its progress bar
        self._task.apply_filters()
        chosen = next(iter(instances[0].filtered_resps))
        scores = []
        for _, group in groupby(instances, key=lambda instance: instance.doc_id):
            of_row = list(group)
            found = self._task.process_results(of_row[0].doc, [each.filtered_resps[chosen] for each in of_row])
            scores.append(float(found[self.metric]))
        return scores


class _Silent:
    """Stands for a model, to find out before there is one whether scores can be computed."""

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        return [(-1.0, False)] * len(requests)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        return [""] * len(requests)


def _unsupported(entry: Entry) -> str | None:
    """Why a task can't be asked here; its functions are still paths, for none of its code has run."""
    config = entry.cfg or {}
    kind = config.get("output_type", "generate_until")
    metrics = config.get("metric_list") or []
    judges = config.get("process_results") is not None or any("/" in str(each.get("metric")) for each in metrics)
    reasons = {
        "it is a Python class": entry.kind is not Kind.TASK,
        "it needs images or sound": config.get("doc_to_image") is not None or config.get("doc_to_audio") is not None,
        "it runs code that the model wrote": bool(config.get("unsafe_code")),
        "it makes its rows itself": config.get("custom_dataset") is not None,
        f"its type is {kind}, not {', '.join(_SUPPORTED)}": kind not in _SUPPORTED,
        "its own code judges what the model wrote": kind == "generate_until" and judges,
        "its answers are sampled, not greedy": _samples(config.get("generation_kwargs") or {}),
        "each question is asked several times": config.get("repeats", 1) != 1,
        "it has neither a test nor a validation split": not (
            config.get("test_split") or config.get("validation_split")
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _samples(settings: Mapping[str, Any]) -> bool:
    return bool(settings.get("do_sample")) and float(settings.get("temperature", 1)) > 0


def _asked(config: Mapping[str, Any]) -> str:
    return str(config.get("test_split") or config["validation_split"])


def _examples(config: Mapping[str, Any]) -> str | None:
    """As lm-eval chooses; None where the task brings its examples along."""
    own = config.get("fewshot_config") or {}
    split = own.get("split") or config.get("fewshot_split")
    if split is None and own.get("samples") is not None:
        return None
    return str(split or config.get("training_split") or config.get("validation_split") or config["test_split"])


def _check_columns(task: Task, rows: Mapping[str, SplitRows]) -> None:
    """Check the columns that the templates name; a task with code of its own may make them first."""
    if task.config.get("process_docs") is not None:
        return
    columns = _columns(task.config)
    for part in rows.values():
        for source, row in zip(part.sources, part.rows, strict=True):
            missing = sorted(columns - row.keys())
            if missing:
                raise _misfit(
                    task, f"{source}: there is no column {missing[0]!r}, only {', '.join(map(repr, sorted(row)))}"
                )


def _columns(config: Mapping[str, Any]) -> set[str]:
    columns: set[str] = set()
    for name in _TEMPLATES:
        template = config.get(name)
        if not isinstance(template, str):
            continue
        if template.isidentifier():
            # Where there is no such column, lm-eval would put the name itself into the prompt.
            columns.add(template)
        else:
            columns |= meta.find_undeclared_variables(_PARSER.parse(template))
    return columns


def _build(task: Task, rows: Mapping[str, SplitRows]) -> Any:
    """The task with our rows in place of the hub's."""
    if task.examples is not None and len(rows[task.examples].rows) <= task.benchmark.few_shot:
        raise _misfit(task, f"the split {task.examples!r} has no more rows than the {task.benchmark.few_shot} examples")
    try:
        changes: dict[str, Any] = {
            "custom_dataset": lambda **_: {split: Dataset.from_list(part.rows) for split, part in rows.items()},
            "dataset_kwargs": {},
            "num_fewshot": task.benchmark.few_shot,
        }
        if task.examples is None:
            # lm-eval reads the split of the examples even where none are wanted.
            own = {key: value for key, value in (task.config.get("fewshot_config") or {}).items() if key != "split"}
            changes |= {"fewshot_split": None if own.get("samples") else task.asked, "fewshot_config": own or None}
        with _no_torch_mark():
            return TaskFactory().build(task.entry, overrides=changes, registry={})
    except KeyError as error:
        files = " and ".join(part.sources[0].file for part in rows.values())
        raise _misfit(task, f"{files}: there is no column {error}") from error
    except (ImportError, ConnectionError) as error:
        raise _unusable(task.field, task.benchmark.task, first_line(error)) from error
    except Exception as error:
        raise _misfit(task, f"rows of {task.benchmark.uri}: {first_line(error)}") from error


@contextmanager
def _no_torch_mark() -> Iterator[None]:
    """Preflight keeps torch out by `sys.modules["torch"] = None`; datasets would take that for torch itself."""
    is_marked = sys.modules.get("torch", sys) is None
    if is_marked:
        del sys.modules["torch"]
    try:
        yield
    finally:
        if is_marked:
            sys.modules.setdefault("torch", None)  # type: ignore[arg-type]


def _headline(task: Task, built: Any) -> str:
    """The metric that is reported: one of `_HEADLINES`, otherwise the first that is a mean over questions."""
    means = [name for name, combine in built.aggregation().items() if combine is mean]
    if not means:
        found = ", ".join(map(str, built.aggregation()))
        raise _unusable(task.field, task.benchmark.task, f"none of its metrics is a mean over questions ({found})")
    return str(next((name for name in _HEADLINES if name in means), means[0]))


def _instances(task: Task, built: Any, sources: Sequence[Source] | None) -> Iterable[Any]:
    """The requests of every row, as `Task.build_all_requests` makes them; rows are named in errors."""
    for number, row in enumerate(islice(built.eval_docs, task.benchmark.max_rows)):
        try:
            context = built.fewshot_context(
                row, num_fewshot=task.benchmark.few_shot, gen_prefix=built.doc_to_prefix(row)
            )
            made = built.construct_requests(doc=row, ctx=context, metadata=(task.benchmark.task, number, 1))
            if built.OUTPUT_TYPE == "multiple_choice":
                _check_answer(built, row)
        except Exception as error:
            place = str(sources[number]) if sources else f"row {number + 1} of the split {task.asked!r}"
            raise _misfit(task, f"{place}: {first_line(error)}") from error
        yield from made if isinstance(made, list) else [made]


def _check_answer(built: Any, row: Any) -> None:
    """lm-eval counts a row whose answer is no choice as wrong, for every model."""
    choices = built.doc_to_choice(row)
    wanted = built.doc_to_text(row) if built.multiple_input else built.doc_to_target(row)
    for answer in wanted if isinstance(wanted, list) else [wanted]:
        known = answer in choices if isinstance(answer, str) else 0 <= answer < len(choices)
        if not known:
            raise ValueError(f"the answer {answer!r} is none of the {len(choices)} choices")


def _members(entry: Entry) -> list[str]:
    listed = sorted(entry.tags) if entry.kind is Kind.TAG else (entry.cfg or {}).get("task", [])
    return [str(each.get("task", each.get("group"))) if isinstance(each, dict) else str(each) for each in listed]


def _refused(message: str, advice: str) -> SettingsError:
    return SettingsError(reason=Reason.SETTINGS_INVALID, message=message, advice=advice)


def _unusable(field: str, name: str, why: str) -> SettingsError:
    return _refused(
        f"{field}.task: {name!r} cannot be asked here: {why}", "choose another; docs/benchmarks.md lists tasks"
    )


def _misfit(task: Task, problem: str) -> DataError:
    path, name = str(task.config.get("dataset_path")), task.config.get("dataset_name") or "default"
    hub = f"the hub's {path} ({name})" if "/" in path else "the data that its task's README names"
    return DataError(
        reason=Reason.DATASET_INVALID,
        message=f"{task.field}: {problem}",
        advice=f"upload the rows of {hub} as they are; {task.benchmark.task} expects their columns",
    )
