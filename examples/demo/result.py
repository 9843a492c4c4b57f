"""The result: base against tuned in numbers and side by side, and where to look further."""

import json
from typing import Any, Final

from examples.demo.target import TEAM, Target
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

SHOWN: Final = 3
COLOURS: Final = {"better": "green", "worse": "red", "inconclusive": "yellow"}


def show(target: Target, job: dict[str, Any], console: Console) -> bool:
    """Print the tables; whether the headline metric is better with an interval that excludes zero."""
    status = job["status"]
    console.rule("[bold]5  The result")
    console.print(_metrics(status["evaluation"]))
    console.print(_examples(target, status["reportUri"]))
    artifact = status["artifact"]
    console.print(f"  adapter   {artifact['uri']}")
    console.print(
        f"  digest    {artifact['digest']}  ({artifact['sizeBytes'] / 1e6:.1f} MB, read back and verified)",
        soft_wrap=True,
    )
    console.print(f"  report    {status['reportUri']}")
    headline = status["evaluation"]["metrics"][0]
    if headline["verdict"] != "better":
        console.print(f"[bold red]The tuned model is not better: {headline['name']} is {headline['verdict']}.")
    return bool(headline["verdict"] == "better")


def _metrics(evaluation: dict[str, Any]) -> Table:
    title = f"Base against tuned on {evaluation['rows']} rows never trained on"
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in ("metric", "baseline", "few-shot", "tuned", "delta", "95 % interval", "verdict"):
        table.add_column(column, justify="left" if column in ("metric", "verdict") else "right", no_wrap=True)
    for metric in evaluation["metrics"]:
        rivals = {rival["name"]: rival["score"] for rival in metric.get("rivals", [])}
        scores = [metric["baseline"], rivals.get("few_shot"), metric["tuned"]]
        shown = ("" if score is None else f"{float(score):.2f}" for score in scores)
        delta, low, high = (f"{float(metric[key]):+.2f}" for key in ("delta", "low", "high"))
        verdict = f"[{COLOURS[metric['verdict']]}]{metric['verdict']}"
        table.add_row(metric["name"], *shown, delta, f"{low} .. {high}", verdict)
    return table


def _examples(target: Target, report_uri: str) -> Table:
    """The first test prompts with both answers, from examples.jsonl beside the report."""
    text = target.storage.read(report_uri.rsplit("/", 1)[0] + "/examples.jsonl") or b""
    rows = [json.loads(line) for line in text.decode().splitlines()[:SHOWN]]
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
