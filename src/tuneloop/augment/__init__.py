"""Augmentation: other words for what a row asks, never for what it answers. What a recipe may say is in sections.py.

draws words     a generator for each row and epoch; the words of a text, and what is never touched
inflection tagger lexicon    English forms, parts of speech, and the synonym tables
synonyms noise eda           a fresh draw each epoch: functions of (text, generator, settings)
masked_lm endpoint rewrite   made once before training: by a masked model, or by a teacher behind an endpoint
cache variants station       what was made stays made; rows of their own, appended or swapped in; data/variants.parquet
augmentation fresh           all of it combined; the rows of a training step as they stand in an epoch
report          samples, counts, and how many rows keep their label
"""
