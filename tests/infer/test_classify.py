"""Class probabilities of many rows, in their order."""

import numpy as np
import pytest
import torch
from tests.tiny_training import class_examples, small_classifier

from tuneloop.infer.classify import class_probabilities
from tuneloop.model.reader import choose_reader

LENGTHS = [3, 17, 1, 8, 8, 30, 2, 8, 5]


@pytest.mark.parametrize("max_tokens", [1, 24, 4096, None])
@pytest.mark.parametrize("architecture", ["llama", "bert", "llama, fast"])
def test_many_rows_are_each_row_by_itself_in_order(architecture, max_tokens):
    architecture, _, fast = architecture.partition(", ")
    model, rows = small_classifier(architecture), class_examples(LENGTHS)
    reader = choose_reader(model.backbone, fast=bool(fast))
    found = class_probabilities(model, rows, 0, max_tokens=max_tokens, reader=reader)
    assert found.shape == (len(rows), 3) and found.dtype == np.float32
    for row, shares in zip(rows, found, strict=True):
        ids = torch.tensor([row.input_ids])
        with torch.no_grad():
            wanted = model(ids, torch.ones_like(ids)).softmax(-1)[0].numpy()
        assert np.abs(shares - wanted).max() < 1e-5
    assert np.allclose(found.sum(1), 1, atol=1e-6)
    assert len(np.unique(found[:, 0].round(4))) == len(rows), "rows that differ, or the order is not tested"


def test_a_row_that_stands_twice_is_answered_twice():
    model, rows = small_classifier(), class_examples(LENGTHS)
    found = class_probabilities(model, [rows[0], rows[1], rows[0]], 0)
    assert np.array_equal(found[0], found[2]) and found[0].sum() > 0.99


def test_no_rows():
    assert class_probabilities(small_classifier(), [], 0).shape == (0, 3)
