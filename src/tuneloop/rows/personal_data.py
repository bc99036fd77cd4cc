"""Secrets and personal data in texts, found by rule and masked as <EMAIL>, <PHONE> and so on.

Every rule is a named entry of RULES: a pattern, and a check where digits alone prove nothing (Luhn for cards, ISO 7064
MOD 11-2 for Chinese resident identity numbers, MOD 97-10 for IBANs). Rules are tried in order; what one has masked
no later one sees. What no rule can know (names, addresses) is not found: this is a net, not a proof.

Texts are read with full-width signs as the ASCII ones, and patterns know ASCII alone: a Chinese character beside a
number is no letter of it.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuneloop.records import Doubt, Dropped, Repair, Row, json_text
from tuneloop.rows.labels import STAGE as LABELS
from tuneloop.rows.layout import WIDE
from tuneloop.rows.room import MEMORY, Room
from tuneloop.rows.stage import mended_parts
from tuneloop.shelf import Store

STAGE = "personal_data"
BEHIND = 24
"""Signs before a number in which a word may say that it is none of a person."""


@dataclass(frozen=True)
class Rule:
    """How one kind is found.

    Attributes:
        kind: What stands in the mask, e.g. "EMAIL" for <EMAIL>.
        pattern: What it looks like; where it has a group "secret", only that part is masked.
        check: Whether a text that looks so is one.
        hints: One of these stands in every text in which the pattern finds anything that passes the check: they
            spare the time of looking.
        not_behind: What says, right before it, that it only looks so.
    """

    kind: str
    pattern: re.Pattern[str]
    check: Callable[[str], bool] = bool
    hints: tuple[str, ...] = tuple("0123456789")
    not_behind: re.Pattern[str] | None = None


# -- checks ---------------------------------------------------------------------------------------------------


def luhn(text: str) -> bool:
    """Whether the digits of a card number pass the Luhn check (ISO/IEC 7812-1, annex B); all the same digit never."""
    digits = [int(sign) for sign in text if sign.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def card(text: str) -> bool:
    """Whether a number is a payment card's: as long as its issuer's numbers are (ISO/IEC 7812-1), and passes `luhn`.

    13 digits are none: Visa gave such numbers out last in the nineties, and every tenth barcode would pass.
    """
    digits = re.sub(r"\D", "", text)
    return _ISSUED.fullmatch(digits) is not None and luhn(digits)


def resident_id(text: str) -> bool:
    """Whether 18 signs are a Chinese resident identity number: a real birthday and its check sign (GB 11643-1999)."""
    text = re.sub(r"[ -]", "", text)
    try:
        born = datetime.date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * (2 ** (17 - place) % 11) for place, digit in enumerate(text[:17]))
    return 1900 <= born.year <= 2100 and "10X98765432"[total % 11] == text[17].upper()


def iban(text: str) -> bool:
    """Whether an IBAN's check digits are right (ISO 13616, MOD 97-10)."""
    signs = re.sub(r"\s", "", text).upper()
    if not 15 <= len(signs) <= 34:
        return False
    return int("".join(str(int(sign, 36)) for sign in signs[4:] + signs[:4])) % 97 == 1


def ipv4(text: str) -> bool:
    """Whether four numbers are an address of a machine: each at most 255 and without a zero in front.

    Four single digits are a chapter's number far more often than the address of anybody.
    """
    parts = text.split(".")
    return all(int(part) <= 255 and part == str(int(part)) for part in parts) and any(len(part) > 1 for part in parts)


def phone(text: str) -> bool:
    """Whether an international or North American number has as many digits as such numbers have (ITU-T E.164)."""
    return 10 <= sum(sign.isdigit() for sign in text) <= 15


def international(text: str) -> bool:
    """Whether a number behind + is a phone's: its length, and digits in groups of three or more, not pairs.

    Pairs are usual behind +3x, +45 and +47.
    """
    code, *groups = re.findall(r"\d+", text)
    grouped = not groups or max(map(len, groups)) >= 3 or code.startswith(("3", "45", "47"))
    return phone(text) and grouped


