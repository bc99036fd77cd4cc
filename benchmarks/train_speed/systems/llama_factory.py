"""LLaMA-Factory's own supervised training, over a tokenised set on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets import DatasetDict
from llamafactory.train.tuner import run_exp

from benchmarks.train_speed.job import TARGETS, Job, job_of_this_process, write_result
from benchmarks.train_speed.systems.trainer import Beside, arguments, dataset, states_of, watch_trainer
from benchmarks.train_speed.watch import Watch


def main(job: Job) -> None:
    """Train as the job says."""
    watch = Watch(job)
    models = watch_trainer(watch)
    folder = Path(job.folder) / "tokens"
    rows = dataset(watch.tokens)
    masks = [[1] * len(ids) for ids in rows["input_ids"]]
    DatasetDict({"train": rows.add_column("attention_mask", masks)}).save_to_disk(str(folder))
    asked: dict[str, Any] = arguments(job) | {
        "stage": "sft", "do_train": True, "model_name_or_path": str(as_float32(job)), "template": "empty",
        "dataset": "tokens",
        "tokenized_path": str(folder), "cutoff_len": 512, "finetuning_type": "lora", "lora_rank": job.rank,
        "lora_alpha": job.alpha, "lora_dropout": 0.0, "lora_target": ",".join(TARGETS),
    }  # fmt: skip
    asked["disable_shuffling"] = asked["train_sampling_strategy"] == "sequential"
    run_exp(asked, callbacks=[Beside(job, watch)])
    write_result(job, watch.result(states_of(models[0])))


def as_float32(job: Job) -> Path:
    """The model's folder once more, with a config that says float32: LLaMA-Factory takes the config's word for it."""
    folder = Path(job.folder) / "model"
    folder.mkdir()
    for file in Path(job.model).iterdir():
        (folder / file.name).symlink_to(file)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").unlink()
    kept = {name: value for name, value in config.items() if name not in ("dtype", "torch_dtype")}
    (folder / "config.json").write_text(json.dumps(kept | {"torch_dtype": "float32"}), encoding="utf-8")
    return folder


if __name__ == "__main__":
    main(job_of_this_process())
