"""Augmentation: other words for what a row asks, never for what it answers.

settings        what a recipe may say
draws words     a generator for each row and epoch; the words of a text, and what is never touched
inflection tagger lexicon    English forms, parts of speech, and the synonym tables
synonyms noise eda           a fresh draw each epoch: functions of (text, generator, settings)
masked_lm endpoint rewrite   made once before training: by a masked model, or by a teacher behind an endpoint
variants        rows made once: written, read, appended or swapped in
augmentation fresh           all of it combined; the rows of a training step as they stand in an epoch
report          samples, counts, and how many rows keep their label
"""