def key_like(text: str) -> bool:
    """Whether a value given for a key or password looks like one: a digit, and letters or other signs beside it.

    Links and words with hyphens (must-contain-1-digit) are none.
    """
    words = re.fullmatch(r"(?:[A-Za-z]+|\d{1,2})(?:-(?:[A-Za-z]+|\d{1,2}))+", text)
    kinds = (r"[a-z]", r"[A-Z]", r"\d", r"[^A-Za-z0-9]")
    mixed = sum(bool(re.search(kind, text)) for kind in kinds) >= 2 and bool(re.search(r"\d", text))
    return mixed and not words and "://" not in text


# -- rules ----------------------------------------------------------------------------------------------------

_FLAGS = re.ASCII | re.IGNORECASE
_NO_DIGIT = r"(?<![\d.])(?<!\d-)(?<![\da-f]{4}-)"  # nor the last digits of a UUID
_END = r"(?![\d])(?!\.\d)(?!-\d)(?!-[\da-f]{4})"
_ISSUED = re.compile(
    r"4(?:\d{15}|\d{18})|(?:5\d|2[2-7]|35)\d{14}|6\d{15,18}|3[47]\d{13}|3[0689]\d{12}"
)  # Visa; Mastercard, JCB; UnionPay, Discover, Maestro; American Express; Diners
_AREA = r"(?:10|2[0-57-9]|(?:3[1-9]|4[1-8]|5[1-9]|6[369]|7[0-9]|8[1-9]|9[0139])\d)"
_COUNTRY = (
    r"(?:1(?=[ .-]?\(?[2-9])|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
    r"|(?:2[1-69]|3[578]|42|5[09]|6[7-9]|8[0578]|9[679])\d)"
)
_ORDER = re.compile(
    r"(?:单号|条形?码|商品编码|流水号|order (?:no\.?|number|id)|isbn|sku)[ :#]{0,3}(?:(?:是|为|is)[ :]{0,2})?$", _FLAGS
)
_VERSION = re.compile(
    r"(?:(?:版本|型号|version|ver|firmware|section|clause|article|[^A-Za-z]v)号?[ .:]{0,2}(?:(?:是|为|is)[ :]{0,2})?"
    r"|第 ?|[A-Za-z]/)$", _FLAGS
)  # fmt: skip

