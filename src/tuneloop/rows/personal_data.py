"""Secrets and personal data in texts, found by rule and masked as <EMAIL>, <PHONE> and so on.

Every rule is a named entry of RULES: a pattern, and a check where digits alone prove nothing (Luhn for cards, ISO 7064
MOD 11-2 for Chinese resident identity numbers, MOD 97-10 for IBANs). Rules are tried in order; what one has masked
no later one sees. What no rule can know (names, addresses) is not found: this is a net, not a proof.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tuneloop.records import Doubt, Message, Repair, Row
from tuneloop.rows.room import MEMORY, Room
from tuneloop.shelf import Store

STAGE = "personal_data"


@dataclass(frozen=True)
class Rule:
    """How one kind is found.

    Attributes:
        kind: What stands in the mask, e.g. "EMAIL" for <EMAIL>.
        pattern: What it looks like; where it has a group "secret", only that part is masked.
        check: Whether a text that looks so is one.
        hints: One of these stands in every ASCII text in which the pattern finds anything that passes the check: they
            spare the time of looking.
    """

    kind: str
    pattern: re.Pattern[str]
    check: Callable[[str], bool] = bool
    hints: tuple[str, ...] = tuple("0123456789")


# -- checks ---------------------------------------------------------------------------------------------------


def luhn(text: str) -> bool:
    """Whether the digits of a card number pass the Luhn check (ISO/IEC 7812-1, annex B); all the same digit never."""
    digits = [int(sign) for sign in text if sign.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def resident_id(text: str) -> bool:
    """Whether 18 signs are a Chinese resident identity number: a real birthday and its check sign (GB 11643-1999)."""
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
    """Whether four numbers are an address of a machine: each at most 255, and not 0.0.0.0."""
    return all(int(part) <= 255 for part in text.split(".")) and text != "0.0.0.0"


def phone(text: str) -> bool:
    """Whether an international or North American number has as many digits as such numbers have (ITU-T E.164)."""
    return 10 <= sum(sign.isdigit() for sign in text) <= 15


def key_like(text: str) -> bool:
    """Whether a value given for a key or password looks like one: letters and digits both, or signs beside them."""
    kinds = (r"[a-z]", r"[A-Z]", r"\d", r"[^A-Za-z0-9]")
    return sum(bool(re.search(kind, text)) for kind in kinds) >= 2 and bool(re.search(r"\d", text))


# -- rules ----------------------------------------------------------------------------------------------------

_ALONE = r"(?<![\w.])"
_NO_DIGIT = r"(?<![\d.])(?<!\d-)"
_END = r"(?![\d])(?!\.\d)(?!-\d)"

RULES: dict[str, Rule] = {
    "private_key": Rule("PRIVATE_KEY", re.compile(
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----.*?"
        r"(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|\Z)",
        re.DOTALL,
    ), hints=("-----BEGIN",)),
    "service_key": Rule("API_KEY", re.compile(
        r"(?<![A-Za-z0-9])(?:sk-(?:proj-|ant-[a-z0-9]+-)?[A-Za-z0-9_-]{20,}|(?:AKIA|ASIA)[0-9A-Z]{16}"
        r"|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|glpat-[\w-]{20,}|hf_[A-Za-z0-9]{30,}|AIza[\w-]{35}"
        r"|xox[abprs]-[A-Za-z0-9-]{10,}|LTAI[A-Za-z0-9]{12,24}|(?:sk|rk)_live_[A-Za-z0-9]{16,})(?![A-Za-z0-9])"
    ), hints=(
        "sk-", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "hf_", "AIza", "xox",
        "LTAI", "_live_",
    )),
    "web_token": Rule("API_KEY", re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"), hints=("eyJ",)),
    "named_secret": Rule("SECRET", re.compile(
        r"(?:api[_ -]?key|access[_ -]?key|secret|token|passw(?:or)?d|pwd|密码|密钥)[\"']?\s*(?:[:=：]|是|is)\s*[\"']?"
        r"(?P<secret>[^\s\"',;，。；]{8,})", re.IGNORECASE,
    ), key_like),
    "url_password": Rule("SECRET", re.compile(
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,200}:(?P<secret>[^\s/@]{1,200})@", re.IGNORECASE
    ), hints=("://",)),
    "email": Rule("EMAIL", re.compile(
        r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_%+-])?@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+"
        r"[A-Za-z]{2,}(?![A-Za-z0-9])"
    ), hints=("@",)),
    "iban": Rule("IBAN", re.compile(
        r"\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,3})?\b", re.IGNORECASE
    ), iban),
    "resident_id": Rule("RESIDENT_ID", re.compile(r"(?<![0-9A-Za-z])[1-9]\d{16}[\dXx](?![0-9A-Za-z])"), resident_id),
    "credit_card": Rule("CREDIT_CARD", re.compile(rf"{_NO_DIGIT}[2-6]\d{{3}}(?:[ -]?\d){{9,15}}{_END}"), luhn),
    "chinese_mobile": Rule("PHONE", re.compile(
        rf"{_NO_DIGIT}(?:(?:\+|00)86[ -]?)?1[3-9]\d(?:\d{{8}}|[ -]\d{{4}}[ -]\d{{4}}){_END}"
    )),
    "chinese_landline": Rule("PHONE", re.compile(rf"{_NO_DIGIT}0(?:10|2\d|[3-9]\d\d)-\d{{7,8}}{_END}")),
    "international_phone": Rule("PHONE", re.compile(
        rf"(?<![\w+])\+[1-9]\d{{0,2}}(?:[ .-]?\(?\d{{1,4}}\)?){{2,6}}{_END}"
    ), phone),
    "american_phone": Rule("PHONE", re.compile(
        rf"{_NO_DIGIT}(?:1[ .-])?(?:\([2-9]\d\d\)[ ]?|[2-9]\d\d[.-])[2-9]\d\d[ .-]\d{{4}}{_END}"
    ), phone),
    "ipv4": Rule("IP_ADDRESS", re.compile(rf"{_ALONE}\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?![\w])(?!\.\d)"), ipv4),
}  # fmt: skip
"""Name -> rule, in the order in which they are tried: longer numbers before the shorter ones that stand in them."""


def masked(text: str) -> tuple[str, list[str]]:
    """The text with all that a rule finds masked, and the kinds that were found, each once, in the rules' order."""
    kinds: list[str] = []
    for rule in RULES.values():
        text, found = _apply(rule, text, lambda secret, kind: f"<{kind}>")
        if found and rule.kind not in kinds:
            kinds.append(rule.kind)
    return text, kinds


