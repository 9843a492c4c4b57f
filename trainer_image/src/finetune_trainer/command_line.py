"""The trainer's command line; the operator starts it with the request in an environment variable.

Whatever happens, a run ends with a report in the termination message and the exit code that belongs to it;
this is the one place that turns exceptions into both.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from finetune_api import mounts
from finetune_api.conditions import Reason
from finetune_api.exit_codes import ExitCode
from finetune_api.report import TrainerReport
from finetune_api.request import ENVIRONMENT_VARIABLE, TrainerRequest
from finetune_api.spec.model import Storage as StorageSpec
from finetune_api.termination_message import compact
from finetune_trainer import launch, libraries
from finetune_trainer.cleanup import clean_up
from finetune_trainer.context import Context, Draft, check_request, library_versions, utc_now
from finetune_trainer.errors import SettingsError, StopRequested, TrainerError
from finetune_trainer.failures import Redactor, as_failure, as_trainer_error, secrets_in
from finetune_trainer.import_model import HubModel, add_options, import_model
from finetune_trainer.place import Place, show_life
from finetune_trainer.preflight import preflight
from finetune_trainer.run import train_job
from finetune_trainer.signals import StopSignal
from finetune_trainer.start_up import StartUp
from finetune_trainer.storage import Storage
from finetune_trainer.threads import limit_threads
from finetune_trainer.verify import Sample, score_sample
from finetune_trainer.watchdog import Pulse, Watchdog, end_process

LOG: Final = logging.getLogger("finetune_trainer")
_LONG_SECONDS: Final = 1800.0
"""In which something has to move outside of training."""


def main(arguments: Sequence[str] | None = None, start_up: StartUp | None = None) -> int:
    """Run one command; the process's exit code. `start_up` began with the process."""
    start_up = start_up or StartUp()
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parse(arguments)
    redactor = _configure_logging(options.credentials_dir)
    LOG.info("%s begins", options.command)
    if options.command == "import-model":
        return _import_model(options, redactor)
    if options.command == "train" and (code := _launch(options, arguments)) is not None:
        return code
    libraries.restrain(options.work_dir)
    pulse = Pulse()
    stop = StopSignal(pulse.beat).install()
    if options.command == "verify":
        return _verify(options, stop, pulse)
    draft = Draft(_blank(options.command))
    context = None
    try:
        context = _connect(options, stop, draft, start_up)
        if Place.here().count > 1:
            # Before anybody watches: many processes that start at once are slow, and not hung.
            libraries.import_all(stop.check)
            start_up.ended("libraries")
        with _watchdog(context, pulse, options):
            report = _COMMANDS[options.command](context, options)
        code = ExitCode.SUCCESS
    except Exception as error:  # every failure must reach the user as a report
        failure = redactor.clean_error(as_trainer_error(error))
        code = failure.exit_code
        _log_failure(failure, error)
        outcome = "preempted" if isinstance(failure, StopRequested) else "failed"
        report = draft.add(outcome=outcome, failure=as_failure(failure))
        if context is not None:
            report = _keep(context, report)
    _leave(report, options.termination_message_path)
    return int(code)


def _preflight(context: Context, _options: argparse.Namespace) -> TrainerReport:
    libraries.hide_torch()
    return preflight(context)


def _train(context: Context, options: argparse.Namespace) -> TrainerReport:
    if Place.here().count == 1:
        return train_job(context, _locations(options))
    from finetune_trainer.together import train_together  # noqa: PLC0415  imports torch

    return train_together(context, _locations(options), _ender(context, options.termination_message_path))


def _launch(options: argparse.Namespace, arguments: Sequence[str]) -> int | None:
    """Start the processes that train together and wait for them; None where this process trains itself."""
    try:
        request = _request(os.environ)
    except SettingsError:
        return None  # told of in the usual way
    places = launch.places(request, os.environ)
    if not places:
        return None
    return launch.launch(
        places,
        arguments,
        work_dir=options.work_dir,
        message=options.termination_message_path,
        stall_seconds=60 * request.spec.training.guards.stall_minutes,
    )


