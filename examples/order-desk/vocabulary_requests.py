"""The words of the second task, requests about an order that was made: which action each sentence asks for.

Each action has its sentences for training and others, in `SENTENCES_HELD_OUT`, that only test rows use.
"""

SENTENCES: dict[str, list[str]] = {
    "cancel": [
        "Please cancel order {number}.",
        "We don't need order {number} any more.",
        "Can you stop order {number}?",
        "Take order {number} off the list, we changed our mind.",
    ],
    "track": [
        "Where is order {number}?",
        "Has order {number} left your shop?",
        "When will order {number} get here?",
        "Any news of order {number}?",
    ],
    "return": [
        "We are sending order {number} back.",
        "Order {number} came broken, please collect it.",
        "How do I give back what came with order {number}?",
        "I'd like to return order {number}.",
    ],
    "bill": [
        "I never got a bill for order {number}.",
        "Send me the bill for order {number} again.",
        "The sum on the bill for order {number} is wrong.",
        "Who is to pay order {number}? I need it in writing.",
    ],
}

SENTENCES_HELD_OUT: dict[str, list[str]] = {
    "cancel": ["Forget about order {number}, please.", "Is it too late to call off order {number}?"],
    "track": ["Order {number} should have been here on Monday.", "I am still waiting for order {number}."],
    "return": ["Order {number} is the wrong size, you can have it back.", "Order {number} has to go back to you."],
    "bill": ["Our bookkeeper asks for the bill of order {number}.", "Could you print order {number}'s bill once more?"],
}

OPENINGS = ["", "", "", "Hello. ", "Good morning. ", "A question: "]
