"""All methods of a recipe combined: what a row asks in one epoch, decided by seed, epoch and row alone.

    row --swapped for a variant?--> --synonyms--> --eda--> --noise--> the row as this epoch shows it

Synonyms come first, since they read the grammar that the others break.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from tuneloop.augment.draws import generator, one_of
from tuneloop.augment.eda import eda
from tuneloop.augment.lexicon import Lexicon, read_table, shipped
from tuneloop.augment.noise import noise
from tuneloop.augment.synonyms import synonyms
from tuneloop.augment.variants import answer_words, by_origin, inputs_of, with_inputs
from tuneloop.augment.words import Protected, protect
from tuneloop.records import Row
from tuneloop.sections import Augment

Reword = Callable[[str, Random, Protected], str]
"""(text, generator, words that stay) -> the text in other words."""


@dataclass(frozen=True)
class Augmentation:
    """What the settings do to rows; made by `augmentation_of`.

    Attributes:
        task: "classification" or "generation".
        seed: The recipe's.
        methods: (name, share of the rows an epoch does it to, what it does) in their order.
        swaps: (name, share of the rows an epoch shows in another wording).
        variants: (method, id of a row) -> its other wordings.
        labels: The labels' words, which stay.
    """

    task: str
    seed: int
    methods: Sequence[tuple[str, float, Reword]]
    swaps: Sequence[tuple[str, float]] = ()
    variants: Mapping[tuple[str, str], Sequence[Row]] = field(default_factory=dict)
    labels: Protected = Protected()  # noqa: RUF009  (frozen)

    def augmented(self, row: Row, epoch: int) -> Row:
        """The row as an epoch shows it; the very same object where nothing changed.

        Its id stays that of the original (it is the same row), and its lineage names what was done. Labels, answers,
        system turns and all other columns stay.

        Args:
            row: A training row.
            epoch: 0 for the first.
        """
        shown, lineage = self._swapped(row, epoch)
        texts = before = inputs_of(shown, self.task)
        if not texts:
            return row
        guard: Protected | None = None
        for name, chance, reword in self.methods:
            random = generator(self.seed, epoch, row.id, name)
            if chance < 1.0 and random.random() >= chance:
                continue
            if guard is None:
                guard = self._kept(row)
            changed = [reword(text, random, guard if name != "noise" else self._kept_by_noise(row)) for text in texts]
            if changed != texts:
                texts, lineage = changed, (*lineage, name)
        if texts == before and shown is row:
            return row
        return replace(with_inputs(shown, texts, self.task), id=row.id, lineage=lineage)

    def _swapped(self, row: Row, epoch: int) -> tuple[Row, tuple[str, ...]]:
        """The row, or one of its variants, with the lineage so far."""
        for name, chance in self.swaps:
            found = self.variants.get((name, row.id))
            random = generator(self.seed, epoch, row.id, name)
            if found and random.random() < chance:
                variant = one_of(random, found)
                return variant, variant.lineage
        return row, row.lineage

    def _kept(self, row: Row) -> Protected:
        return self.labels | answer_words(row, self.task)

    def _kept_by_noise(self, row: Row) -> Protected:
        # A misspelt label word is still that word, and a model should read it; what an answer copies must stay.
        return answer_words(row, self.task)


def augmentation_of(
    augment: Augment, *, task: str, seed: int, labels: Sequence[str] = (), variants: Sequence[Row] = (),
    folder: Path = Path(),
) -> Augmentation:  # fmt: skip
    """The methods of the settings, ready to be used; tables are read now.

    Args:
        augment: The recipe's section.
        task: "classification" or "generation".
        seed: The recipe's.
        labels: The class names.
        variants: What `make_variants` made.
        folder: Where relative paths start.

    Raises:
        DataError: if the user's synonym table cannot be read.
    """
    lexicon = shipped()
    if augment.synonyms is not None and augment.synonyms.table is not None:
        lexicon = replace(lexicon, own=read_table(folder / augment.synonyms.table))
    swaps = [(name, method.probability) for name, method in augment.made.items() if method.use == "swap"]
    return Augmentation(task, seed, _methods(augment, lexicon), swaps, by_origin(variants), protect(labels))


def _methods(augment: Augment, lexicon: Lexicon) -> list[tuple[str, float, Reword]]:
    found: list[tuple[str, float, Reword]] = []
    if (words := augment.synonyms) is not None:
        rate = words.rate
        found.append(
            ("synonyms", words.probability,
             lambda text, random, kept: synonyms(text, random, rate=rate, lexicon=lexicon, protected=kept))
        )  # fmt: skip
    if (easy := augment.eda) is not None:
        swap, delete, insert = easy.swap, easy.delete, easy.insert
        found.append(
            ("eda", easy.probability,
             lambda text, random, kept: eda(text, random, swap=swap, delete=delete, insert=insert, lexicon=lexicon,
                                            protected=kept))
        )  # fmt: skip
    if (slips := augment.noise) is not None:
        share, kinds = slips.rate, tuple(slips.kinds)
        found.append(
            ("noise", slips.probability,
             lambda text, random, kept: noise(text, random, rate=share, kinds=kinds, lexicon=lexicon, protected=kept))
        )  # fmt: skip
    return found
