"""A run that was stopped, killed or damaged, and resumed, ends as the unbroken one: bit for bit on a CPU."""

import json
import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from tests.tiny_training import LABELS, VOCABULARY, examples_of, lora_settings, make_job, small, weights_of
from torch import nn

from tuneloop.errors import TrainError
from tuneloop.examples.batch import epoch_order
from tuneloop.examples.encode import Example
from tuneloop.infer.held_out import held_out_figures
from tuneloop.model.adapt import METHODS
from tuneloop.model.heads import Classifier
from tuneloop.train.loop import Stopped, train

LENGTHS = [9, 4, 13, 2, 7, 12, 5, 6, 3, 8]  # 3 steps an epoch
RUN = {"num_train_epochs": 3, "logging_steps": 4, "lr_scheduler_type": "cosine", "warmup_steps": 2, "weight_decay": 0.1}
TIMES = {"tokens_per_second", "memory_mb"}


def network(task: str, method: str) -> nn.Module:
    """Fresh; LoRA with dropout, so that the generator's state counts."""
    model = METHODS[method](small("llama"), adapt=lora_settings(dropout=0.3), seed=0).model
    torch.manual_seed(0)
    return Classifier(model, LABELS, pooling="mean", attention="causal") if task == "classification" else model


def go(
    task: str, method: str, folder, *, resume: bool = False, kill_at: int | None = None, by=signal.SIGINT, key="k",
    fresh=None,
):  # fmt: skip
    """One session of a run, perhaps with a signal in its `kill_at`th forward pass; gives (weights, state)."""
    model, rows = network(task, method), examples_of(task, LENGTHS)
    torch.manual_seed(99 if resume else 4)  # a resumed process starts with another generator

    def validate(tuned: nn.Module) -> dict[str, float]:
        return held_out_figures(tuned, rows[:4], task=task, pad_token_id=0)

    passes = [0]

    def strike(*_) -> None:
        passes[0] += model.training
        if model.training and passes[0] == kill_at:
            os.kill(os.getpid(), by)

    network_ = model.backbone if isinstance(model, Classifier) else model
    (network_.get_base_model() if method == "lora" else network_).model.register_forward_pre_hook(strike)
    job = replace(make_job(task, rows, folder, key=key, **RUN), fresh=fresh)
    state = train(model, job, validate=validate, resume=resume)
    return weights_of(model), state


def log(folder) -> list[dict]:
    return [
        {k: v for k, v in json.loads(line).items() if k not in TIMES}
        for line in (folder / "log.jsonl").read_text().splitlines()
    ]


def assert_same(found, wanted, folder, reference) -> None:
    assert log(folder) == log(reference)
    for name in wanted[0]:
        assert torch.equal(found[0][name], wanted[0][name]), name
    for field in ("step", "tokens", "best", "best_step", "validation", "best_validation"):
        assert getattr(found[1], field) == getattr(wanted[1], field), field


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """(task, method) -> (result, folder) of a run that nothing disturbed."""
    made = {}

    def run(task, method):
        if (task, method) not in made:
            folder = tmp_path_factory.mktemp("unbroken")
            made[task, method] = (go(task, method, folder), folder)
        return made[task, method]

    return run


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("task", ["classification", "generation"])
def test_stopped_and_resumed_is_unbroken(task, method, tmp_path, unbroken):
    wanted, reference = unbroken(task, method)
    assert wanted[1].step == 9 and len(log(reference)) == 3 + 3
    with pytest.raises(Stopped, match=r"stopped at step 5 of 9.*kept"):
        go(task, method, tmp_path, kill_at=5)  # in the middle of an epoch, and of a line of the log
    assert "step-00000005" in [p.name for p in (tmp_path / "checkpoints").iterdir()]
    assert_same(go(task, method, tmp_path, resume=True), wanted, tmp_path, reference)


class Drawn:
    """Examples of which each epoch shows other tokens, and what was asked of it: (places, epoch) a step."""

    def __init__(self, task: str) -> None:
        self.examples, self.asked = examples_of(task, LENGTHS), list[tuple[list[int], int]]()

    def __call__(self, places: Sequence[int], epoch: int) -> list[Example]:
        self.asked.append((list(places), epoch))
        return [self._shown(self.examples[place], epoch) for place in places]

    def _shown(self, example: Example, epoch: int) -> Example:
        def other(token: int) -> int:
            return 3 + (token + 11 * (epoch + 1)) % (VOCABULARY - 3)

        labels = [label if label == -100 else other(label) for label in example.labels]
        return replace(example, input_ids=[other(token) for token in example.input_ids], labels=labels)


