"""Which methods, how much, how often; absent ones are off. The recipe takes those that are drawn each epoch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tuneloop.sections import Chance, Drawn, Rate, Section


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
    """Folder or hub id of a BERT-like masked model that reads the rows' language."""
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


class Teacher(Section):
    """An OpenAI-compatible endpoint."""

    base_url: str = Field(pattern=r"^https?://")
    """Up to the version, e.g. http://localhost:8000/v1; /chat/completions is added."""
    model: str = Field(min_length=1)
    """Name of the model there."""
    api_key_env: str | None = None
    """Environment variable that holds the key; it is written nowhere. None: no key."""
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


class Augment(Drawn):
    """All methods: those that are drawn each epoch, and those that are made once by a model."""

    masked_lm: MaskedLm | None = None
    back_translation: BackTranslation | None = None
    paraphrase: Paraphrase | None = None
    teacher: Teacher | None = None
    """Writes back_translation and paraphrase."""

    @model_validator(mode="after")
    def _has_teacher(self) -> Augment:
        wanted = [name for name in ("back_translation", "paraphrase") if getattr(self, name) is not None]
        if wanted and self.teacher is None:
            raise ValueError(f"{' and '.join(wanted)} need(s) a `teacher` with base_url and model")
        return self

    @property
    def dynamic(self) -> bool:
        """Whether an epoch draws anything: else rows are encoded once and stay."""
        made = (self.masked_lm, self.back_translation, self.paraphrase)
        drawn = (self.synonyms, self.noise, self.eda)
        return any(drawn) or any(method is not None and method.use == "swap" for method in made)
