"""The Ostrel 7, a machine that does not exist: what its parts are for, and how they are looked after.

Every sentence of the manual and of its test rows is made from these facts, so that they never contradict each other.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One part of the machine."""

    name: str
    place: str
    """Completes `It sits ...`."""
    job: str
    """Completes `It ...`."""
    hours: int
    """Hours of work between two services."""
    care: str
    """What is done then, as an order."""
    torque: int
    """Newton metres of its bolts."""
    lamp: str
    """What the lamp shows when it fails."""
    fault: str
    """Completes `It is ...`."""
    remedy: str
    """What mends it, as an order."""


PARTS = [
    Part(
        "glean plate", "under the hopper", "lets small stones fall out of the beans",
        60, "brush the plate", 14, "one amber flash", "clogged", "knock the plate free with the wooden peg",
    ),
    Part(
        "hush valve", "behind the left cover", "slows the air before it reaches the drum",
        200, "oil the stem", 9, "two amber flashes", "stuck", "turn the stem by hand",
    ),
    Part(
        "tally wheel", "on the drum shaft", "counts the turns of the drum",
        400, "wipe the teeth", 6, "three amber flashes", "slipping", "press the wheel back onto its pin",
    ),
    Part(
        "ember fuse", "in the lower box", "cuts the heater when the drum stands still",
        800, "change the wire", 4, "one red flash", "blown", "fit a new wire from the tin",
    ),
    Part(
        "sway arm", "beside the chute", "shakes the sieve from side to side",
        120, "grease both joints", 22, "two red flashes", "bent", "swap the arm for the spare one",
    ),
    Part(
        "brim sensor", "at the rim of the bin", "stops the feed when the bin is full",
        100, "polish the lens", 3, "three red flashes", "blind", "clear the dust off the lens",
    ),
    Part(
        "drift belt", "between the motor and the drum", "carries the power of the motor",
        300, "check the tension", 18, "a steady amber light", "loose", "move the motor back by a finger's width",
    ),
    Part(
        "murmur pump", "below the tank", "brings oil to the four bearings",
        500, "rinse the filter", 11, "a steady red light", "dry", "fill the tank to the upper mark",
    ),
]  # fmt: skip
