"""The loop's arithmetic: a step is that of a plain loop over the same rows, however they are cut up."""

import json

import pytest
import torch
from accelerate import tracking
from accelerate.tracking import GeneralTracker
from accelerate.utils import LoggerType
from tests.tiny_training import (
    LABELS,
    examples_of,
    lora_settings,
    make_job,
    network_of,
    small,
    weights_of,
)
from torch import nn
from torch.nn.functional import cross_entropy, linear
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from tuneloop.errors import RecipeError, TrainError
from tuneloop.examples.batch import epoch_order
from tuneloop.infer.held_out import held_out_figures
from tuneloop.model.adapt import METHODS
from tuneloop.model.heads import Classifier
from tuneloop.model.reader import choose_reader
from tuneloop.train import loop
from tuneloop.train.loop import check_trackers, train

TASKS = ["classification", "generation"]
LENGTHS = [9, 4, 13, 2, 7, 12, 5, 6, 3, 8]  # 10 rows: steps of 4, 4 and 2
WEIGHTS = [1.0, 2.0, 0.5, 1.0, 1.0, 0.25, 1.0, 3.0, 1.0, 1.0]


def network(task: str, architecture: str = "llama", method: str = "lora") -> nn.Module:
    """A fresh model to train."""
    model = METHODS[method](small(architecture), adapt=lora_settings(), seed=0).model
    torch.manual_seed(0)  # of the head
    return Classifier(model, LABELS, pooling="mean", attention="causal") if task == "classification" else model


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def trained(task: str, folder, *, architecture="llama", method="lora", **changes):
    """(weights, lines of the log) after one run."""
    model = network(task, architecture, method)
    train(model, make_job(task, examples_of(task, LENGTHS, weights=WEIGHTS), folder, **changes), validate=None)
    return weights_of(model), lines(folder)


def same(found, wanted, tolerance: float = 5e-5) -> None:
    """Weights, losses and norms agree: to 0.5 % of a step, since Adam divides a gradient near 0 by its own size."""
    assert [line["step"] for line in found[1]] == [line["step"] for line in wanted[1]]
    for mine, theirs in zip(found[1], wanted[1], strict=True):
        for key in {"loss", "grad_norm", "accuracy"} & set(theirs):
            assert mine[key] == pytest.approx(theirs[key], rel=1e-4), (key, mine["step"])
    assert set(found[0]) == set(wanted[0])
    for name in wanted[0]:
        assert torch.allclose(found[0][name], wanted[0][name], atol=tolerance), name


# -- against a plain loop ---------------------------------------------------------------------------------------


def plain_loss(model: nn.Module, row) -> torch.Tensor:
    """One row's summed loss by plain transformers and torch: no batch, no padding."""
    ids = torch.tensor([row.input_ids])
    if isinstance(model, Classifier):
        stack: PreTrainedModel = model.backbone.get_base_model().model
        pooled = stack(input_ids=ids).last_hidden_state.mean(1)
        logits = linear(pooled, model.head.weight, model.head.bias)
        return cross_entropy(logits, torch.tensor([row.target])) * row.weight
    logits = model(input_ids=ids).logits[0, :-1]
    return cross_entropy(logits, torch.tensor(row.labels[1:]), ignore_index=-100, reduction="sum") * row.weight


def plain_run(task: str, architecture: str):
    """Three steps of 4, 4 and 2 rows with torch's own AdamW; gives (weights, lines)."""
    model, rows = network(task, architecture), examples_of(task, LENGTHS, weights=WEIGHTS)
    order = epoch_order(len(rows), 3, 0)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.0, foreach=False)
    log = []
    for step, chosen in enumerate((order[:4], order[4:8], order[8:]), 1):
        step_rows = [rows[i] for i in chosen]
        count = sum(
            r.weight * (1 if task == "classification" else sum(x != -100 for x in r.labels[1:])) for r in step_rows
        )
        loss = sum(plain_loss(model, row) for row in step_rows) / count
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, 0.7)
        optimizer.step()
        optimizer.zero_grad()
        log.append({"step": step, "loss": float(loss.detach()), "grad_norm": float(norm)})
    return weights_of(model), log


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize("task", TASKS)
def test_three_steps_are_those_of_a_plain_loop(task, architecture, tmp_path):
    wanted = plain_run(task, architecture)
    found = trained(task, tmp_path, architecture=architecture, max_grad_norm=0.7, tokens_per_micro_batch=20)
    assert any(line["grad_norm"] > 0.7 for line in wanted[1]), "or clipping is not tested"
    same(found, wanted)
    start = weights_of(network(task, architecture))
    assert all(float((start[name] - wanted[0][name]).abs().max()) > 1e-3 for name in start), "weights that moved"


