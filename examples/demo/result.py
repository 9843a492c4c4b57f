"""The result: base against tuned in numbers and side by side, and where to look further."""

import json
from typing import Any, Final

from examples.demo.target import TEAM, Target
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

SHOWN: Final = 3
RIVALS: Final = {"few_shot": "few-shot", "majority": "majority", "parent": "parent"}
"""Other models that the tuned one is compared with, by name, and what the table calls them."""
COLOURS: Final = {"better": "green", "worse": "red", "inconclusive": "yellow"}


def show(target: Target, job: dict[str, Any], console: Console) -> bool:
    """Print the tables; whether the headline metric is better with an interval that excludes zero."""
    status = job["status"]
    console.rule("[bold]5  The result")
    for table in tables(status["evaluation"], *_records(target, status["reportUri"])):
        console.print(table)
    artifact = status["artifact"]
    console.print(f"  {artifact['kind']:<8}  {artifact['uri']}", soft_wrap=True)
    console.print(
        f"  digest    {artifact['digest']}  ({artifact['sizeBytes'] / 1e6:.1f} MB, read back and verified)",
        soft_wrap=True,
    )
    console.print(f"  report    {status['reportUri']}")
    headline = status["evaluation"]["metrics"][0]
    if headline["verdict"] != "better":
        console.print(f"[bold red]The tuned model is not better: {headline['name']} is {headline['verdict']}.")
    return bool(headline["verdict"] == "better")


def tables(evaluation: dict[str, Any], report: dict[str, Any], examples: list[dict[str, Any]]) -> list[Table]:
    """What there is to show: of every job its metrics, and slices, confusion matrix and answers where it has some.

    Args:
        evaluation: `.status.evaluation`.
        report: The `evaluation` of report.json, which alone has the confusion matrix.
        examples: Lines of examples.jsonl.

    """
    found = [_metrics(evaluation)]
    if evaluation.get("slices"):
        found.append(_slices(evaluation))
    if report.get("confusion"):
        found.append(_confusion(report["labels"], report["confusion"]))
    if any(row["tuned"] for row in examples):
        found.append(_examples(examples[:SHOWN]))
    return found


def _records(target: Target, report_uri: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The evaluation in report.json, and the lines of examples.jsonl; both lie beside the page."""
    folder = report_uri.rpartition("/")[0]
    report = json.loads(target.storage.read(f"{folder}/report.json") or b"{}")
    lines = (target.storage.read(f"{folder}/examples.jsonl") or b"").decode().splitlines()
    return report.get("evaluation", {}), [json.loads(line) for line in lines]


def _metrics(evaluation: dict[str, Any]) -> Table:
    present = {rival["name"] for metric in evaluation["metrics"] for rival in metric.get("rivals", [])}
    rivals = [name for name in RIVALS if name in present]
    table = _table(f"Base against tuned on {evaluation['rows']} rows never trained on")
    titles = [RIVALS[name] for name in rivals]
    for column in ("metric", "baseline", *titles, "tuned", "delta", "95 % interval", "verdict"):
        table.add_column(column, justify="left" if column in ("metric", "verdict") else "right", no_wrap=True)
    for metric in evaluation["metrics"]:
        scores = {rival["name"]: rival["score"] for rival in metric.get("rivals", [])}
        shown = [_score(metric["baseline"]), *(_score(scores.get(name)) for name in rivals), _score(metric["tuned"])]
        delta, low, high = (f"{float(metric[key]):+.2f}" for key in ("delta", "low", "high"))
        verdict = f"[{COLOURS[metric['verdict']]}]{metric['verdict']}"
        table.add_row(metric["name"], *shown, delta, f"{low} .. {high}", verdict)
    return table


def _slices(evaluation: dict[str, Any]) -> Table:
    table = _table(f"{evaluation['metrics'][0]['name']} by data set")
    for column in ("data set", "rows", "baseline", "tuned"):
        table.add_column(column, justify="left" if column == "data set" else "right")
    for part in evaluation["slices"]:
        table.add_row(part["name"], str(part["rows"]), _score(part["baseline"]), _score(part["tuned"]))
    return table


def _confusion(labels: list[str], counts: list[list[int]]) -> Table:
    """The last column counts answers that are no label; it is shown where there are any."""
    table = _table("Wanted label (rows) against the tuned model's")
    columns = [*labels, "no label"] if any(row[-1] for row in counts) else labels
    table.add_column("")
    for column in columns:
        table.add_column(_plain(column), justify="right")
    for label, row in zip(labels, counts, strict=True):
        table.add_row(_plain(label), *map(str, row[: len(columns)]))
    return table


def _table(title: str) -> Table:
    return Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)


def _score(text: str | None) -> str:
    return "" if text is None else f"{float(text):.2f}"


def _examples(rows: list[dict[str, Any]]) -> Table:
    """Test prompts with both answers."""
    table = Table(title="Side by side", show_lines=True)
    for column in ("prompt", "base model", "tuned model", "wanted"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_plain(row[key]) for key in ("prompt", "baseline", "tuned", "reference")))
    return table


def _plain(text: str) -> str:
    """Text of a model is shown, never interpreted."""
    return text.strip().replace("[", r"\[")


def where_to_look(target: Target, name: str, console: Console) -> None:
    """The next commands, and how to stop."""
    kubeconfig = target.kubectl.kubeconfig
    kubectl = f"{target.kubectl.binary} -n {TEAM}"
    console.print("\n[bold]Look further[/]")
    if kubeconfig:
        console.print(f"  export KUBECONFIG={kubeconfig}", soft_wrap=True)
    for command in (f"describe ftj {name}", f"get ftj {name} -o yaml", "get ftj", "explain ftj.spec.data"):
        console.print(f"  {kubectl} {command}", soft_wrap=True)
    if target.stop:
        console.print(f"\nThe cluster keeps running. Stop it with: [bold]{target.stop}")