def shortened(text: str) -> str:
    """The text with all that a rule finds cut to its first two signs, so that a record of a repair tells no secret."""
    for rule in RULES.values():
        text, _ = _apply(rule, text, lambda secret, kind: f"<{kind} {secret[:2]}...>")
    return text


@dataclass(frozen=True)
class Masked:
    """Rows without what a rule finds.

    Attributes:
        rows: As many as went in, in order.
        repairs: What was masked, without the secret: `shortened`.
        doubts: One for each row that was changed, for a person to see that it still makes sense; their score is 0.
    """

    rows: Sequence[Row]
    repairs: Sequence[Repair]
    doubts: list[Doubt]


def mask_rows(rows: Sequence[Row], room: Room = MEMORY) -> Masked:
    """Mask every text of every row: text, messages, preferred and rejected answers. Labels and meta stay as they are.

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


def _masked_row(row: Row) -> tuple[Row, list[Repair], list[str]]:
    changes: list[Repair] = []
    kinds: list[str] = []

    def mask(value: str, name: str) -> str:
        after, found = masked(value)
        if found:
            changes.append(Repair(row.id, row.source, STAGE, name, shortened(value), after))
            kinds.extend(kind for kind in found if kind not in kinds)
        return after

    text = mask(row.text, "text")
    messages = tuple(
        Message(turn.role, mask(turn.content, f"messages.{place}")) for place, turn in enumerate(row.messages)
    )
    chosen = None if row.chosen is None else mask(row.chosen, "chosen")
    rejected = None if row.rejected is None else mask(row.rejected, "rejected")
    if not kinds:
        return row, [], []
    return row.through(STAGE, text=text, messages=messages, chosen=chosen, rejected=rejected), changes, kinds


def _apply(rule: Rule, text: str, mask: Callable[[str, str], str]) -> tuple[str, bool]:
    if text.isascii() and not any(hint in text for hint in rule.hints):  # others may have digits of their own
        return text, False
    found = False

    def put(match: re.Match[str]) -> str:
        nonlocal found
        whole = match[0]
        part = "secret" if "secret" in match.re.groupindex else 0
        secret = match[part]
        if secret.startswith("<") or not rule.check(secret):
            return whole
        found = True
        start, end = match.start(part) - match.start(), match.end(part) - match.start()
        return whole[:start] + mask(secret, rule.kind) + whole[end:]

    return rule.pattern.sub(put, text), found