# -- however the rows are cut -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("task", TASKS)
def test_micro_batches_and_accumulation_change_nothing(task, method, tmp_path):
    """Of 8 tokens (each row alone), 30 and 4096 (all at once, most padding); and 2 x 2 rows for 4 x 1."""
    wanted = trained(task, tmp_path / "whole", method=method, tokens_per_micro_batch=4096)
    assert [line["step"] for line in wanted[1]] == [1, 2, 3]
    same(trained(task, tmp_path / "single", method=method, tokens_per_micro_batch=8), wanted)
    same(trained(task, tmp_path / "some", method=method, tokens_per_micro_batch=30), wanted)
    halves = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    same(trained(task, tmp_path / "halves", method=method, **halves), wanted)


def test_other_rows_a_step_do_change_it(tmp_path):
    wanted = trained("generation", tmp_path / "a")
    found = trained("generation", tmp_path / "b", per_device_train_batch_size=5)
    assert [line["step"] for line in found[1]] == [1, 2]
    assert found[1][0]["loss"] != pytest.approx(wanted[1][0]["loss"], rel=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_a_row_of_weight_zero_counts_nothing(task, tmp_path):
    rows = examples_of(task, LENGTHS[:4], weights=[1.0, 0.0, 2.0, 1.0])
    found = []
    for name, kept in (("with", rows), ("without", [rows[0], rows[2], rows[3]])):
        model = network(task)
        train(model, make_job(task, kept, tmp_path / name), validate=None)
        found.append((weights_of(model), lines(tmp_path / name)))
    same(*found)


def test_every_row_is_seen_once_an_epoch_in_another_order(tmp_path):
    rows, seen = examples_of("generation", LENGTHS), []
    model = network("generation")
    model.get_base_model().model.register_forward_pre_hook(
        lambda m, args, kwargs: seen.extend(kwargs["attention_mask"].sum(1).tolist()), with_kwargs=True
    )
    state = train(model, make_job("generation", rows, tmp_path, num_train_epochs=3), validate=None)
    assert [sorted(seen[i : i + 10]) for i in (0, 10, 20)] == [sorted(LENGTHS)] * 3
    cuts = [(at + start, at + end) for at in (0, 10, 20) for start, end in ((0, 4), (4, 8), (8, 10))]
    steps = [sorted(seen[start:end]) for start, end in cuts]
    orders = [epoch_order(10, 3, epoch) for epoch in range(3)]
    assert steps == [sorted(LENGTHS[i] for i in order[at : at + 4]) for order in orders for at in (0, 4, 8)]
    assert steps[0] != steps[3] != steps[6], "another order in each epoch"
    assert (state.step, state.tokens) == (9, 3 * sum(LENGTHS))


# -- the log ----------------------------------------------------------------------------------------------------


def test_the_lines_of_the_log(tmp_path):
    rows = examples_of("classification", LENGTHS)

    def validate(model):
        assert not model.training
        return held_out_figures(model, rows[:3], task="classification", pad_token_id=0)

    changes = {"num_train_epochs": 4, "logging_steps": 5, "lr_scheduler_type": "linear", "learning_rate": 1e-3}
    train(network("classification"), make_job("classification", rows, tmp_path / "a", **changes), validate=validate)
    found = lines(tmp_path / "a")
    steps = [(line["step"], "loss" in line) for line in found]
    assert steps == [(3, False), (5, True), (6, False), (9, False), (10, True), (12, True), (12, False)]
    keys = {"step", "epoch", "stage"}
    losses = keys | {"loss", "accuracy", "learning_rate", "grad_norm", "tokens_per_second", "memory_mb"}
    for line in found:
        assert set(line) == (losses if "loss" in line else keys | {"validation_loss", "validation_accuracy"})
        assert line["epoch"] == round(line["step"] / 3, 4) and line["stage"] == 1
    # A line is the mean over its window, and a run that logs each step has the single figures.
    every = changes | {"logging_steps": 1}
    train(network("classification"), make_job("classification", rows, tmp_path / "b", **every), validate=validate)
    single = {line["step"]: line for line in lines(tmp_path / "b") if "loss" in line}
    windows = {5: range(1, 6), 10: range(6, 11), 12: range(11, 13)}
    for line in (line for line in found if "loss" in line):
        for key in ("loss", "accuracy"):
            mean = sum(single[step][key] for step in windows[line["step"]]) / len(windows[line["step"]])
            assert line[key] == pytest.approx(mean)
        assert line["learning_rate"] == pytest.approx(1e-3 * (12 - (line["step"] - 1)) / 12), "the rate of that step"
        assert 0 < line["tokens_per_second"] < 1e7 and line["memory_mb"] > 10


# -- best, last, kept -------------------------------------------------------------------------------------------


def scripted(scores: list[float], seen: list, *, metric: str = "loss"):
    """A validation that gives `scores` in turn, and remembers the weights it saw."""

    def validate(model):
        seen.append(weights_of(model))
        return {"loss": 1.0, metric: scores[len(seen) - 1]}

    return validate


@pytest.mark.parametrize(
    ("metric", "scores", "best"),
    [
        ("loss", [3.0, 1.0, 2.0], 2),
        ("loss", [1.0, 2.0, 3.0], 1),
        ("loss", [3.0, 2.0, 1.0], 3),
        ("loss", [2.0, 2.0, 2.0], 1),
        ("accuracy", [0.1, 0.9, 0.3], 2),
        ("accuracy", [0.1, 0.2, 0.3], 3),
    ],
)
def test_the_best_weights_are_kept(metric, scores, best, tmp_path):
    rows, seen = examples_of("classification", LENGTHS[:4]), []
    model = network("classification")
    job = make_job("classification", rows, tmp_path, num_train_epochs=3, metric_for_best_model=metric)
    state = train(model, job, validate=scripted(scores, seen, metric=metric))
    assert state.best_step == best
    assert state.best == (-scores[best - 1] if metric == "loss" else scores[best - 1])
    assert state.best_validation[metric] == scores[best - 1] and state.validation[metric] == scores[2]
    assert all(torch.equal(value, seen[best - 1][name]) for name, value in weights_of(model).items())
    assert not model.training
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == sorted({f"step-{best:08d}", "step-00000003"})


def test_the_last_weights_are_kept_when_that_was_asked(tmp_path):
    seen, model = [], network("generation")
    rows = examples_of("generation", LENGTHS[:4])
    job = make_job("generation", rows, tmp_path, num_train_epochs=3, load_best_model_at_end=False)
    state = train(model, job, validate=scripted([1.0, 2.0, 3.0], seen))
    assert state.best_step == 1
    assert all(torch.equal(value, seen[2][name]) for name, value in weights_of(model).items())


def test_without_a_figure_for_the_metric_the_last_weights_are_kept(tmp_path):
    """held_out_figures gives no loss where no validation row has a class that training knows."""
    job = make_job("classification", examples_of("classification", LENGTHS[:4]), tmp_path, num_train_epochs=2)
    state = train(network("classification"), job, validate=lambda model: {"accuracy": 0.0})
    assert (state.step, state.best, state.best_step) == (2, None, None)


@pytest.mark.parametrize(
    ("changes", "saved"),
    [
        ({}, [3, 6]),
        ({"save_steps": 2}, [2, 4, 6]),
        ({"eval_steps": 4}, [4, 6]),
        ({"eval_steps": 5, "save_steps": 3}, [3, 6]),
        ({"save_steps": 100}, [6]),
    ],
)
def test_checkpoints_are_written_when_due(changes, saved, tmp_path, monkeypatch):
    from tuneloop.train import loop

    steps, write = [], loop.save_checkpoint
    monkeypatch.setattr(loop, "save_checkpoint", lambda *a, **k: steps.append(k["state"]["step"]) or write(*a, **k))
    rows = examples_of("generation", LENGTHS)
    train(network("generation"), make_job("generation", rows, tmp_path, num_train_epochs=2, **changes), validate=None)
    assert steps == saved
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000006"], "no validation, so no best"


# -- refusals ---------------------------------------------------------------------------------------------------


def test_a_step_without_anything_to_learn_is_refused(tmp_path):
    rows = examples_of("generation", [5, 5], weights=[0.0, 0.0])
    with pytest.raises(TrainError, match="Step 1 has no trained token"):
        train(network("generation"), make_job("generation", rows, tmp_path), validate=None)


@pytest.mark.parametrize(
    ("name", "told"), [("tensorbord", "no tracker .tensorbord.*tensorboard"), ("clearml", "pip install")]
)
def test_a_tracker_that_would_be_passed_over_is_refused(name, told):
    check_trackers(["tensorboard"])
    with pytest.raises(RecipeError, match=told):
        check_trackers(["tensorboard", name])


def test_tensorboard_gets_the_figures(tmp_path):
    rows = examples_of("generation", LENGTHS[:4])
    train(network("generation"), make_job("generation", rows, tmp_path, report_to=["tensorboard"]), validate=None)
    events = list((tmp_path / "trackers").rglob("events.out.tfevents.*"))
    assert len(events) == 1
    assert b"grad_norm" in events[0].read_bytes()


def test_another_tracker_is_found_by_its_name(tmp_path, monkeypatch):
    told: list[tuple[int, dict[str, float]]] = []

    class Notebook(GeneralTracker):
        name, requires_logging_directory = "mlflow", False

        def __init__(self, run_name: str, **_: object) -> None:
            super().__init__()
            told.append((-1, {"tuneloop": run_name == "tuneloop"}))

        @property
        def tracker(self) -> object:
            return self

        def log(self, values: dict[str, float], step: int | None = None, **_: object) -> None:
            told.append((step or 0, values))

    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "mlflow", Notebook)
    for module in (tracking, loop):
        monkeypatch.setattr(module, "get_available_trackers", lambda: [LoggerType.MLFLOW])
    check_trackers(["mlflow"])
    rows = examples_of("generation", [9, 5, 7, 6, 8, 4])
    train(network("generation"), make_job("generation", rows, tmp_path, report_to=["mlflow"]), validate=None)
    logged = lines(tmp_path)
    assert told[0] == (-1, {"tuneloop": True})
    assert [step for step, _ in told[1:]] == [line["step"] for line in logged] == [1, 2]
    assert [values["loss"] for _, values in told[1:]] == [line["loss"] for line in logged]


