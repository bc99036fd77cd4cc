"""TRL's SFTTrainer with PEFT, over token ids and labels that are ready."""

from __future__ import annotations

from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

from benchmarks.train_speed.job import Job, job_of_this_process, write_result
from benchmarks.train_speed.systems.trainer import Beside, arguments, dataset, load, lora, states_of, watch_trainer
from benchmarks.train_speed.watch import Watch


def main(job: Job) -> None:
    """Train as the job says."""
    watch = Watch(job)
    models = watch_trainer(watch)
    trainer = SFTTrainer(
        model=load(job, watch.tokens),
        args=SFTConfig(**{"max_length": 512} | arguments(job)),
        train_dataset=dataset(watch.tokens),
        processing_class=AutoTokenizer.from_pretrained(job.model, padding_side="right"),
        peft_config=lora(job, watch.tokens),
        callbacks=[Beside(job, watch)],
    )
    trainer.train()
    write_result(job, watch.result(states_of(models[0])))


if __name__ == "__main__":
    main(job_of_this_process())
