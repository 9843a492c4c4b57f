"""The words the order messages are composed from, and what each one means in the record.

Lists whose name ends in `_HELD_OUT` are used by test rows only, so that a good score on the test rows shows
rules learnt and not sentences remembered.
"""

QUANTITIES: dict[str, int] = {
    "a": 1, "one": 1, "two": 2, "a couple of": 2, "a pair of": 2, "three": 3, "four": 4, "five": 5,
    "six": 6, "half a dozen": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12,
    "a dozen": 12, "fifteen": 15, "twenty": 20, "two dozen": 24, "thirty": 30, "3": 3, "4": 4, "8": 8,
    "14": 14, "16": 16, "25": 25, "40": 40,
}  # fmt: skip

SIZES: dict[str, str] = {
    "": "-", "small": "S", "tiny": "S", "little": "S", "medium": "M", "mid-size": "M",
    "large": "L", "big": "L", "extra large": "XL", "huge": "XL",
}  # fmt: skip

DAYS: dict[str, str] = {
    "Monday": "Mon", "Tuesday": "Tue", "Wednesday": "Wed", "Thursday": "Thu", "Friday": "Fri",
    "Saturday": "Sat", "Sunday": "Sun",
}  # fmt: skip

DAY_PHRASES = ["by {day}", "on {day}", "for {day}", "before {day}", "this {day}", "no later than {day}"]

URGENT_PHRASES = ["right away", "as soon as you can", "today", "urgently", "immediately", "asap"]

ITEMS: dict[str, str] = {
    "mugs": "mug", "towels": "towel", "chairs": "chair", "lamps": "lamp", "boxes": "box",
    "blankets": "blanket", "notebooks": "notebook", "aprons": "apron", "candles": "candle",
    "baskets": "basket", "plates": "plate", "bottles": "bottle", "trays": "tray", "hammers": "hammer",
    "brushes": "brush", "buckets": "bucket", "cushions": "cushion", "desk fans": "desk fan",
    "envelopes": "envelope", "folders": "folder", "gloves": "glove", "jackets": "jacket",
    "knives": "knife", "ladders": "ladder", "mirrors": "mirror", "napkins": "napkin",
    "pillows": "pillow", "pots": "pot", "rugs": "rug", "scarves": "scarf", "shelves": "shelf",
    "spoons": "spoon", "tables": "table", "tents": "tent", "tea trays": "tea tray",
    "trolleys": "trolley", "vases": "vase", "wall clocks": "wall clock", "whistles": "whistle",
    "bags": "bag",
}  # fmt: skip

ITEMS_HELD_OUT: dict[str, str] = {
    "brooms": "broom", "door mats": "door mat", "hats": "hat", "kites": "kite", "pencils": "pencil",
    "ropes": "rope", "sofas": "sofa", "spades": "spade", "stools": "stool", "teapots": "teapot",
}  # fmt: skip

FRAMES = [
    "Please send us {order} {when}.",
    "Can I get {order} {when}?",
    "We need {order} {when}, please.",
    "Could you deliver {order} {when}?",
    "I'd like to order {order} {when}.",
    "{when} we will need {order}.",
    "Our shop is out again: {order} {when}.",
    "Put me down for {order} {when}.",
    "{order} {when}, thanks.",
    "The kitchen is asking for {order} {when}.",
    "Is it possible to have {order} {when}?",
    "Just {order} this time, {when}.",
    "New order from the office: {order} {when}.",
    "Looking for {order} {when}.",
    "Hello, {order} {when} would be great.",
    "My manager wants {order} {when}.",
]

FRAMES_HELD_OUT = [
    "Would you put aside {order} {when}?",
    "The hotel has asked me for {order} {when}.",
    "{when} I must have {order}.",
    "Do add {order} {when} to our account.",
    "We are short of {order} {when}.",
    "Happy to take {order} {when}, thank you.",
]

CLOSINGS = [
    "",
    "",
    "",
    "Regards, Ana.",
    "It is for the Leeds branch.",
    "Cheers, Tom.",
    "Same address as before.",
]