@pytest.mark.parametrize("task", TASKS)
def test_a_step_looks_at_the_device_once(task, tmp_path, monkeypatch):
    """No value is fetched while gradients add up, and one list of three before the update.

    On a GPU each fetch would wait for it. tests/model/test_decoder_gpu.py shows the same of the model itself.
    """
    fetched: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.equal):
                fetched.append(str(function))
            return function(*args, **kwargs or {})

    counts: dict[int, int] = {}
    figures, step = loop._Run._figures, loop._Run.one_step

    def watched(run, bar):
        fetched.clear()
        with Watch():
            step(run, bar)
        counts[run.state.step] = len(fetched)

    def counted(run, *args):
        fetched.append("figures")
        return figures(run, *args)

    monkeypatch.setattr(loop._Run, "one_step", watched)
    monkeypatch.setattr(loop._Run, "_figures", counted)
    model = network(task)
    job = make_job(task, examples_of(task, [9] * 20), tmp_path, tokens_per_micro_batch=18)
    object.__setattr__(job, "reader", choose_reader(network_of(model), fast=True))
    train(model, job, validate=None)
    assert len(counts) == 5 and counts[1] > 1 < counts[3]  # the first gradients are checked, and that weights moved
    allowed = 2 if task == "classification" else 1  # whether a row has no class is asked of the batch, on the host
    assert all(counts[number] <= 1 + 2 * (allowed - 1) for number in (2, 4, 5)), counts
