"""How steps are computed: another way gives the same result but for rounding, and what dropout draws."""

from dataclasses import asdict, dataclass

from finetune_trainer.changes import changed_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What the steps of an attempt, and with them a checkpoint, came about by."""

    world_size: int
    """Processes that train together."""
    packing: bool
    """Whether rows were packed without padding, as the probe of this run decided."""
    micro_batch_tokens: int
    compiled: bool = False
    """Whether layers were compiled."""
    recomputed: bool = False
    """Whether activations were computed again in the backward pass."""
    random_state: str = "none is kept: every step seeds from (seed, step, rank)"
    """For people who look for it."""

    def summary(self, predicted_bytes: int | None) -> str:
        """A line for people, with the memory of the GPU that it is to take where that was measured."""
        parts = {
            f"micro-batches of {self.micro_batch_tokens} tokens": True,
            "packed" if self.packing else "padded": True,
            "layers compiled": self.compiled,
            "activations computed again": self.recomputed,
            f"{self.world_size} processes": self.world_size > 1,
            f"{(predicted_bytes or 0) / 1e9:.1f} GB predicted": predicted_bytes is not None,
        }
        return ", ".join(part for part, holds in parts.items() if holds)

    def changes_since(self, before: "Execution") -> str:
        """What is computed otherwise than before, by the names that checkpoints use; empty where nothing is."""
        return changed_settings(_named(before), _named(self))


def _named(execution: Execution) -> dict[str, object]:
    return {_camel(name): value for name, value in asdict(execution).items()}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.title, others))
