"""Where things lie under `spec.output.uri`; every writer and reader takes the keys from here.

manifest.json                    the commit of the final result, written last and once
promoted.json                    which artifact to serve; moved only past the gates (or under spec.output.promoteUri)
preflight.json                   the newest preflight report
prepared.json                    resolved settings, and where the token ids lie
data_report.html, .json          what is in the data
quarantine.jsonl                 bad rows, where spec.data.onBadRow is quarantine
epochs/0001.json                 claim of attempt 1
runs/0001/adapter/...            adapter in PEFT's layout; runs/0001/model/... for a whole model
runs/0001/merged/...             the whole model with the adapter merged in, where spec.output.merged asks for it
runs/0001/promoted.json          what promoted.json was made to say, once it was
runs/0001/report.json            full report; report.html, metrics.jsonl and examples.jsonl beside it
evaluations/<key>/...            answers measured so far, for an attempt that goes on
reruns/<runId>/...               all of this again, of a job with spec.runId, but for promoted.json
checkpoints/0001-00000040/...    state after step 40, its manifest.json written last (or under spec.checkpoint.uri,
                                 where checkpoints/owner.json names the output that they belong to)
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class OutputLayout:
    """Keys of one job's output, as full URIs."""

    root: str
    """`spec.output.uri` without a trailing slash, or the folder of a named run under it."""
    checkpoint_root: str
    """`spec.checkpoint.uri`, or else the root."""
    promoted_root: str
    """`spec.output.promoteUri`, or else the output's: the runs of a job improve one model."""
    output_root: str
    """`spec.output.uri` without a trailing slash."""

    @classmethod
    def of(
        cls,
        output_uri: str,
        *,
        run_id: str | None = None,
        checkpoint_uri: str | None = None,
        promote_uri: str | None = None,
    ) -> "OutputLayout":
        """The layout under a user's output URI; `spec.checkpoint` and `spec.output` may lead elsewhere."""
        output = output_uri.rstrip("/")
        folder = f"/reruns/{run_id}" if run_id else ""
        return cls(
            root=output + folder,
            checkpoint_root=(checkpoint_uri or output).rstrip("/") + folder,
            promoted_root=(promote_uri or output).rstrip("/"),
            output_root=output,
        )

    @property
    def manifest(self) -> str:
        """The commit of the final result."""
        return f"{self.root}/manifest.json"

    @property
    def promoted(self) -> str:
        """Which artifact to serve."""
        return f"{self.promoted_root}/promoted.json"

    @property
    def preflight(self) -> str:
        """The newest preflight report."""
        return f"{self.root}/preflight.json"

    @property
    def prepared(self) -> str:
        """Resolved settings, and where the token ids lie."""
        return f"{self.root}/prepared.json"

    def data_report(self, ending: Literal["html", "json"]) -> str:
        """What is in the data, for people and for programs."""
        return f"{self.root}/data_report.{ending}"

    @property
    def quarantine(self) -> str:
        """Rows that cannot be used."""
        return f"{self.root}/quarantine.jsonl"

    @property
    def prepared_stores(self) -> str:
        """Prefix of prepared data that outputs side by side share: in their folder, or of an only one in itself."""
        bucket, _, key = self.output_root.removeprefix("s3://").partition("/")
        folder = key.rpartition("/")[0]
        return f"s3://{bucket}/{folder}/.prepared/" if folder else f"{self.output_root}/.prepared/"

    @property
    def epochs(self) -> str:
        """Prefix of the attempts' claims."""
        return f"{self.root}/epochs/"

    def epoch(self, epoch: int) -> str:
        """The claim of one attempt."""
        return f"{self.epochs}{epoch:04d}.json"

    @property
    def runs(self) -> str:
        """Prefix of everything that attempts publish."""
        return f"{self.root}/runs/"

    def run(self, epoch: int) -> str:
        """Prefix of everything one attempt publishes."""
        return f"{self.runs}{epoch:04d}/"

    def promotion(self, epoch: int) -> str:
        """Says that the result of an attempt has had its turn as the promoted one."""
        return f"{self.run(epoch)}promoted.json"

    @property
    def evaluations(self) -> str:
        """Prefix of everything that was measured so far."""
        return f"{self.root}/evaluations/"

    def evaluation(self, key: str) -> str:
        """Prefix of the answers that one model has given so far."""
        return f"{self.evaluations}{key}/"

    @property
    def checkpoints(self) -> str:
        """Prefix of all checkpoints."""
        return f"{self.checkpoint_root}/checkpoints/"

    @property
    def checkpoint_owner(self) -> str:
        """Which output the checkpoints belong to, where they lie elsewhere."""
        return f"{self.checkpoints}owner.json"

    def checkpoint(self, epoch: int, step: int) -> str:
        """Prefix of one checkpoint."""
        return f"{self.checkpoints}{epoch:04d}-{step:08d}/"
