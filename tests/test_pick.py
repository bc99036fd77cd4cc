"""Name -> function: built-ins, plugins, the nearest name, and options that do not fit."""

from __future__ import annotations

import pytest

from tuneloop.errors import RecipeError
from tuneloop.pick import pick


def shout(text: str, *, mark: str = "!") -> str:
    return text + mark


def whisper(text: str) -> str:
    return text.lower()


TABLE = {"shout": shout, "whisper": whisper}


def test_a_name_gives_the_function_with_its_options_bound():
    assert pick("voice", TABLE, "shout") is shout
    assert pick("voice", TABLE, "shout", mark="?")("hey") == "hey?"


def test_an_unknown_name_is_an_error_with_the_nearest_and_all_known():
    with pytest.raises(RecipeError) as caught:
        pick("voice", TABLE, "shoot")
    assert str(caught.value) == "Unknown voice 'shoot'. Allowed: shout, whisper. Did you mean 'shout'?"


def test_an_option_that_the_function_does_not_take_is_an_error():
    with pytest.raises(RecipeError, match="voice 'whisper': got an unexpected keyword argument 'mark'"):
        pick("voice", TABLE, "whisper", mark="?")


def test_an_installed_plugin_comes_in_by_the_same_door(monkeypatch: pytest.MonkeyPatch):
    class Point:
        name = "sing"

        def load(self):
            return shout

    monkeypatch.setattr("tuneloop.pick.entry_points", lambda group: [Point()] if group == "tuneloop.voice" else [])
    assert pick("voice", TABLE, "sing", mark="~")("la") == "la~"
    with pytest.raises(RecipeError, match="Allowed: shout, sing, whisper"):
        pick("voice", TABLE, "hum")
    with pytest.raises(RecipeError, match="voice 'sing'"):
        pick("voice", TABLE, "sing", volume=3)
