"""One process's part in a run of several: to find the others, to train with them, and to end as they do."""

from collections.abc import Callable, Sequence

from finetune_api.report import TrainerReport
from finetune_trainer.context import Context
from finetune_trainer.errors import TrainerError
from finetune_trainer.failures import as_trainer_error
from finetune_trainer.peers import Peers
from finetune_trainer.place import Place
from finetune_trainer.ranks import Ranks
from finetune_trainer.run import train_job


def train_together(
    context: Context, verify_options: Sequence[str], end: Callable[[TrainerError], None]
) -> TrainerReport:
    """Train a job with the other processes of its run.

    Args:
        context: The process's surroundings.
        verify_options: Command-line options that lead the verifying process to S3.
        end: Ends this process at once; for when another one has failed and this one waits for it in vain.

    Raises:
        TrainerError: as `run.train_job`; RankLost where another process is at fault.

    """
    place, stall = Place.here(), 60 * context.request.spec.training.guards.stall_minutes
    peers = Peers.meet(place, context.stop, stall)
    try:
        peers.listen(end)
        report = train_job(context, verify_options, Ranks.join(place, peers.store, stall))
        if place.rank:
            peers.wait_for_first()
            report = context.draft.add(outcome="succeeded")
    except Exception as error:
        raise peers.part(as_trainer_error(error)) from error
    peers.finish()
    return report