@pytest.mark.parametrize("task", ["classification", "generation"])
def test_the_rows_that_an_epoch_draws_are_trained_on_and_drawn_again_after_a_stop(task, tmp_path, unbroken):
    whole, before, after = Drawn(task), Drawn(task), Drawn(task)
    wanted = go(task, "lora", tmp_path / "whole", fresh=whole)
    orders = [epoch_order(len(LENGTHS), 3, epoch) for epoch in range(3)]
    steps = [(order[first : first + 4], epoch) for epoch, order in enumerate(orders) for first in (0, 4, 8)]
    assert whole.asked == steps and len(steps) == 9
    with pytest.raises(Stopped, match="at step 5 of 9"):
        go(task, "lora", tmp_path / "cut", fresh=before, kill_at=5)
    assert_same(
        go(task, "lora", tmp_path / "cut", fresh=after, resume=True), wanted, tmp_path / "cut", tmp_path / "whole"
    )
    assert before.asked + after.asked == steps and len(before.asked) == 5
    plain, reference = unbroken(task, "lora")
    assert all(not torch.equal(wanted[0][name], plain[0][name]) for name in plain[0])
    assert log(reference) != log(tmp_path / "whole")


@pytest.mark.parametrize("kill_at", [1, 3, 9])
def test_stopped_at_the_first_at_an_epochs_last_and_at_the_last_step(kill_at, tmp_path, unbroken):
    wanted, reference = unbroken("generation", "lora")
    with pytest.raises(Stopped):
        go("generation", "lora", tmp_path, kill_at=kill_at)
    assert_same(go("generation", "lora", tmp_path, resume=True), wanted, tmp_path, reference)


def test_stopped_again_and_again(tmp_path, unbroken):
    wanted, reference = unbroken("generation", "lora")
    for attempt in range(4):
        with pytest.raises(Stopped, match=f"at step {2 * attempt + 2} of 9"):
            go("generation", "lora", tmp_path, resume=attempt > 0, kill_at=2)
    assert_same(go("generation", "lora", tmp_path, resume=True), wanted, tmp_path, reference)


def test_sigterm_stops_as_ctrl_c_does_and_the_handlers_are_put_back(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="at step 2"):
        go("generation", "lora", tmp_path, kill_at=2, by=signal.SIGTERM)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert issubclass(Stopped, KeyboardInterrupt), "exit code 130"


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    model, calls = network("generation", "lora"), []

    def strike(*_) -> None:
        calls.append(1)
        os.kill(os.getpid(), signal.SIGINT)

    model.get_base_model().model.register_forward_pre_hook(strike)
    job = make_job("generation", examples_of("generation", LENGTHS), tmp_path, tokens_per_micro_batch=8)
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(model, job, validate=None)
    assert stopped.type is KeyboardInterrupt and len(calls) == 2
    assert not (tmp_path / "checkpoints").exists()


def test_killed_without_warning_it_goes_on_from_the_last_checkpoint(tmp_path, unbroken):
    """Past the checkpoint of step 6, with lines in the log that were never saved, the last of them half written."""
    wanted, reference = unbroken("generation", "lora")
    with pytest.raises(Stopped):
        go("generation", "lora", tmp_path, kill_at=6)
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 8, "loss": 77.0}\n{"step": 9, "lo')
    (tmp_path / "checkpoints" / ".step-00000009.abc.tmp").mkdir()
    assert_same(go("generation", "lora", tmp_path, resume=True), wanted, tmp_path, reference)


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(tmp_path, unbroken, capsys):
    wanted, reference = unbroken("classification", "lora")
    with pytest.raises(Stopped):
        go("classification", "lora", tmp_path, kill_at=5)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000003", "step-00000005"], "the best and the last"
    path = tmp_path / "checkpoints" / "step-00000005" / "optimizer.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    found = go("classification", "lora", tmp_path, resume=True)
    assert "optimizer.safetensors" in capsys.readouterr().err
    assert_same(found, wanted, tmp_path, reference)
    assert (tmp_path / "checkpoints" / "damaged-step-00000005").is_dir()


def test_resume_without_a_checkpoint_starts_at_the_start(tmp_path, unbroken, capsys):
    """As a fresh run, apart from the generator that the caller seeds."""
    wanted, reference = unbroken("generation", "full")  # no dropout there
    assert_same(go("generation", "full", tmp_path, resume=True), wanted, tmp_path, reference)
    assert "nothing to resume" in capsys.readouterr().err


def test_a_finished_run_resumes_to_its_end(tmp_path, unbroken):
    wanted, reference = unbroken("generation", "lora")
    shutil.copytree(reference, tmp_path / "copy")
    assert_same(go("generation", "lora", tmp_path / "copy", resume=True), wanted, tmp_path / "copy", reference)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    with pytest.raises(Stopped):
        go("generation", "lora", tmp_path, kill_at=2)
    with pytest.raises(TrainError, match="other rows, model or settings"):
        go("generation", "lora", tmp_path, resume=True, key="another")


def test_seconds_add_up_over_sessions(tmp_path, monkeypatch):
    from tuneloop.train import loop

    clock = [0.0]

    def tick() -> float:
        clock[0] += 1.0
        return clock[0]

    monkeypatch.setattr(loop.time, "monotonic", tick)
    with pytest.raises(Stopped):
        go("generation", "lora", tmp_path, kill_at=4)
    first = json.loads((tmp_path / "checkpoints" / "step-00000004" / "state.json").read_text())["seconds"]
    clock[0] += 1000.0  # between the sessions: not counted
    _, state = go("generation", "lora", tmp_path, resume=True)
    assert first > 5 and first + 5 < state.seconds < first + 900
