"""What the data report says about the text of rows: personal data, odd characters, near copies."""

import random

import pytest
from report_rows import Reporting

from finetune_trainer.data.problems import Source
from finetune_trainer.data.report.near import Signed, find_copies, signature
from finetune_trainer.data.report.oddities import find_oddities
from finetune_trainer.data.report.outline import outline
from finetune_trainer.data.report.pii import count_pii, is_card, is_iban

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
PERSONAL = {
    "email": ["bob@example.com", "mail <a.b+c@mail.example.co.uk>, please"],
    "phone": [
        "+49 (0) 171 1234567",
        "(555) 234-5678",
        "555-234-5678",
        "01 23 45 67 89",
        "0171 1234567",
        "+14155552671",
    ],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "pay BE68 5390 0754 7034 NOW"],
    "credit_card": ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "3782 822463 10005"],
    "national_id": ["078-05-1120", "QQ123456C".replace("QQ", "AB"), "12345678Z", "RSSMRA85T10A562S"],
    "ip_address": ["host 203.0.113.9", "203.0.113.9."],
    "api_key": [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "a1B2" * 9,
        "sk-proj-" + "x9" * 12,
        "sk_live_" + "4eC39HqLyjWDarjt",
        "hf_" + "aB" * 17,
        "AIza" + "S" * 35,
        "xoxb-123456789012-abcdef",
        JWT,
    ],
    "private_key": ["-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----"],
}
HARMLESS = [
    "version 1.2.3, 12.5 % of 1,000,000 on 2024-01-15 10:30:00",
    "order 4111 1111 1111 1112",
    "DE88 3704 0044 0532 0130 00",
    "000-12-3456",
    "1705312200000 and 1234567890123456",
    "12345678A",
    "1.2.3.4.5 and 300.1.1.1 and 127.0.0.1",
    "ask-a-question, task-based, risk-free",
    "a@b, @handle, x @ y.z",
    "0.1 + 0.25 = 0.35; 1000 2000 3000",
    "0000 0000 0000 0000",
    "-----BEGIN PUBLIC KEY-----",
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in PERSONAL.items() for text in texts])
def test_a_string_of_each_kind_is_counted_once(kind, text):
    for sentence in (text, f"a {text} b", f"({text})"):
        assert count_pii(sentence, outline(sentence)) == {kind: 1}


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_resembles_is_not_counted(text):
    assert count_pii(text, outline(text)) == {}


@pytest.mark.parametrize(
    "key",
    [
        *(f"{mark}{'A' * 16}" for mark in ("AKIA", "ASIA")),
        f"AIza{'a' * 35}",
        f"eyJ{'a' * 10}.eyJ{'a' * 10}.a",
        f"xoxb-{'a' * 10}",
        f"sk-{'a' * 20}",
        f"glpat-{'a' * 20}",
        f"ghp_{'a' * 36}",
        f"github_pat_{'a' * 22}",
        f"sk_live_{'a' * 16}",
        f"hf_{'a' * 30}",
    ],
)
def test_the_shortest_key_of_each_form_is_found(key):
    """The quick look that spares most rows the search must let every one of them through."""
    assert count_pii(key, outline(key)) == {"api_key": 1}


def test_luhn_finds_every_single_wrong_digit():
    right = "4111111111111111"
    assert is_card(right)
    wrong = [f"{right[:place]}{digit}{right[place + 1 :]}" for place in range(16) for digit in "0123456789"]
    assert not any(is_card(number) for number in wrong if number != right)


def test_iban_check_digits_find_a_swap():
    assert is_iban("DE89370400440532013000")
    assert not is_iban("DE89370400440532010300")
    assert not is_iban("DE89")


