"""A real Kubernetes on this machine, for tests and the demo.

`up` starts etcd, the control plane, a node, DNS, an image registry and an S3 store in their own namespaces;
`down` leaves no process, mount, interface, packet filter rule or control group behind.
"""

import argparse
import sys
from collections.abc import Callable

from localcluster import facts, kueue, lifecycle
from localcluster.background import in_background
from localcluster.build import build_all
from localcluster.console import note
from localcluster.doctor import complaints
from localcluster.images import build_images, push_images
from localcluster.layout import Layout, layout_of


def _doctor(_layout: Layout, _options: argparse.Namespace) -> int:
    lacking = complaints()
    print("\n".join(lacking) or "everything needed is here")
    return 1 if lacking else 0


def _build(layout: Layout, _options: argparse.Namespace) -> int:
    lifecycle.provide_tools()
    build_all(layout)
    return 0


def _up(layout: Layout, options: argparse.Namespace) -> int:
    found = lifecycle.up(layout)
    note(f"cluster {layout.name} is up: export KUBECONFIG={found.kubeconfig}")
    return 0


def _images(layout: Layout, _options: argparse.Namespace) -> int:
    build_images(layout)
    for name, reference in push_images(layout, facts.load(layout.name)).items():
        print(f"{name} {reference}")
    return 0


def _prepare(layout: Layout, _options: argparse.Namespace) -> int:
    lifecycle.provide_tools()
    # Side by side: compiling waits for linkers, image builds for disk and network.
    images_built = in_background(lambda: build_images(layout))
    found = lifecycle.up(layout)
    images_built()
    push_images(layout, found)
    return 0


def _browser(_layout: Layout, _options: argparse.Namespace) -> int:
    lifecycle.provide_browser()
    return 0


def _kueue(layout: Layout, _options: argparse.Namespace) -> int:
    kueue.install(layout, facts.load(layout.name))
    return 0


def _down(layout: Layout, options: argparse.Namespace) -> int:
    lifecycle.down(layout, purge=options.purge)
    return 0


def _status(layout: Layout, _options: argparse.Namespace) -> int:
    healthy, lines = lifecycle.status(layout)
    print("\n".join(lines))
    return 0 if healthy else 1


def _env(layout: Layout, _options: argparse.Namespace) -> int:
    print(facts.shell_lines(facts.load(layout.name)), end="")
    return 0


_COMMANDS: dict[str, tuple[Callable[[Layout, argparse.Namespace], int], str]] = {
    "doctor": (_doctor, "say what this machine lacks"),
    "build": (_build, "install and compile what is missing; done once"),
    "up": (_up, "start the cluster and wait until pods can run"),
    "images": (_images, "build both images, push them to the cluster's registry, print their references"),
    "prepare": (_prepare, "build, up and images: all that tests and the demo need"),
    "browser": (_browser, "install the browser that tests of HTML pages use"),
    "kueue": (_kueue, "build Kueue and install it in the running cluster: minutes, once"),
    "down": (_down, "stop it; its data stays unless --purge is given"),
    "status": (_status, "one line per component; exit code 1 if any does not run"),
    "env": (_env, "print shell assignments: KUBECONFIG, S3 as administrator, registry"),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="localcluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, summary) in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument("--name", default="default", help="which cluster (default: %(default)s)")
        if name == "down":
            command.add_argument("--purge", action="store_true", help="delete the cluster's data too")
    return top


def main() -> int:
    """Run one command; a failure is one message on stderr and exit code 1."""
    options = parser().parse_args()
    handler, _ = _COMMANDS[options.command]
    try:
        return handler(layout_of(options.name), options)
    except (RuntimeError, TimeoutError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
