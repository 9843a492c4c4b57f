"""Whether a server takes the artifact as it is, by the server's own rules.

vLLM's for adapters are those of its `PEFTHelper` (vllm/lora/peft_helper.py): no DoRA, no modules_to_save, no trained
biases, and a rank up to `--max-lora-rank`, which is 16 unless set. They were read, the server was not asked.
"""

import json
from typing import Final

from finetune_api.report import Servable
from finetune_trainer.artifact import SavedArtifact
from finetune_trainer.parent import ADAPTER_CONFIG

VLLM_RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` may be."""
_VLLM_DEFAULT_RANK: Final = 16


def servable(artifact: SavedArtifact) -> Servable:
    """What vLLM makes of a saved artifact."""
    if artifact.kind == "model":
        return _whole_model(json.loads((artifact.directory / "config.json").read_text()))
    config = json.loads((artifact.directory / ADAPTER_CONFIG).read_text())
    against = [
        text
        for applies, text in (
            (config.get("use_dora"), "vLLM refuses DoRA adapters"),
            (config.get("modules_to_save"), "vLLM refuses adapters with whole modules in them (modules_to_save)"),
            (config.get("bias", "none") != "none", "vLLM refuses adapters with trained biases"),
        )
        if applies
    ]
    if against:
        return Servable(vllm=False, why=f"{'; '.join(against)}: set spec.output.merged to get a whole model")
    return _adapter(max([config["r"], *config.get("rank_pattern", {}).values()]))


def _adapter(rank: int) -> Servable:
    if rank <= _VLLM_DEFAULT_RANK:
        return Servable(vllm=True, why=f"--enable-lora; rank {rank} needs nothing else")
    needed = next((each for each in VLLM_RANKS if each >= rank), None)
    if needed is None:
        return Servable(vllm=False, why=f"rank {rank} is above vLLM's largest, {VLLM_RANKS[-1]}")
    return Servable(vllm=True, why=f"--enable-lora --max-lora-rank {needed}")


def _whole_model(config: dict[str, list[str]]) -> Servable:
    architecture = config["architectures"][0]
    if architecture.endswith("ForCausalLM"):
        return Servable(vllm=True, why=f"a whole model: served as any {architecture} is")
    return Servable(vllm=True, why=f"a whole model with a head: served as a pooling model ({architecture})")