def _import_model(options: argparse.Namespace, redactor: Redactor) -> int:
    """Bring a model from a hub into S3; the one command that reaches for a hub, and no part of any job."""
    stop = StopSignal().install()
    try:
        source = HubModel.of(options)
        spec = StorageSpec(endpoint=options.s3_endpoint, region=options.s3_region, path_style=options.s3_path_style)
        storage = Storage.connect(
            spec, credentials_dir=options.credentials_dir, ca_file=options.ca_file, check=stop.check
        )
        with stop.interrupting():
            import_model(source, storage, options.to, options.work_dir)
    except Exception as error:
        failure = redactor.clean_error(as_trainer_error(error))
        _log_failure(failure, error)
        return int(failure.exit_code)
    return int(ExitCode.SUCCESS)


def _cleanup(context: Context, _options: argparse.Namespace) -> TrainerReport:
    return clean_up(context)


_COMMANDS: Final[Mapping[str, Callable[[Context, argparse.Namespace], TrainerReport]]] = {
    "preflight": _preflight,
    "train": _train,
    "cleanup": _cleanup,
}


def _watchdog(context: Context, pulse: Pulse, options: argparse.Namespace) -> Watchdog:
    """What ends a command that hangs; and as long as it does not, tells the launcher that it is alive."""
    message_path = None if options.command == "verify" else options.termination_message_path
    limit = 60 * context.request.spec.training.guards.stall_minutes
    if options.command not in ("train", "verify"):
        # The setting is about steps of training; a template that never ends is not to keep a pod for ever.
        limit = max(limit, _LONG_SECONDS)
    return Watchdog(pulse, limit, _ender(context, message_path), on_look=show_life)


def _ender(context: Context, message_path: Path | None) -> Callable[[TrainerError], None]:
    """Ends the process at once, with its report in the termination message; none may be left to S3."""

    def end(failure: TrainerError) -> None:
        LOG.error("%s: %s. %s", failure.reason, failure.message, failure.advice)
        if message_path is not None:
            _leave(context.draft.add(outcome="failed", failure=as_failure(failure)), message_path)
        end_process(failure.exit_code)

    return end


def _verify(options: argparse.Namespace, stop: StopSignal, pulse: Pulse) -> int:
    """Score an adapter for the run that started this process, which judges what it says."""
    try:
        context = _connect(options, stop, Draft(_blank("train")), StartUp())
        with _watchdog(context, pulse, options):
            score = score_sample(context, Sample.model_validate_json(options.sample.read_text()))
    except Exception as error:
        failure = as_trainer_error(error)
        _log_failure(failure, error)
        sys.stdout.write(as_failure(failure).model_dump_json() + "\n")
        return int(failure.exit_code)
    sys.stdout.write(score.model_dump_json() + "\n")
    return 0


def _connect(options: argparse.Namespace, stop: StopSignal, draft: Draft, start_up: StartUp) -> Context:
    request = _request(os.environ)
    draft.add(spec_digest=request.spec_digest)
    check_request(request)
    limit_threads(request.spec.resources.cpu, Place.here().local_count)
    libraries.hide_bitsandbytes(request.spec.method.type)
    options.work_dir.mkdir(parents=True, exist_ok=True)
    storage = Storage.connect(
        request.spec.storage,
        credentials_dir=options.credentials_dir,
        ca_file=options.ca_file,
        check=stop.check,
    )
    return Context(request, storage, options.work_dir, stop, draft, utc_now, options.model_cache, start_up)


def _request(environment: Mapping[str, str]) -> TrainerRequest:
    try:
        return TrainerRequest.model_validate_json(environment.get(ENVIRONMENT_VARIABLE, ""))
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'request'}: {item['msg']}" for item in error.errors()[:3]
        )
        raise SettingsError(
            reason=Reason.INVALID_SPEC,
            message=f"environment variable {ENVIRONMENT_VARIABLE} does not hold a work order: {wrong}",
            advice="Use a trainer image of the same version as the operator.",
        ) from error


