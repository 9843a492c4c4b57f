"""`make demo`: one real fine-tune on a real cluster, from nothing to the numbers.

CLUSTER=embedded (the default) builds and starts a Kubernetes on this machine; CLUSTER=current uses the cluster of the
current kubectl context. Exits 1, loudly, when the tuned model does not beat the base.
"""

import sys

from examples.demo import job, result, watch
from examples.demo.target import DemoError, find_target
from rich.console import Console


def run(console: Console) -> bool:
    """The demo from top to bottom; whether the tuned model is better."""
    target = find_target(console)
    job.upload_inputs(target, console)
    job.install_operator(target, console)
    name = job.apply(target, console)
    finished = watch.follow(target, name, console)
    better = result.show(target, finished, console)
    result.where_to_look(target, name, console)
    return better


def main() -> int:
    """Entry point; every expected problem is one line."""
    console = Console(highlight=False)
    try:
        return 0 if run(console) else 1
    except DemoError as error:
        console.print(f"[bold red]demo:[/] {error}", soft_wrap=True)
    except KeyboardInterrupt:
        console.print("\nThe job goes on in the cluster; follow it with the kubectl commands above.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
