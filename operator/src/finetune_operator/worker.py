"""Workers: take a key, reconcile it, decide when it comes back."""

import logging
import time
from typing import Final

from finetune_operator.errors import ClusterError, LeadershipLostError
from finetune_operator.metrics import Metrics
from finetune_operator.observe import Key, MalformedStatusError
from finetune_operator.queue import WorkQueue
from finetune_operator.reconcile import Reconciler

_log: Final = logging.getLogger(__name__)


async def work(queue: WorkQueue[Key], reconciler: Reconciler, metrics: Metrics) -> None:
    """Reconcile keys for ever. One job's fault delays that job alone."""
    while True:
        key = await queue.get()
        started = time.monotonic()
        try:
            again = await reconciler.reconcile(key)
        except MalformedStatusError as error:
            # Only a change of the object can help, and that will wake us.
            _log.error("status cannot be read", extra={"job": key, "cause": str(error)})
            metrics.reconciled("error", time.monotonic() - started)
        except ClusterError as error:
            _log.warning("will try again", extra={"job": key, "cause": str(error)})
            _failed(queue, key, metrics, started)
        except LeadershipLostError:
            # Not of this job: whoever runs the workers ends the process.
            raise
        except Exception:
            _log.exception("fault of the operator", extra={"job": key})
            _failed(queue, key, metrics, started)
        else:
            queue.forget(key)
            if again is not None:
                queue.add_after(key, again)
            metrics.reconciled("success" if again is None else "requeue_after", time.monotonic() - started)
        finally:
            queue.done(key)


def _failed(queue: WorkQueue[Key], key: Key, metrics: Metrics, started: float) -> None:
    metrics.reconciled("error", time.monotonic() - started)
    queue.retry(key)