def _blank(kind: str) -> TrainerReport:
    return TrainerReport.model_validate(
        {"kind": kind, "outcome": "failed", "spec_digest": "", "libraries": library_versions()}
    )


def _log_failure(failure: TrainerError, error: Exception) -> None:
    unforeseen = failure.reason is Reason.INTERNAL
    LOG.error("%s: %s. %s", failure.reason, failure.message, failure.advice, exc_info=error if unforeseen else None)


def _keep(context: Context, report: TrainerReport) -> TrainerReport:
    """Leave the report of a failed attempt in S3 too, if it got as far as claiming an epoch and S3 answers.

    A result that another run has made has its report there already.
    """
    if (
        report.adopted
        or report.epoch is None
        or (report.failure and report.failure.reason is Reason.STORAGE_UNAVAILABLE)
    ):
        return report
    uri = f"{context.layout.run(report.epoch)}report.json"
    report = context.draft.add(report_uri=uri)
    report = _keep_page(context, report)
    try:
        context.storage.write(uri, report.model_dump_json(exclude_none=True, indent=2).encode())
    except TrainerError as error:
        LOG.warning("the report cannot be kept in S3: %s", error.message)
    return report


def _keep_page(context: Context, report: TrainerReport) -> TrainerReport:
    """Leave the page of a failed training run, for its curves; a stop request leaves no time for that."""
    if report.kind != "train" or report.outcome != "failed" or report.epoch is None:
        return report
    uri = f"{context.layout.run(report.epoch)}report.html"
    try:
        from finetune_trainer.result_files import failed_page  # noqa: PLC0415  imports torch

        page = failed_page(context)
        if page is None:
            return report
        context.storage.write(uri, page)
    except Exception as error:  # the failure that is told of must not be hidden by another
        LOG.warning("there is no page of this failure: %s: %s", type(error).__name__, error)
        return report
    return context.draft.add(page_uri=uri)


def _leave(report: TrainerReport, path: Path) -> None:
    """Write the termination message; where that is impossible the exit code still speaks."""
    try:
        path.write_text(compact(report))
    except OSError as error:
        LOG.error("the termination message cannot be written: %s", error)


def _configure_logging(credentials_dir: Path) -> Redactor:
    """Log to stderr, secrets masked; stdout belongs to progress lines."""
    redactor = Redactor(secrets_in(credentials_dir))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(redactor)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    LOG.setLevel(logging.INFO)
    return redactor


def _locations(options: argparse.Namespace) -> list[str]:
    """The options that say where things are mounted, for a process like this one."""
    names = ("work_dir", "model_cache", "credentials_dir", "ca_file")
    return [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in names]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m finetune_trainer", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    for name, default, meaning in (
        ("work-dir", mounts.WORK_DIR, "scratch disk"),
        ("model-cache", mounts.MODEL_CACHE_DIR, "base models that earlier jobs have left, if there is such a volume"),
        ("credentials-dir", mounts.CREDENTIALS_DIR, "the mounted S3 Secret, one file per key"),
        ("ca-file", mounts.CA_FILE, "certificate authority to trust for S3"),
        ("termination-message-path", mounts.TERMINATION_MESSAGE, "where the report goes"),
    ):
        shared.add_argument(f"--{name}", type=Path, default=Path(default), help=f"{meaning} (default: %(default)s)")
    commands.add_parser("preflight", parents=[shared], help="check model, data and output on a CPU")
    commands.add_parser("train", parents=[shared], help="train, evaluate, publish and verify an adapter")
    commands.add_parser("cleanup", parents=[shared], help="remove what a deleted job has left in S3")
    verify = commands.add_parser("verify", parents=[shared], help="score a published adapter (started by train)")
    verify.add_argument("--sample", type=Path, required=True, help="what to score, written by train")
    add_options(commands.add_parser("import-model", parents=[shared], help="bring a model from a hub into S3, once"))
    return parser.parse_args(arguments)
