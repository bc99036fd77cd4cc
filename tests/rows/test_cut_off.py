from __future__ import annotations

import json

import pytest

from tuneloop.rows.cut_off import open_at_end

WHOLE = json.dumps(
    {"text": 'he said "hi, {x}", it\'s [5] \\ fine: 好的', "label": "refund", "n": 12}, ensure_ascii=False
)


@pytest.mark.parametrize("end", range(WHOLE.index("he said") + 1, WHOLE.index('", "label"')))
def test_every_cut_inside_the_text_is_seen(end: int) -> None:
    assert open_at_end(WHOLE[:end]), WHOLE[:end]


@pytest.mark.parametrize(
    "line",
    [
        "{'text': 'it is {x}",
        '{"text": "a", "label": "ref',
        '{"text": "a", "label": 1',
        '{"text": "a", "label": re',
        "{“text”: “abc, de",
        '{"text": "a", /* note */ "label": "re',
    ],
)
def test_other_open_ends(line: str) -> None:
    assert open_at_end(line)


@pytest.mark.parametrize(
    "line",
    [
        '{"text": "a", "label": "b"',
        '{"text": "a", "label": "b",}',
        '{"text": "a", "label": true',
        '{"text": "a", "label": b}',
        '{"text": "5" screen", "label": "b"}',
        '{"text": "he said "hi, you", then", "label": "b"}',
        "{'text': 'it's fine', 'label': 'b'}",
        "{text: abc, label: b}",
        '{"text": "a", "label": "b" /* note */}',
        '{"text": "a", "tags": []',
        '{"text": "ends in a backslash \\\\", "n": 1}',
    ],
)
def test_closed_ends(line: str) -> None:
    assert not open_at_end(line)
