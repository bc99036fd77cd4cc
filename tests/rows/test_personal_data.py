"""Every rule with what it finds and what only looks like it. All numbers are made up, or the standards' examples."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.rows.conftest import Write

from tuneloop.recipe import Recipe
from tuneloop.records import Dropped, Message, Repair, Row
from tuneloop.report.row_page import rows_page
from tuneloop.rows.personal_data import (
    RULES,
    Masked,
    holds_personal_data,
    iban,
    luhn,
    mask_rows,
    masked,
    masked_dropped,
    resident_id,
    shortened,
    shortened_repairs,
)
from tuneloop.rows.prepare import prepare_rows, save_prepared
from tuneloop.runs import RunFolder

HITS = {
    "private_key": [
        ("a -----BEGIN RSA PRIVATE KEY-----\nMIIEow==\n-----END RSA PRIVATE KEY----- b", "a <PRIVATE_KEY> b"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE cut off", "<PRIVATE_KEY>"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----", "<PRIVATE_KEY>"),
    ],
    "service_key": [
        ("use sk-abcdefghijklmnopqrst1234 please", "use <API_KEY> please"),
        ("sk-proj-abcdefghijklmnopqrst_1234", "<API_KEY>"),
        ("AKIAIOSFODNN7EXAMPLE", "<API_KEY>"),
        ("ghp_" + "a1B2" * 9, "<API_KEY>"),
        ("AIza" + "b" * 35, "<API_KEY>"),
        ("xoxb-123456789012-abcdef", "<API_KEY>"),
        ("hf_" + "aB" * 17, "<API_KEY>"),
        ("密钥LTAI4FkEXAMPLE12345", "密钥<API_KEY>"),
    ],
    "web_token": [
        ("Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmN", "Bearer <API_KEY>"),
        ("令牌eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmN。", "令牌<API_KEY>。"),
    ],
    "named_secret": [
        ("password: hunter2zz", "password: <SECRET>"),
        ('api_key="a1b2c3d4e5"', 'api_key="<SECRET>"'),
        ("密码是abc12345，谢谢", "密码是<SECRET>，谢谢"),
        ("my password is Tr0ub4dor&3", "my password is <SECRET>"),
        ("密码是：ａｂｃ１２３４５吗", "密码是：<SECRET>吗"),
        ("密码为Abc-12345", "密码为<SECRET>"),
    ],
    "url_password": [
        ("postgres://me:s3cret@db/x", "postgres://me:<SECRET>@db/x"),
        ("库 mysql://root:P@ssw0rd@db.x.com/t，请联系 a", "库 mysql://root:<SECRET>@db.x.com/t，请联系 a"),
        ("ftp://me:s3cret@h/x?to=y@z", "ftp://me:<SECRET>@h/x?to=y@z"),
    ],
    "email": [
        ("write to jane.doe+bank@mail.example.co.uk, please", "write to <EMAIL>, please"),
        ("邮箱zhang_san@qq.com。", "邮箱<EMAIL>。"),
        ("<a@b.de>", "<<EMAIL>>"),
        ("ｚhang.san＠163.com，", "<EMAIL>，"),
    ],
    "iban": [
        ("GB82 WEST 1234 5698 7654 32", "<IBAN>"),
        ("to DE89370400440532013000!", "to <IBAN>!"),
        ("账号GB82WEST12345698765432的", "账号<IBAN>的"),
    ],
    "resident_id": [
        ("身份证11010519491231002X。", "身份证<RESIDENT_ID>。"),
        ("身份证 110105 19491231 002X", "身份证 <RESIDENT_ID>"),
        ("身份证１１０１０５１９４９１２３１００２Ｘ", "身份证<RESIDENT_ID>"),
    ],
    "credit_card": [
        ("card 4111 1111 1111 1111 ends", "card <CREDIT_CARD> ends"),
        ("5500-0000-0000-0004", "<CREDIT_CARD>"),
        ("340000000000009", "<CREDIT_CARD>"),
        ("银行卡6222 0212 3456 7890 128", "银行卡<CREDIT_CARD>"),
    ],
    "chinese_mobile": [
        ("电话13800138000谢谢", "电话<PHONE>谢谢"),
        ("138 0013 8000", "<PHONE>"),
        ("+86 138-0013-8000", "<PHONE>"),
        ("008613800138000", "<PHONE>"),
        ("138 00138000", "<PHONE>"),
        ("8613800138000", "<PHONE>"),
        ("（86）13800138000", "<PHONE>"),
        ("手机：１３８００１３８０００，", "手机：<PHONE>，"),
    ],
    "chinese_landline": [
        ("010-62345678", "<PHONE>"),
        ("0571-87654321", "<PHONE>"),
        ("01062345678", "<PHONE>"),
        ("电话010 62345678转1", "电话<PHONE>转1"),
        ("（010）62345678", "<PHONE>"),
        ("0755-8888 8888", "<PHONE>"),
    ],
    "international_phone": [
        ("+44 20 7946 0958", "<PHONE>"),
        ("call +49 (30) 901820 now", "call <PHONE> now"),
        ("+33 1 46 48 28 00", "<PHONE>"),
        ("拨+1 415 555 2671", "拨<PHONE>"),
    ],
    "american_phone": [("(415) 555-2671", "<PHONE>"), ("1-415-555-2671", "<PHONE>"), ("415.555.2671", "<PHONE>")],
    "ipv4": [
        ("from 192.168.1.20.", "from <IP_ADDRESS>."),
        ("10.0.0.1:8080", "<IP_ADDRESS>:8080"),
        ("服务器192.168.1.1登录不了", "服务器<IP_ADDRESS>登录不了"),
        ("IP192.168.1.1，", "IP<IP_ADDRESS>，"),
        ("http://10.0.0.1/v2", "http://<IP_ADDRESS>/v2"),
    ],
}

MISSES = {
    "private_key": ["-----BEGIN PUBLIC KEY-----", "BEGIN PRIVATE KEY", "-----BEGIN CERTIFICATE-----"],
    "service_key": ["sk-short", "task-abcdefghijklmnopqrstuvwx", "AKIA123", "ghp_short", "risk-" + "a" * 30],
    "web_token": ["eyJ.eyJ.x", "heyJude.eyJude"],
    "named_secret": [
        "I forgot my password: please help",
        "password is required",
        "token: yes",
        "the secret is happiness",
        "忘记密码是不是要等24小时才能改？",
        "密码是8位数字还是6位数字？",
        "忘记密码：请在3分钟内重新设置新密码",
        "您的密码是否包含了大写字母和数字2种",
        "重置密码：https://example.com/reset/2024",
        "password is must-contain-1-digit",
        "password issued=2-2024-0001",
    ],
    "url_password": ["https://example.com/a:b@c", "http://host:8080/x", "see https://me@host/x"],
    "email": ["me at home", "@handle", "a@b", "twitter @jack and @jill", "3 items @ 4.50", "x@-.com"],
    "iban": ["GB82 WEST 1234 5698 7654 33", "AB12", "CARD 1234 5678 9012", "GB00 WEST 1234 5698 7654 32"],
    "resident_id": ["110105194912310021", "11010519491331002X", "9" * 18, "211010519491231002X", "a11010519491231002X"],
    "credit_card": [
        "4111 1111 1111 1112",
        "1111111111111111",
        "5555555555555555",
        "order 20231231235959",
        "0" * 16,
        "6901234567892",
        "4006381333931",
        "条形码 4000123412341234",
        "2013-10-14-16-30-25",
        "241854-3751-4087",
        "55500000-0000-0000-0004-000000000000",
    ],
    "chinese_mobile": [
        "12800138000",
        "1380013800",
        "138001380001",
        "1.13800138000",
        "2013800138000",
        "订单号13800138000",
        "运单号：13800138000",
        "1309046-0001",
        "b716-13588090401",
    ],
    "chinese_landline": ["010-623456", "10-62345678", "2020-12345678", "01012345678", "026 62345678", "0100 62345678"],
    "international_phone": [
        "+5",
        "5+44",
        "+1 2",
        "1 + 234 567",
        "+12.5",
        "比例 +10 20 30 40 50",
        "+1000 2000 3000",
        "+5 000 000 000 元",
        "+20 30 40 50 60",
    ],
    "american_phone": ["115-555-2671", "415-155-2671", "4155552671", "1999-2000-2001", "415-555-26711"],
    "ipv4": [
        "v10.2.3.4",
        "256.1.1.1",
        "1.2.3",
        "1.2.3.4.5",
        "0.0.0.0",
        "section 10.2.3.4a",
        "固件版本 2.10.0.1 升级失败",
        "版本号为2.10.0.1",
        "version: 2.10.0.1",
        "型号10.2.3.4",
        "第14.1.2.3条",
        "Chrome/120.0.0.0",
        "08.07.10.12",
        "初始：4.3.2.1",
    ],
}


def test_every_rule_has_hits_and_near_misses():
    assert list(HITS) == list(RULES) and list(MISSES) == list(RULES) and len(RULES) >= 12
    assert all(HITS.values()) and all(len(texts) >= 2 for texts in MISSES.values())


@pytest.mark.parametrize(("name", "text", "after"), [(name, *hit) for name, hits in HITS.items() for hit in hits])
def test_a_rule_finds_what_it_is_for(name: str, text: str, after: str):
    assert masked(text) == (after, [RULES[name].kind])
    assert masked(after) == (after, []), "a mask is no secret"


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in MISSES.items() for text in texts])
def test_a_near_miss_stays(name: str, text: str):
    assert masked(text) == (text, [])


def test_several_kinds_are_told_once_each_in_the_order_of_the_rules():
    text = "13800138000, a@b.com, 13900139000 and 10.1.2.3"
    assert masked(text) == ("<PHONE>, <EMAIL>, <PHONE> and <IP_ADDRESS>", ["EMAIL", "PHONE", "IP_ADDRESS"])


def test_a_record_of_the_repair_tells_no_secret():
    text = "a@b.com and 4111 1111 1111 1111, password: hunter2zz"
    found = shortened(text)
    assert found == "<EMAIL a@...> and <CREDIT_CARD 41...>, password: <SECRET hu...>"


@pytest.mark.parametrize(
    ("number", "good"),
    [("79927398713", False), ("4000000000000002", True), ("378282246310005", True), ("4000000000000003", False)],
)
def test_luhn(number: str, good: bool):
    """The first passes the sum and is too short for a card."""
    assert luhn(number) is good


def test_one_wrong_digit_is_seen_by_every_checksum():
    """Each of the three schemes finds every single wrong digit."""
    for check, right in (
        (luhn, "4000000000000002"),
        (resident_id, "11010519491231002X"),
        (iban, "DE89370400440532013000"),
    ):
        assert check(right)
        for place, sign in enumerate(right):
            for digit in "0123456789":
                if sign.isdigit() and digit != sign:
                    assert not check(right[:place] + digit + right[place + 1 :]), (check, place, digit)


def test_rows_are_masked_in_every_text_and_told():
    row = Row(
        id="1", source="a:1", text="", messages=(Message("user", "I am a@b.com"), Message("assistant", "Hello!")),
        chosen="call 13800138000", rejected="no", label="x@y.com",
        meta={"mail": "c@d.com", "n": 13800138000, "deep": {"e@f.com": ["g@h.com", None]}},
    )  # fmt: skip
    plain = Row(id="2", source="a:2", text="nothing here", meta={"n": 1, "list": ["a"]})
    found = mask_rows([row, plain])
    rows, repairs, doubts = found.rows, found.repairs, found.doubts
    assert rows[1] is plain and [turn.content for turn in rows[0].messages] == ["I am <EMAIL>", "Hello!"]
    assert (rows[0].chosen, rows[0].rejected) == ("call <PHONE>", "no")
    assert rows[0].label == "x@y.com"
    assert rows[0].meta == {"mail": "<EMAIL>", "n": 13800138000, "deep": {"e@f.com": ["<EMAIL>", None]}}
    assert rows[0].lineage == ("personal_data",) and rows[0].id != "1"
    assert [(one.row, one.field, one.before, one.after) for one in repairs] == [
        (rows[0].id, "messages.0", "I am <EMAIL a@...>", "I am <EMAIL>"),
        (rows[0].id, "chosen", "call <PHONE 13...>", "call <PHONE>"),
        (rows[0].id, "mail", "<EMAIL c@...>", "<EMAIL>"),
        (rows[0].id, "deep", '{"e@f.com": ["<EMAIL g@...>", null]}', '{"e@f.com": ["<EMAIL>", null]}'),
    ]
    (doubt,) = doubts
    assert (doubt.row, doubt.source, doubt.stage, doubt.score) == (rows[0].id, "a:1", "personal_data", 0.0)
    assert doubt.reason.endswith("masked: EMAIL, PHONE")
    assert mask_rows(rows) == Masked(rows, [], [])


def test_a_row_does_not_wait_for_what_was_masked_in_another_column():
    row = Row(id="1", source="a:1", text="nothing here", meta={"mail": "c@d.com"})
    found = mask_rows([row])
    assert found.doubts == [] and len(found.repairs) == 1 and found.rows[0].meta == {"mail": "<EMAIL>"}
    assert holds_personal_data(row) and not holds_personal_data(found.rows[0])


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("a<br>ann@x.com", "a\nann@x.com", ("a<br><EMAIL an...>", "a\n<EMAIL an...>")),
        ("cafÃ©", "café", ("cafÃ©", "café")),
        (
            "ann&#64;x.com, b@y.com", "ann@x.com, b@y.com",
            ("<not kept: EMAIL in another writing>", "<EMAIL an...>, <EMAIL b@...>"),
        ),
    ],
)  # fmt: skip
def test_the_record_of_an_earlier_repair_tells_no_secret(before: str, after: str, told: tuple[str, str]):
    repairs = [Repair("1", "a:1", stage, "text", before, after) for stage in ("repair_html", "repair_labels")]
    html, labels = shortened_repairs(repairs, {"a:1": "2"})
    assert (html.row, html.before, html.after) == ("2", *told)
    assert labels == replace(repairs[1], row="2"), "labels stay as they are"


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ('{"text": "line\\nann@x.com", "n":  1, "n": 2}', '{"text": "line\\n<EMAIL>", "n":  1, "n": 2}'),
        ('{"text": "ann\\u0040x.com \\ud800"}', '{"text": "<EMAIL> \\ud800"}'),
        ('{"text": "-----BEGIN PRIVATE KEY-----", "label": "a"}', '{"text": "<PRIVATE_KEY>", "label": "a"}'),
        ('{"text": "ann@x.com', '{"text": "<EMAIL>'),
        ('{"text":  "caf\\u00e9"}', '{"text":  "caf\\u00e9"}'),
        ("[" * 100_000 + "ann@x.com", "[" * 100_000 + "<EMAIL>"),
    ],
)  # fmt: skip
def test_a_dropped_row_is_masked_and_else_as_it_stood(raw: str, told: str):
    item = Dropped("a:1", "read", "blank", raw, "test")
    assert masked_dropped(item) == replace(item, raw=told)


def test_no_file_of_the_run_tells_a_secret_of_a_training_row(
    tmp_path: Path, write: Write, recipe: Callable[..., Recipe]
):
    mail = "ann.lee@mail-example.com"
    lines: list[Any] = [{"text": f"text {n} on something else", "label": "ab"[n % 2]} for n in range(30)]
    lines += [
        {"text": f"write<br>to {mail} &amp; wait", "label": "a"},
        {"text": f"the cafÃ© of {mail}", "label": "a"}, {"text": f"the café of {mail}", "label": "a"},
        f"{{'text': 'single quotes of {mail}', 'label': 'b'}}",
        {"text": f"written otherwise<br>it is {mail.replace('@', '&#64;')} here", "label": "b"},
        {"text": "a column of its own", "label": "b", "from": mail, "to": {"all": [mail]}},
        {"text": "", "label": "a", "from": mail}, f'{{"text": "cut behind {mail}',
        {"text": "held out", "label": "a", "from": mail},
    ]  # fmt: skip
    write("a.jsonl", *lines)
    write(
        "t.jsonl",
        {"text": "held out", "label": "a"},
        {"text": f"no label of {mail}"},
        {"text": "one more", "label": "b"},
    )
    made = recipe(train="a.jsonl", validation="t.jsonl", test="t.jsonl", clean={"personal_data": True})
    prepared = prepare_rows(made, tmp_path)
    assert {"leak", "exact_duplicates", "read", "repair_json"} == {item.stage for item in prepared.dropped}
    assert {one.stage for one in prepared.repairs} == {"repair_json", "repair_html", "repair_encoding", "personal_data"}
    there = {row.source: row.id for row in prepared.clean}
    assert all(one.row == there[one.source] for one in prepared.repairs if one.source in there)
    save_prepared(prepared, RunFolder(tmp_path), rows_page(prepared, made))
    data = RunFolder(tmp_path).data
    tables = [json.dumps(pl.read_parquet(file).to_dicts(), ensure_ascii=False) for file in data.glob("*.parquet")]
    others = [file.read_bytes().decode("latin-1") for file in data.iterdir() if file.suffix != ".parquet"]
    assert (len(tables), len(others)) == (6, 3)
    assert not [told for told in (*tables, *others) if "ann.lee" in told]
    assert sum(told.count("<EMAIL") for told in tables) > 15


@pytest.mark.parametrize(
    "text", ["a" * 50_000, "a." * 25_000, "1 " * 25_000, "1-" * 25_000, "@a" * 25_000, "-----BEGIN A " * 4_000,
             "password: " * 5_000, "+1 (2) " * 7_000, "ab://" * 10_000, "AA11 " * 10_000,
             "ab://a:b" + "@a" * 25_000, "密码是" * 20_000],
)  # fmt: skip
def test_hostile_text_takes_no_time(text: str):
    start = time.perf_counter()
    masked(text)
    assert time.perf_counter() - start < 2
