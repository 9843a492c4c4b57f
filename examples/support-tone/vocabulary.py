"""The pieces the answers of a made-up web shop's support desk are composed from.

The house style: say what went wrong, say what happens next and when, in two plain sentences. Each list of faults
breaks one rule of it.

Lists whose name ends in `_HELD_OUT` are used by test rows only, so that a good score on the test rows shows the style
learnt and not phrases remembered.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """What a customer writes about."""

    message: str
    """With {product}."""
    sorry: str
    """Completes `Sorry that ...`."""
    step: str
    """Completes `We will ... by Monday`."""
    blame: str
    """The same, put as the customer's mistake."""


PROBLEMS = [
    Problem(
        "My {product} has not arrived yet.",
        "your {product} is late",
        "trace the parcel and write to you",
        "You should have been at home when the {product} came",
    ),
    Problem(
        "The {product} came with a crack in it.",
        "your {product} came damaged",
        "send you a new one",
        "You must have dropped the {product}",
    ),
    Problem(
        "You sent me the wrong {product}.",
        "you got the wrong {product}",
        "collect it and send the right one",
        "You must have clicked on the wrong {product}",
    ),
    Problem(
        "I was charged twice for the {product}.",
        "you were charged twice for your {product}",
        "pay the second sum back",
        "You probably pressed the button twice for that {product}",
    ),
    Problem(
        "A part of my {product} is missing.",
        "a part of your {product} is missing",
        "post the missing part",
        "You have surely thrown a part of the {product} away",
    ),
    Problem(
        "The {product} stopped working after a week.",
        "your {product} stopped working",
        "repair or replace it",
        "You have surely used the {product} in the wrong way",
    ),
]
PROBLEMS_HELD_OUT = [
    Problem(
        "The lid of the {product} does not fit.",
        "the lid of your {product} does not fit",
        "send you a lid that fits",
        "You must be closing the {product} the wrong way",
    ),
    Problem(
        "I never got a bill for the {product}.",
        "the bill for your {product} is missing",
        "send the bill again",
        "You must have deleted the bill for the {product}",
    ),
]

PRODUCTS = ["kettle", "tent", "lamp", "rucksack", "teapot", "clock", "toaster", "blanket", "radio", "bike pump"]
PRODUCTS_HELD_OUT = ["scooter", "bookshelf", "umbrella", "hand mixer"]

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]

ASIDES = ["", " What now?", " Can you help?", " Please advise.", " I need it soon."]

VAGUE = [
    "We will look into it at some point.",
    "Somebody may get back to you.",
    "These things take the time they take.",
    "We will see what can be done.",
]
VAGUE_HELD_OUT = ["It will be dealt with in due course.", "Perhaps a colleague knows more."]

PADDING = [
    "Here at the desk we value each and every customer and never tire of saying so.",
    "As you may know, our shop has a long history, and service has been at the heart of it from the first day.",
    "Please rest assured that your message has been read with the greatest possible care and attention.",
]
PADDING_HELD_OUT = [
    "It goes without saying that your trust in us is of the very highest importance to all of our team."
]

SLANG = ["Oops, my bad!", "Yikes, that sucks!", "Oh man, bummer!", "Whoa, no way!"]
SLANG_HELD_OUT = ["Ugh, so lame!", "Ouch, epic fail!"]

COLD = ["That is how it is.", "This is not our fault.", "We get many such messages.", "It happens."]
COLD_HELD_OUT = ["There is nothing odd about that.", "Others wait longer."]

GUSH = [
    "Oh no, we are so very, very sorry and quite ashamed that {sorry}!",
    "A thousand apologies from all of us, we can hardly believe that {sorry}!",
    "We are truly heartbroken and beg you to forgive us that {sorry}!",
]
GUSH_HELD_OUT = ["Words fail us, and we may never get over the fact that {sorry}!"]