RULES: dict[str, Rule] = {
    "private_key": Rule("PRIVATE_KEY", re.compile(
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----.*?"
        r"(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|\Z)",
        re.ASCII | re.DOTALL,
    ), hints=("-----BEGIN",)),
    "service_key": Rule("API_KEY", re.compile(
        r"(?<![A-Za-z0-9])(?:sk-(?:proj-|ant-[a-z0-9]+-)?[A-Za-z0-9_-]{20,}|(?:AKIA|ASIA)[0-9A-Z]{16}"
        r"|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|glpat-[\w-]{20,}|hf_[A-Za-z0-9]{30,}|AIza[\w-]{35}"
        r"|xox[abprs]-[A-Za-z0-9-]{10,}|LTAI[A-Za-z0-9]{12,24}|(?:sk|rk)_live_[A-Za-z0-9]{16,})(?![A-Za-z0-9])",
        re.ASCII,
    ), hints=(
        "sk-", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "hf_", "AIza", "xox",
        "LTAI", "_live_",
    )),
    "web_token": Rule("API_KEY", re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}", re.ASCII), hints=("eyJ",)),
    "named_secret": Rule("SECRET", re.compile(
        r"(?:api[_ -]?key|access[_ -]?key|secret|token|passw(?:or)?d|pwd|密码|密钥)[\"']?\s*"
        r"(?:(?:是|为|is\b)\s*[:=]?|[:=])\s*[\"']?(?P<secret>(?![\"',;])[!-~](?:(?![\"',;])[!-~]){7,})", _FLAGS,
    ), key_like),
    "url_password": Rule("SECRET", re.compile(  # a password may have an @ of its own
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,200}:"
        r"(?P<secret>[!-.0-?A-~]{1,200}(?:@[\w.!$%^*+-]{1,200}){0,3})@", _FLAGS,
    ), hints=("://",)),
    "email": Rule("EMAIL", re.compile(
        r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_%+-])?@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+"
        r"[A-Za-z]{2,}(?![A-Za-z0-9])"
    ), hints=("@",)),
    "iban": Rule("IBAN", re.compile(
        r"\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,3})?\b", _FLAGS
    ), iban),
    "resident_id": Rule("RESIDENT_ID", re.compile(
        r"(?<![0-9A-Za-z])[1-9]\d{5}[ -]?\d{8}[ -]?\d{3}[\dXx](?![0-9A-Za-z])"
    ), resident_id),
    "credit_card": Rule("CREDIT_CARD", re.compile(
        rf"{_NO_DIGIT}[2-6]\d{{3}}(?:[ -]?\d){{10,15}}{_END}"
    ), card, not_behind=_ORDER),
    "chinese_mobile": Rule("PHONE", re.compile(
        rf"{_NO_DIGIT}(?:(?:\+|00)?86[ -]?|\(\+?86\)[ ]?)?1[3-9]\d(?:[ -]?\d{{8}}|[ -]\d{{4}}[ -]\d{{4}}){_END}"
    ), not_behind=_ORDER),
    "chinese_landline": Rule("PHONE", re.compile(
        rf"{_NO_DIGIT}(?:\(0{_AREA}\)[ ]?|0{_AREA}[ -]?)[2-8](?:\d{{6,7}}|\d{{2,3}}[ -]\d{{4}}){_END}"
    ), not_behind=_ORDER),
    "international_phone": Rule("PHONE", re.compile(
        rf"(?<![\w+])\+{_COUNTRY}(?:[ .-]?\(?\d{{1,4}}\)?){{2,6}}{_END}", re.ASCII
    ), international),
    "american_phone": Rule("PHONE", re.compile(
        rf"{_NO_DIGIT}(?:1[ .-])?(?:\([2-9]\d\d\)[ ]?|[2-9]\d\d[.-])[2-9]\d\d[ .-]\d{{4}}{_END}"
    ), phone),
    "ipv4": Rule("IP_ADDRESS", re.compile(
        r"(?:(?<![\w.])|(?<=\bIP))\d{1,3}(?:\.\d{1,3}){3}(?!\w)(?!\.\d)", re.ASCII
    ), ipv4, not_behind=_VERSION),
}  # fmt: skip
"""Name -> rule, in the order in which they are tried: longer numbers before the shorter ones that stand in them."""


def masked(text: str) -> tuple[str, list[str]]:
    """The text with all that a rule finds masked, and the kinds that were found, each once, in the rules' order."""
    spans = _found(text)
    return _put(text, spans, lambda secret, kind: f"<{kind}>"), list(dict.fromkeys(kind for _, _, kind in spans))


def shortened(text: str) -> str:
    """The text with all that a rule finds cut to its first two signs, so that a record of a repair tells no secret."""
    return _put(text, _found(text), _short)


def _short(secret: str, kind: str) -> str:
    return f"<{kind} {secret[:2]}...>"


@dataclass(frozen=True)
class Masked:
    """Rows without what a rule finds.

    Attributes:
        rows: As many as went in, in order.
        repairs: What was masked, without the secret: `shortened`.
        doubts: One for each row whose texts were changed, for a person to see that it still makes sense; their score
            is 0.
    """

    rows: Sequence[Row]
    repairs: Sequence[Repair]
    doubts: list[Doubt]


def mask_rows(rows: Sequence[Row], room: Room = MEMORY) -> Masked:
    """Mask every text of every row: text, messages, preferred and rejected answers, the texts in the user's columns.

    Labels stay as they are: they are what is learnt. Nor does a row wait for what was masked in another column.

    Args:
        rows: Any rows.
        room: Where the masked ones are kept.
    """
    done: Store[Row] = room.store()
    repairs: Store[Repair] = room.store()
    doubts: list[Doubt] = []
    for row in rows:
        after, changes, kinds = _masked_row(row)
        done.append(after)
        repairs.extend(replace(change, row=after.id) for change in changes)
        if kinds:
            reason = f"holds personal data or a secret, masked: {', '.join(kinds)}"
            doubts.append(Doubt(after.id, after.source, STAGE, reason, 0.0))
    return Masked(done, repairs, doubts)


