"""The operator's settings: read once from flags or environment, frozen, and passed to whoever needs them."""

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Final

from pydantic import ValidationError

from finetune_operator import quantity
from finetune_operator.admin import Admin

ENVIRONMENT_PREFIX: Final = "FINETUNE_OPERATOR_"


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _amounts(text: str) -> tuple[tuple[str, int], ...]:
    try:
        pairs = [pair.split("=", 1) for pair in _names(text)]
        return tuple((name, quantity.parse(amount)) for name, amount in pairs)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form nvidia.com/gpu=80Gi,...: {error}") from error


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """JSON, because the value of an annotation may hold any sign."""
    try:
        return tuple((name, str(value)) for name, value in json.loads(text).items())
    except (ValueError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object") from error


def _proxy(text: str) -> str:
    """A proxy's URL; it stands in every pod, where whoever may look at pods would read a password in it."""
    if text and ("@" in text or not text.startswith(("http://", "https://"))):
        raise argparse.ArgumentTypeError("a proxy is http://host:port or https://host:port, without user and password")
    return text


def _admin(text: str) -> Admin:
    try:
        return Admin.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(["admin", *map(str, fault["loc"])])
        raise argparse.ArgumentTypeError(f"{where}: {fault['msg']}") from error


def _truth(text: str) -> bool:
    words = {"true": True, "false": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return words[text.lower()]


def _place(text: str) -> tuple[str, str] | None:
    namespace, _, name = text.partition("/")
    if text and not (namespace and name):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form namespace/name")
    return (namespace, name) if text else None


_PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "namespaces": _names,
    "gpu_memory": _amounts,
    "kueue": _truth,
    "fixed_user": _truth,
    "lease": _place,
    "image_pull_secrets": _names,
    "pod_labels": _pairs,
    "pod_annotations": _pairs,
    "http_proxy": _proxy,
    "https_proxy": _proxy,
    "admin": _admin,
}
"""Of settings whose type does not parse its own text."""


def _flag(meaning: str, default: Any = MISSING) -> Any:
    """A setting that is a flag and an environment variable by its own name."""
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a platform team can choose when it installs the operator."""

    trainer_image: str = _flag("image of preflight and training pods; name@sha256:... pins it for good")
    image_pull_secrets: tuple[str, ...] = _flag("Secrets in each job's namespace to pull the trainer image with", ())
    pod_labels: tuple[tuple[str, str], ...] = _flag("labels of preflight and training pods, as JSON", ())
    pod_annotations: tuple[tuple[str, str], ...] = _flag("annotations of preflight and training pods, as JSON", ())
    fixed_user: bool = _flag("whether pods ask to run as user 65532; else the cluster gives them one", True)
    http_proxy: str = _flag("proxy of preflight and training pods for http://", "")
    https_proxy: str = _flag("proxy of preflight and training pods for https://", "")
    no_proxy: str = _flag("hosts that preflight and training pods reach without the proxy, separated by commas", "")
    ca_config_map: str = _flag("ConfigMap in each job's namespace with the CA for S3, where the job names none", "")
    ca_key: str = _flag("key of the CA in ca_config_map", "ca.crt")
    namespaces: tuple[str, ...] = _flag("namespaces to serve, separated by commas; empty for the whole cluster", ())
    preflight_cpu: str = _flag("CPU of a preflight pod; tokenizing large data takes one core and more", "1")
    preflight_memory: str = _flag("memory of a preflight pod, of which streaming data takes at most 1 GB", "2Gi")
    preflight_scratch: str = _flag("disk of a preflight pod, for data sets and tokenizer", "10Gi")
    preflight_queue: str = _flag("Kueue's LocalQueue for preflight Jobs, by name in each namespace; empty for none", "")
    kueue: bool = _flag("whether to work with Kueue: needed by spec.scheduling.queue and preflight_queue", False)
    queue_seconds: float = _flag("shortest time between two looks at a job's place in its queue; 0 for none", 30.0)
    gpu_memory: tuple[tuple[str, int], ...] = _flag(
        "memory of one GPU by resource, nvidia.com/gpu=80Gi,...; else node labels tell, where nodes may be listed", ()
    )
    lease: tuple[str, str] | None = _flag(
        "namespace/name of the Lease by which several operators agree on who acts; empty for one that is alone", None
    )
    admin: Admin = _flag("what jobs may ask for, and their defaults, as JSON (docs/admin.md)", Admin())  # noqa: RUF009
    workers: int = _flag("FinetuneJobs reconciled at the same time", 16)
    requests_per_second: float = _flag("requests to the API server a second, with bursts of two seconds' worth", 200.0)
    resync_seconds: float = _flag("seconds between comparisons of the cache with the cluster", 300.0)
    progress_seconds: float = _flag("shortest time between two progress updates of one job", 5.0)
    progress_per_second: float = _flag("progress updates a second over all jobs", 20.0)
    port: int = _flag("port of /healthz, /readyz and /metrics", 8080)
    trainer_metrics_port: int = _flag("port of /metrics in training pods; 0 for none", 0)
    log_level: str = _flag("DEBUG, INFO, WARNING or ERROR", "INFO")


def read_settings(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from flags, else `FINETUNE_OPERATOR_<FLAG>` variables, else defaults; exits 2 on a wrong one."""
    parser = _parser(environment)
    settings = Settings(**vars(parser.parse_args(arguments)))
    if settings.preflight_queue and not settings.kueue:
        parser.error("--preflight-queue names a queue of Kueue's: set --kueue=true too")
    if settings.admin.defaults.queue and not settings.kueue:
        parser.error("--admin defaults.queue names a queue of Kueue's: set --kueue=true too")
    return settings


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m finetune_operator",
        description="Watch FinetuneJobs and run their preflight and training Jobs.",
        epilog=f"Every flag can be set as {ENVIRONMENT_PREFIX}<FLAG>, for example {ENVIRONMENT_PREFIX}PORT.",
    )
    for setting in fields(Settings):
        value = environment.get(ENVIRONMENT_PREFIX + setting.name.upper(), setting.default)
        is_required = value is MISSING
        parser.add_argument(
            "--" + setting.name.replace("_", "-"),
            type=_PARSERS.get(setting.name, setting.type),
            required=is_required,
            default=None if is_required else value,
            help=setting.metadata["help"] + (" (required)" if is_required else " (default: %(default)s)"),
        )
    return parser
