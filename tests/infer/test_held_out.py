"""Loss and accuracy on held-out rows, by hand."""

from dataclasses import replace

import pytest
import torch
from tests.tiny_training import class_examples, small, small_classifier, text_examples
from torch.nn.functional import cross_entropy

from tuneloop.infer.held_out import held_out_figures
from tuneloop.model.reader import choose_reader

LENGTHS, WEIGHTS = [9, 4, 13, 2, 7, 12, 5], [1.0, 2.0, 0.5, 1.0, 1.0, 0.25, 1.0]


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("max_tokens", [8, 30, None])
def test_generation_is_the_mean_over_trained_tokens(max_tokens, fast):
    model, rows = small("llama"), text_examples(LENGTHS, weights=WEIGHTS)
    total = weight = 0.0
    for row in rows:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row.input_ids])).logits[0, :-1]
        total += row.weight * float(cross_entropy(logits, torch.tensor(row.labels[1:]), reduction="sum"))
        weight += row.weight * sum(x != -100 for x in row.labels[1:])
    reader = choose_reader(model, fast=fast)
    found = held_out_figures(model, rows, task="generation", pad_token_id=0, max_tokens=max_tokens, reader=reader)
    assert found == {"loss": pytest.approx(total / weight, rel=1e-5)}


@pytest.mark.parametrize("max_tokens", [8, 30, None])
def test_an_unknown_class_has_no_loss_and_counts_as_wrong(max_tokens):
    model, rows = small_classifier(), class_examples(LENGTHS, weights=WEIGHTS)
    total, right, weight = 0.0, 0.0, 0.0
    for index, row in enumerate(rows):
        ids = torch.tensor([row.input_ids])
        with torch.no_grad():
            logits = model(ids, torch.ones_like(ids))
        rows[index] = row = replace(row, target=(int(logits.argmax()) + index % 2) % 3 if index != 2 else -1)
        if row.target >= 0:
            total += row.weight * float(cross_entropy(logits, torch.tensor([row.target])))
            weight += row.weight
            right += row.weight * (int(logits.argmax()) == row.target)
    found = held_out_figures(model, rows, task="classification", pad_token_id=0, max_tokens=max_tokens)
    assert found["loss"] == pytest.approx(total / weight, rel=1e-5)
    assert found["accuracy"] == pytest.approx(right / sum(WEIGHTS))
    assert 0 < right < weight < sum(WEIGHTS)


def test_nothing_to_count_gives_no_loss():
    rows = [replace(row, target=-1) for row in class_examples([3, 4])]
    found = held_out_figures(small_classifier(), rows, task="classification", pad_token_id=0)
    assert found == {"accuracy": 0.0}
    untrained = [replace(row, labels=[-100] * len(row.labels)) for row in text_examples([3, 4])]
    assert held_out_figures(small("llama"), untrained, task="generation", pad_token_id=0) == {}