def holds_personal_data(row: Row) -> bool:
    """Whether a rule finds anything in a row's texts or in the user's columns."""
    return bool(_masked_row(row)[1])


def _masked_row(row: Row) -> tuple[Row, list[Repair], list[str]]:
    """The row, what was masked in it, and the kinds of what was found in its texts."""
    kinds: dict[str, None] = {}

    def mask(value: str, kind: str) -> str:
        after, found = masked(value)
        if kind != "meta":
            kinds.update(dict.fromkeys(found))
        return after

    parts, changes = mended_parts(row, mask)
    told = [(name, shortened(before), after) for name, before, after in changes]
    for name, value in row.meta.items():
        if isinstance(value, dict | list) and (after := _within(value, lambda text: masked(text)[0])) != value:
            parts["meta"][name] = after
            told.append((name, json_text(_within(value, shortened)), json_text(after)))
    if not told:
        return row, [], []
    return row.through(STAGE, **parts), [Repair(row.id, row.source, STAGE, *change) for change in told], list(kinds)


def _within(value: Any, change: Callable[[str], str]) -> Any:
    """A value of JSON with every text in it changed; names stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _within(part, change) for name, part in value.items()}
    return [_within(part, change) for part in value] if isinstance(value, list) else value


# -- what was said of the rows before ---------------------------------------------------------------------------


def shortened_repairs(repairs: Iterable[Repair], ids: Mapping[str, str]) -> Iterator[Repair]:
    """The records of repairs that were made before rows were masked, without a secret, as `shortened` leaves them.

    Those of labels stay as they are, like labels.

    Args:
        repairs: Any.
        ids: Source -> id of the rows that were masked.
    """
    for one in repairs:
        one = replace(one, row=ids.get(one.source, one.row))
        yield one if one.stage == LABELS else _shortened_repair(one)


def _shortened_repair(repair: Repair) -> Repair:
    """A record without a secret; what stood there before is left out where only the repair made a secret readable."""
    before, after = _found(repair.before), _found(repair.after)
    known = {repair.before[start:end] for start, end, _ in before}
    hidden = dict.fromkeys(kind for start, end, kind in after if repair.after[start:end] not in known)
    told = f"<not kept: {', '.join(hidden)} in another writing>" if hidden else _put(repair.before, before, _short)
    return replace(repair, before=told, after=_put(repair.after, after, _short))


def masked_dropped(item: Dropped) -> Dropped:
    """A dropped row with all that a rule finds masked: in every string of its JSON, or in the line that is none."""
    try:
        json.loads(item.raw)
    except (ValueError, RecursionError):
        raw = masked(item.raw)[0]
    else:
        raw = _STRING.sub(_masked_string, item.raw)
    return item if raw == item.raw else replace(item, raw=raw)


_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def _masked_string(found: re.Match[str]) -> str:
    """A string of JSON as it stands where nothing is masked in it, so that the rest of the line stays the user's."""
    after, kinds = masked(json.loads(found[0]))
    return json_text(after) if kinds else found[0]


Span = tuple[int, int, str]
"""(first sign, the sign behind the last one, kind) of what a rule finds."""
_TAKEN = "\0"
"""Stands for every sign that a rule has found: no later one takes it."""


def _found(text: str) -> list[Span]:
    """What the rules find, in their order."""
    plain = text if text.isascii() else text.translate(WIDE)  # as long as the text, so that places are the same
    spans: list[Span] = []
    for rule in RULES.values():
        if not any(hint in plain for hint in rule.hints):
            continue
        part = "secret" if "secret" in rule.pattern.groupindex else 0
        for match in rule.pattern.finditer(plain):
            start, end = match.span(part)
            if match[part].startswith("<") or not rule.check(match[part]):
                continue
            if rule.not_behind and rule.not_behind.search(plain, max(0, start - BEHIND), start):
                continue
            spans.append((start, end, rule.kind))
            plain = plain[:start] + _TAKEN * (end - start) + plain[end:]
    return spans


def _put(text: str, spans: Sequence[Span], mask: Callable[[str, str], str]) -> str:
    for start, end, kind in sorted(spans, reverse=True):
        text = text[:start] + mask(text[start:end], kind) + text[end:]
    return text