def test_personal_data_is_counted_by_row_and_by_string_and_its_first_place_is_told():
    reporting = Reporting()
    reporting.row("nothing here")
    reporting.row("write to a@example.com or b@example.com")
    reporting.row("c@example.com", side="test")
    (emails,) = reporting.finish().pii
    assert (emails.kind, emails.rows, emails.matches) == ("email", 2, 3)
    assert emails.first == "s3://team/train-0.jsonl:2"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("replacement", "caf\ufffd"),
        ("mojibake", "schÃ¶n"),
        ("mojibake", "itâ€™s"),
        ("mojibake", "Ð¿Ñ€Ð¸Ð²ÐµÑ‚"),  # noqa: RUF001
        ("control", "a\x07b"),
        ("control", "a\x9bb"),
        ("invisible", "pass\u200bword"),
        ("invisible", "\ufeffstart"),
        ("bidi", "user \u202etxt.exe"),
        ("not_nfc", "cafe\u0301"),
        ("mixed_script", "p\u0430ypal"),
    ],
)
def test_each_oddity_is_found_and_nothing_else(kind, text):
    assert find_oddities(text, outline(text)) == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "tab\tand\r\nline ends",
        "L'été à «CAFÉ», naïve façade, â la carte, 20 °C, £5",
        "Съешь ещё этих булок, ISO 9001",
        "日本語のテキスト 👩\u200d👧",
        "نص عربي",
        "“quoted” – dash … ½",  # noqa: RUF001
    ],
)
def test_ordinary_text_in_any_script_is_not_odd(text):
    assert find_oddities(text, outline(text)) == []


WORDS = ["order", "box", "paint", "truck", "ship", "late", "send", "red", "warehouse", "customer", "driver", "delay"]


def prose(seed: int, length: int = 60) -> list[str]:
    draw = random.Random(seed)
    return [f"{draw.choice(WORDS)}{draw.randrange(30)}" for _ in range(length)]


def signed(words: list[str], line: int) -> Signed:
    return Signed(Source("s3://team/a.jsonl", line), signature(" ".join(words)))


def test_an_edited_copy_is_found_and_unrelated_rows_are_not():
    rows = [signed(prose(seed), seed) for seed in range(300)]
    edited = prose(7)
    edited[30] = "elsewhere"
    within, across = find_copies([*rows, signed(edited, 1000)], [signed(edited[::-1], 2000)])
    assert [(pair.first, pair.second) for pair in within.pairs] == [("s3://team/a.jsonl:7", "s3://team/a.jsonl:1000")]
    assert within.pairs[0].similarity > 0.8
    assert (within.found, across.found) == (1, 0)


def test_a_test_row_that_is_nearly_a_training_row_is_told():
    reporting = Reporting()
    for seed in range(40):
        reporting.row(" ".join(prose(seed)))
    reporting.row(" ".join([*prose(3), "today"]), side="test")
    reporting.row(" ".join(prose(99)), side="test")
    report = reporting.finish()
    assert (report.near.test.found, report.near.test.compared, report.near.train.compared) == (1, 2, 40)
    assert report.near.test.pairs[0].first == "s3://team/train-0.jsonl:4"
    assert report.findings[0].message == "near copies of training rows among the test rows: 1 of 2 looked at"


def test_rows_of_one_template_with_different_content_are_no_copies():
    frame = "Classify the sentiment of the following review as positive or negative and answer with one word only: "
    rows = [Signed(Source("s3://team/a.jsonl", n), signature(frame + " ".join(prose(n, 30)))) for n in range(200)]
    assert find_copies(rows, [])[0].found == 0


def test_estimated_similarity_is_close_to_the_true_one():
    one, other = prose(1, 200), prose(1, 200)
    other[:10] = prose(2, 10)
    grams = [{" ".join(words).encode()[i : i + 8] for i in range(len(" ".join(words)) - 7)} for words in (one, other)]
    grams = [{gram.lower() for gram in each} for each in grams]
    true = len(grams[0] & grams[1]) / len(grams[0] | grams[1])
    estimate = (signature(" ".join(one)) == signature(" ".join(other))).mean()
    assert estimate == pytest.approx(true, abs=0.1)


def test_case_and_white_space_make_no_difference():
    text = " ".join(prose(1))
    assert (signature(text) == signature(f"  {text.upper()}\n".replace(" ", "\n"))).all()


def test_texts_too_short_to_tell_are_not_compared():
    assert signature("2 + 2 = 4") is None
    assert signature("") is None


def test_a_huge_row_is_read_at_its_ends_only():
    middle = "x" * 1_000_000
    start, end = " ".join(prose(1, 9000)), " ".join(prose(2, 9000))
    assert (signature(f"{start}{middle}{end}") == signature(f"{start}{middle}y{end}")).all()
