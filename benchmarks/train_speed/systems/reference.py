"""The reference of every loss: plain transformers and PEFT, one document at a time, nothing padded, nothing clever.

Not a rival: it is what the others' losses are held against, for the documents of each step that they took.
"""

from __future__ import annotations

import torch
from peft import get_peft_model
from torch.nn.functional import cross_entropy

from benchmarks.train_speed.job import Job, job_of_this_process, write_result
from benchmarks.train_speed.start import put_start
from benchmarks.train_speed.systems.trainer import HEAD, load, lora
from benchmarks.train_speed.watch import Watch


def main(job: Job) -> None:
    """Train on the documents of `job.order`, step by step."""
    watch = Watch(job)
    tokens = watch.tokens
    model = get_peft_model(load(job, tokens), lora(job, tokens))
    heads = [parameter for name, parameter in model.named_parameters() if name.endswith(HEAD)]
    put_start(model, job.start, head=heads[0] if heads else None)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=job.learning_rate, betas=(0.9, 0.999), weight_decay=0.0, foreach=False)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / job.horizon)
    model.train()
    watch.see_model(model)
    watch.begin()
    for numbers in job.order or []:
        weight = tokens.weight(numbers)
        for number in numbers:
            document = tokens.documents[number]
            ids = torch.tensor([document.ids])
            labels = torch.tensor([document.labels if tokens.task == "generation" else document.target])
            labels = labels[None] if labels.ndim == 1 and tokens.task == "generation" else labels
            watch.feed({"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels})
            logits = model(input_ids=ids, use_cache=False).logits
            if tokens.task == "generation":
                loss = cross_entropy(logits[0, :-1], labels[0, 1:], reduction="sum") / weight
            else:
                loss = cross_entropy(logits, labels, reduction="sum") / weight
            loss.backward()
            watch.add_loss(float(loss.detach()))
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    write_result(job, watch.result(lambda inputs: inputs["input_ids"]))  # one document a batch: none sees another


if __name__ == "__main__":
    main(job_of_this_process())
