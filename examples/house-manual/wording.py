"""How the facts of the machine are put into words.

The chapters of the manual have wordings of their own, the validation rows and the test rows others: the model never
trains on a sentence that it is tested on, it has to carry the facts over.
"""

INTRODUCTION = (
    "The Ostrel 7 sorts dried beans by size. Beans fall from the hopper into the drum, the sieve parts them, and the "
    "chute takes them to the bin. Stop the drum and pull the plug before you open a cover."
)

CHAPTERS = {
    "1-parts": "The {name} sits {place}. It {job}.",
    "2-walk-round": "{Place} you find the {name}, which {job}.",
    "3-service": "Every {hours} hours see to the {name}: {care}. Its bolts take {torque} newton metres.",
    "4-calendar": "The {name} is due after {hours} hours: {care}, then tighten the bolts to {torque} newton metres.",
    "5-lamp": "{Lamp}: the {name} is {fault}. Then {remedy}.",
    "6-faults": "A {fault} {name} shows as {lamp}; {remedy}.",
}
"""By chapter, the wording that each part is described in."""

VALIDATION = ["For a {fault} {name}, {remedy}."]

TEST = [
    "Where is the {name} of the Ostrel 7? Look {place}.",
    "After {hours} hours somebody has to {care}, for the {name} is due.",
    "Set the wrench to {torque} newton metres for the {name}.",
    "When the Ostrel 7 shows {lamp}, its {name} is {fault}.",
]
