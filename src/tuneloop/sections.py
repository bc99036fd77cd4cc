"""What every section of the recipe is made of, and the sections of `augment` that are drawn anew each epoch."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["keyboard", "ocr", "homophone", "pinyin", "shape"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Section(BaseModel):
    """A part of the recipe: frozen, strict, no unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Chance = Annotated[float, Field(gt=0.0, le=1.0)]


class Synonyms(Section):
    """Words replaced by synonyms of their most frequent sense, a fresh draw each epoch."""

    rate: Rate = 0.1
    """Share of a text's words that are replaced, where enough have a synonym."""
    probability: Chance = 1.0
    """Share of the rows that an epoch does it to."""
    table: str | None = None
    """Your own synonyms: a file with a group a line, words apart by blanks, or in Cilin's format; None: ours alone."""


class Noise(Section):
    """Typing slips, scanning errors and sound-alikes, a fresh draw each epoch."""

    rate: Rate = 0.05
    """Share of a text's words that get a slip."""
    probability: Chance = 0.5
    """Share of the rows that an epoch does it to."""
    kinds: list[Kind] = Field(default=list(KINDS), min_length=1)
    """keyboard, ocr, homophone (English); pinyin, shape (Chinese)."""


class Eda(Section):
    """Words swapped, left out or put in (Wei & Zou 2019), a fresh draw each epoch; one operation a text."""

    swap: Rate = 0.05
    """Share of the words that are swapped in pairs; 0: never."""
    delete: Rate = 0.05
    """Share of the words that are left out; 0: never."""
    insert: Rate = 0.05
    """Share of the words a synonym of which is put in somewhere; 0: never."""
    probability: Chance = 0.5
    """Share of the rows that an epoch does it to."""


class Drawn(Section):
    """Other wordings of what training rows ask, drawn anew each epoch. Answers, labels, held-out rows never change."""

    synonyms: Synonyms | None = None
    """Words replaced by synonyms; null: off."""
    noise: Noise | None = None
    """Typing slips and the like; null: off."""
    eda: Eda | None = None
    """Words swapped, left out, put in; null: off."""
