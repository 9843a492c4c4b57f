"""`make demo` and `make example`: one real fine-tune on a real cluster, from nothing to the numbers.

`python -m examples.demo [NAME] [--job FILE]` runs a job of the example NAME, by default the order desk's.

CLUSTER=embedded (the default) builds and starts a Kubernetes on this machine; CLUSTER=current uses the cluster of the
current kubectl context and the operator that is installed there. Exits 1, loudly, when the tuned model does not beat
the base.
"""

import argparse
import sys

from examples.demo import job, result, watch
from examples.demo.example import Example
from examples.demo.target import DemoError, find_target
from kubectl import KubectlError
from rich.console import Console

from finetune_trainer.errors import TrainerError


def run(example: Example, console: Console) -> bool:
    """The demo from top to bottom; whether the tuned model is better."""
    target = find_target(console)
    job.upload_inputs(target, example, console)
    if target.operator_image:
        job.install_operator(target, console)
    else:
        console.rule("[bold]3  The operator, as it is installed")
    name = job.apply(target, example, console)
    finished = watch.follow(target, name, console)
    better = result.show(target, finished, console)
    result.where_to_look(target, name, console)
    return better


def main() -> int:
    """Entry point; every expected problem is one line."""
    parser = argparse.ArgumentParser(prog="examples.demo", description="Run a worked example on a cluster.")
    parser.add_argument("name", nargs="?", default="order-desk", help="folder under examples/")
    parser.add_argument("--job", default="finetunejob.yaml", help="YAML file in it")
    chosen = parser.parse_args()
    console = Console(highlight=False)
    try:
        return 0 if run(Example.load(chosen.name, chosen.job), console) else 1
    except (DemoError, KubectlError, TrainerError) as error:
        console.print(f"[bold red]demo:[/] {error}", soft_wrap=True)
    except KeyboardInterrupt:
        console.print("\nThe job goes on in the cluster; follow it with the kubectl commands above.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
