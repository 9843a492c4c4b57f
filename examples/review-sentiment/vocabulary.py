"""The words the reviews are composed from, and the frames that decide what a review says of its product.

A frame has a polarity of its own: `+` keeps that of the adjective in it, `-` turns it round, `0` makes no judgement at
all. Every adjective goes through every kind of frame, so no word alone gives a label away.

Lists whose name ends in `_HELD_OUT` are used by test rows only, so that a good score on the test rows shows rules
learnt and not phrases remembered.
"""

PRODUCTS = [
    "kettle", "desk lamp", "rucksack", "tent", "toaster", "rain jacket", "bike pump", "frying pan", "alarm clock",
    "office chair", "garden hose", "travel mug", "wool blanket", "bread knife", "hand mixer", "door bell",
]  # fmt: skip
PRODUCTS_HELD_OUT = ["sleeping bag", "tea strainer", "bookshelf", "head torch", "lawn mower", "umbrella"]

GOOD = ["good", "sturdy", "handy", "quiet", "comfortable", "lovely", "reliable", "well made"]
GOOD_HELD_OUT = ["excellent", "pleasant", "solid", "clever"]

BAD = ["bad", "flimsy", "clumsy", "noisy", "useless", "ugly", "disappointing", "badly made"]
BAD_HELD_OUT = ["awful", "fragile", "dull", "annoying"]

KEEPING = [
    "The {product} is {word}.",
    "This {product} is really {word}.",
    "After a month I still find the {product} {word}.",
    "What a {word} {product}.",
    "My sister calls the {product} {word}, and she is right.",
    "I thought the {product} would be {opposite}, but it is {word}.",
    "They said the {product} was {opposite}. They were wrong, it is {word}.",
    "Others find the {product} {opposite}; I find it {word}.",
]
KEEPING_HELD_OUT = [
    "The {product} was said to be {opposite}; to me it is {word}.",
    "A {word} {product}, whatever others say.",
    "The old one was {opposite}. The new {product} is {word}.",
]

TURNING = [
    "The {product} is not {word} at all.",
    "This {product} is anything but {word}.",
    "I would never call this {product} {word}.",
    "The {product} is far from {word}.",
    "Nobody can say that the {product} is {word}.",
    "My brother calls the {product} {word}, but he is wrong.",
    "I thought the {product} would be {word}, but it is not.",
    "They said the {product} was {word}. It is the opposite.",
]
TURNING_HELD_OUT = [
    "The {product} was said to be {word}; I can't agree.",
    "There is nothing {word} about this {product}.",
    "The old one was {word}. The new {product} isn't.",
]

SILENT = [
    "I can't say yet whether the {product} is {word}.",
    "Is the {product} {word} or {opposite}? I have not tried it.",
    "I have not opened the {product} yet.",
    "My neighbour asked me if the {product} is {word}.",
    "The {product} is a present, so I don't know if it is {word}.",
    "The {product} comes in blue and in grey.",
    "Some find the {product} {word}, others {opposite}. I have no view.",
    "The {product} came in a box with two spare parts.",
]
SILENT_HELD_OUT = [
    "Whether the {product} is {word} I will only know next week.",
    "The {product} has gone to my parents; ask them if it is {word}.",
    "The {product} weighs as much as the old one.",
]

OPENINGS = ["", "", "Ordered in May. ", "Second one I own. ", "It came on Friday. "]
