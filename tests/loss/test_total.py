"""The objectives against plain transformers and torch on the same rows."""

from dataclasses import replace

import pytest
import torch
from tests.tiny_training import (
    ALL,
    DECODERS,
    class_examples,
    examples_of,
    make_job,
    small,
    small_classifier,
    text_examples,
)
from torch.nn.functional import cross_entropy, linear

from tuneloop.errors import ShapeError
from tuneloop.examples.batch import collate
from tuneloop.loss.total import LOSSES, Objective, classification_loss, generation_loss, step_weight

LENGTHS, WEIGHTS = [9, 4, 13, 2, 7, 7, 3, 5, 8], [1.0, 0.5, 2.0, 1.5, 1.0, 1.0, 0.25, 1.0, 1.0]


@pytest.mark.parametrize("architecture", DECODERS)
def test_generation_loss_is_that_of_plain_transformers(architecture):
    model, rows = small(architecture), text_examples(LENGTHS, weights=WEIGHTS)
    with torch.no_grad():
        found = generation_loss(model, collate(rows, 0))
        wanted = weight = 0.0
        for row in rows:  # one by one: no padding
            ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
            count = int((labels[:, 1:] != -100).sum())
            wanted += float(model(input_ids=ids, labels=labels).loss) * count * row.weight
            weight += count * row.weight
    assert float(found.loss) == pytest.approx(wanted, rel=1e-5)
    assert float(found.weight) == weight
    assert float(found.correct) == 0.0


@pytest.mark.parametrize("architecture", ALL)
def test_classification_loss_is_that_of_a_plain_forward_pass(architecture):
    model, rows = small_classifier(architecture), class_examples(LENGTHS, weights=WEIGHTS)
    with torch.no_grad():  # every other row is right
        said = [int(model(torch.tensor([r.input_ids]), torch.ones(1, len(r.input_ids))).argmax()) for r in rows]
    rows = [replace(row, target=(said[i] + i % 2) % 3) for i, row in enumerate(rows)]
    stack = model.backbone if architecture == "bert" else model.backbone.model
    with torch.no_grad():
        found = classification_loss(model, collate(rows, 0))
        wanted = correct = 0.0
        for row in rows:
            states = stack(input_ids=torch.tensor([row.input_ids])).last_hidden_state
            logits = linear(states.mean(1), model.head.weight, model.head.bias)
            wanted += float(cross_entropy(logits, torch.tensor([row.target]))) * row.weight
            correct += row.weight * (int(logits.argmax()) == row.target)
    assert float(found.loss) == pytest.approx(wanted, rel=1e-5)
    assert float(found.weight) == sum(WEIGHTS)
    assert float(found.correct) == pytest.approx(correct) == sum(WEIGHTS[::2])


def test_classification_needs_a_classifier_and_known_classes():
    batch = collate(class_examples([3, 3]), 0)
    with pytest.raises(ShapeError, match="Classifier"):
        classification_loss(small("llama"), batch)
    batch.targets[1] = -1
    with pytest.raises(ShapeError, match="known class"):
        classification_loss(small_classifier(), batch)


@pytest.mark.parametrize("task", sorted(LOSSES))
def test_step_weight_is_the_weight_that_the_batch_reports(task):
    assert len(LOSSES) == 2
    rows = examples_of(task, LENGTHS, weights=WEIGHTS)
    rows[0].labels[0] = rows[0].input_ids[0] if task == "generation" else -100  # never predicted, never counted
    model = small_classifier() if task == "classification" else small("llama")
    with torch.no_grad():
        found = Objective(model, LOSSES[task])(collate(rows, 0))
    assert step_weight(task, [r.labels for r in rows], [r.weight for r in rows]) == pytest.approx(float(found.weight))


def test_rows_per_step_counts_accumulation(tmp_path):
    rows = class_examples([3] * 13)
    job = make_job("classification", rows, tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=3)
    assert job.rows_per_step == 6
    assert (job.steps_per_epoch(1), job.steps_per_epoch(2)) == (3, 2)
