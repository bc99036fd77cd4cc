"""transformers' Trainer with PEFT, batches padded by transformers' own collators."""

from __future__ import annotations

from peft import get_peft_model
from transformers import (
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from benchmarks.train_speed.job import Job, job_of_this_process
from benchmarks.train_speed.systems.trainer import (
    Beside,
    arguments,
    dataset,
    load,
    lora,
    states_of,
    watch_trainer,
    write_result_of_all,
)
from benchmarks.train_speed.watch import Watch


def main(job: Job) -> None:
    """Train as the job says."""
    watch = Watch(job)
    models = watch_trainer(watch)
    tokenizer = AutoTokenizer.from_pretrained(job.model, padding_side="right")
    collator = DataCollatorForSeq2Seq if watch.tokens.task == "generation" else DataCollatorWithPadding
    trainer = Trainer(
        model=get_peft_model(load(job, watch.tokens), lora(job, watch.tokens)),
        args=TrainingArguments(**arguments(job)),
        train_dataset=dataset(watch.tokens),
        data_collator=collator(tokenizer),
        processing_class=tokenizer,
        callbacks=[Beside(job, watch)],
    )
    if watch.tokens.task == "classification":
        # transformers 5.23 believes that this head's loss divides by the documents of the step, which it does not
        # (GenericForSequenceClassification passes no num_items_in_batch on): accumulated gradients would be 8 x too
        # large. Said so, it divides by the accumulation steps.
        trainer.model_accepts_loss_kwargs = False
    trainer.train()
    write_result_of_all(job, watch.result(states_of(models[0])))


if __name__ == "__main__":
    main(job_of_this_process())
