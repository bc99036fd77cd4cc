"""Spellings of a label, and typing slips: what is one label, what stays two, what a person decides."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.rows.conftest import CleanThese

from tuneloop.records import Row, content_id
from tuneloop.rows.labels import (
    one_letter_away,
    rare,
    reader_of,
    respelt,
    slip_doubts,
    spelling,
    spellings,
    typing_slips,
)


def row(number: int, label: str | tuple[str, ...]) -> Row:
    made = Row(id="", source=f"a.jsonl:{number}", text=f"text {number}", label=label)
    return Row(id=content_id(made), source=made.source, text=made.text, label=label)


@pytest.mark.parametrize(
    "label",
    [
        "Refund_Status", "REFUND STATUS", "refund-status", "refund  status", " refund_status ", "refund_status.",
        "refund_status:", "ｒｅｆｕｎｄ＿ｓｔａｔｕｓ", "refund　status", "refund status！", "refund–status",
        "refund__status",
    ],
)  # fmt: skip
def test_one_label_in_many_spellings(label: str) -> None:
    assert spelling(label) == spelling("refund_status")
    assert spellings({"refund_status": 30, label: 1}, {}) == {label: "refund_status"}


@pytest.mark.parametrize(
    "label",
    [
        "退款 申请", "退款\u3000申请", "退款申请\u200b", "\ufeff退款申请", "退\u200d款申请",
        "「退款申请」", "“退款申请”", "'退款申请'",
        "退款_申请", "退款-申请", "退款申请。", "『退款 申请』。",
    ],
)  # fmt: skip
def test_one_chinese_label_in_many_spellings(label: str) -> None:
    assert spellings({"退款申请": 30, label: 1}, {}) == {label: "退款申请"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "-1"), ("A", "A+"), ("A-", "A"), ("C", "C++"), ("C", "C#"), ("1.0", "10"), ("re-sign", "resign"),
        ("a/b", "ab"),
        ("refund", "refunds"), ("refund", "refnud"), ("心血管科", "血管科"), ("yes", "yes?"), ("2", "²"), ("(a)", "a"),
        ("+", "-"),
        ("a&b", "ab"),
        ("「", "」"), ('"a" or "b"', 'a" or "b'), ("退款（部分）", "退款"), ("5G 套餐", "G套餐"),
        ("...", "!"), ("v1.2", "v12"), ("order", "order_late"),
    ],
)  # fmt: skip
def test_what_says_something_else_is_another_label(one: str, other: str) -> None:
    assert spellings({one: 30, other: 1}, {}) == {}


@pytest.mark.parametrize("label", ["Fast Food &amp; Takeouts", "fast food & takeouts", "Fast-Food & Takeouts"])
def test_entities_are_a_spelling_too(label: str) -> None:
    assert spellings({"Fast Food & Takeouts": 9, label: 2}, {}) == {label: "Fast Food & Takeouts"}


@pytest.mark.parametrize(
    ("counts", "held_out", "names"),
    [
        ({"AA": 100, "Aa": 21}, {}, {}),  # both are frequent
        ({"AA": 100, "Aa": 20}, {}, {"Aa": "AA"}),
        ({"AA": 3, "Aa": 2}, {}, {"Aa": "AA"}),
        ({"AA": 4, "Aa": 3}, {}, {}),
        ({"AA": 2, "Aa": 2}, {}, {}),  # who is right?
        ({"AA": 1, "Aa": 1}, {}, {}),
        ({"AA": 100, "Aa": 3}, {"AA": 30, "Aa": 12}, {}),  # frequent among the held-out rows
        ({"AA": 100, "Aa": 3}, {"AA": 30, "Aa": 2}, {"Aa": "AA"}),
        ({"AA": 100, "Aa": 3}, {"AA": 3, "Aa": 30}, {}),
        ({"AA": 100, "Aa": 3}, {"Aa": 30}, {"Aa": "AA"}),  # another system's spelling
        ({"AA": 100, "Aa": 50, "aa": 1}, {}, {"aa": "AA"}),
        ({"b": 1, "B": 9, "B ": 2}, {}, {"b": "B", "B ": "B"}),
    ],
)
def test_only_what_is_rare_beside_it_is_merged(
    counts: dict[str, int], held_out: dict[str, int], names: dict[str, str]
) -> None:
    assert spellings(counts, Counter(held_out)) == names


def test_rare() -> None:
    assert rare(2, 3) and rare(20, 100) and not rare(21, 100) and not rare(3, 3) and not rare(0, 0)


def test_the_repair_is_recorded_row_by_row(cleaned: CleanThese) -> None:
    rows = [{"text": f"t{n}", "label": "refund_status"} for n in range(6)]
    found = cleaned(*rows, {"text": "u", "label": "Refund Status:"}, {"text": "v", "label": "other"})
    (repair,) = found.repairs
    changed = next(row for row in found.kept if row.text == "u")
    assert (repair.row, repair.source, repair.stage) == (changed.id, "a.jsonl:8", "repair_labels")
    assert (repair.field, repair.before, repair.after) == ("label", "Refund Status:", "refund_status")
    assert changed.label == "refund_status" and changed.lineage == ("repair_labels",)
    assert [row.label for row in found.kept if row is not changed] == ["a", *["refund_status"] * 6, "other"]


def test_two_rows_that_differ_in_the_labels_spelling_alone_are_duplicates(cleaned: CleanThese) -> None:
    rows = [{"text": f"t{n}", "label": "a"} for n in range(3)]
    found = cleaned(*rows, {"text": "t1", "label": "A"})
    assert [item.reason for item in found.dropped] == ["says the same as a.jsonl:3"]


def test_several_labels_are_renamed_each_once() -> None:
    rows = [row(n, ("pin", "new")) for n in range(5)] + [row(9, ("Pin", "pin", "old"))]
    found = respelt(rows, Counter())
    done, (repair,) = found.rows, found.repairs
    assert done[-1].label == ("pin", "old") and done[:-1] == rows[:-1]
    assert (repair.before, repair.after) == ('["Pin", "pin", "old"]', '["pin", "old"]')


def test_held_out_labels_are_read_by_the_training_rows_spelling() -> None:
    read = reader_of({"refund", "AA", "Aa", "new"}, {"aa": "AA"})
    assert [read(label) for label in ("Refund.", "REFUND", "refund", "AA", "Aa", "aa", "aA", "unknown")] == [
        "refund", "refund", "refund", "AA", "Aa", "AA", "aA", "unknown",
    ]  # fmt: skip


# -- typing slips ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slip", ["refnud", "refun", "refuund", "refind", "Refnud", "erfund", "refunds"])
def test_a_slip_of_a_frequent_label_is_doubted(slip: str) -> None:
    rows = [row(n, "refund") for n in range(20)] + [row(90, slip), row(91, "other")]
    (doubt,) = slip_doubts(rows)
    assert (doubt.row, doubt.source, doubt.stage) == (rows[20].id, "a.jsonl:90", "repair_labels")
    assert (doubt.suggestion, doubt.score) == ("refund", 0.05)
    assert repr(slip) in doubt.reason and "'refund' (20 rows)" in doubt.reason


@pytest.mark.parametrize("slip", ["退款申情", "退歀申请", "退款 申情"])
def test_a_chinese_label_with_one_wrong_character_is_doubted(slip: str) -> None:
    assert typing_slips({"退款申请": 20, "物流查询": 30, slip: 2}) == {slip: "退款申请"}


@pytest.mark.parametrize(
    ("label", "count", "other", "others"),
    [
        ("refnud", 1, "refund", 9), ("refnud", 3, "refund", 900), ("refnud", 2, "refund", 19),  # not rare enough
        ("card", 1, "cart", 90), ("type2", 1, "type1", 90), ("消化外科室", 1, "消化内科室", 90),
        ("12345", 1, "12335", 90),
        ("账号登陆", 1, "账号登录", 90), ("退歀", 1, "退款", 90),
        ("退款申请中", 1, "退款申请", 90),
        ("退歀申情", 1, "退款申请", 90), ("退款申情", 2, "退款申请", 19),
        ("退款申A", 1, "退款申请", 90), ("一年级", 1, "二年级", 90),
        ("order_lost", 1, "order_late", 90), ("refund", 1, "REFUND", 90),
    ],
)  # fmt: skip
def test_what_may_be_a_label_of_its_own_is_not_doubted(label: str, count: int, other: str, others: int) -> None:
    assert typing_slips({label: count, other: others}) == {}


def test_the_most_frequent_of_several_is_suggested_and_a_list_gets_no_suggestion() -> None:
    assert typing_slips({"lates": 1, "later": 20, "latex": 30}) == {"lates": "latex"}
    (doubt,) = slip_doubts([*(row(n, ("refund", "x")) for n in range(20)), row(90, ("refnud", "x"))])
    assert doubt.suggestion == ""


def test_one_letter_away_is_what_an_exhaustive_search_says() -> None:
    letters = "ab1"
    words = ["", *letters, *(a + b for a in letters for b in letters), "aab", "aba", "baa", "abb", "ab1", "a1b", "1ab"]

    def edits(word: str) -> set[str]:
        cuts = [(word[:place], word[place:]) for place in range(len(word) + 1)]
        found = {left + right[1:] for left, right in cuts} | {
            left + sign + right for left, right in cuts for sign in letters
        }
        found |= {left + sign + right[1:] for left, right in cuts if right for sign in letters}
        found |= {left + right[1] + right[0] + right[2:] for left, right in cuts if len(right) > 1}
        return found - {word}

    for one in words:
        for other in words:
            digits = [sign for sign in one if sign == "1"] == [sign for sign in other if sign == "1"]
            assert one_letter_away(one, other) == (other in edits(one) and digits), (one, other)


def test_real_labels_are_nobodys_slips_or_spellings(shared_data) -> None:
    import json

    sets = {
        "snips/train.jsonl": "intent", "medquad_nih/medquad.jsonl": "qtype", "smp2019_nlu/train.jsonl": "intent",
        "zh_medical_dialogue_im/qa.jsonl": "department", "ledgar_1k/ledgar.jsonl": "label",
        "bank_transactions_za/transactions.jsonl": "label", "fmc_mwo2kg/train.jsonl": "failure_mode",
        "fewclue_tnews/test_public.json": "label_desc", "nlupp_banking/nlupp_banking.jsonl": "intents",
    }  # fmt: skip
    for name, column in sets.items():
        lines = (shared_data / name).read_text(encoding="utf-8").split("\n")
        values = [json.loads(line).get(column) for line in lines if line.strip()]
        counts = Counter(label for value in values for label in (value if isinstance(value, list) else [str(value)]))
        assert len(counts) > 1, name
        assert typing_slips(counts) == {}, name
        assert spellings(counts, {}) == {}, name
