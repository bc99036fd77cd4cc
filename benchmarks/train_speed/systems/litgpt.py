"""LitGPT's own finetuning loop (litgpt.finetune.lora.fit), over token ids and labels that are ready.

Two things of it are not the protocol's, and are put right from outside: it takes the mean loss of each micro-batch,
whatever the number of its labels, and it does not clip. Both cost next to nothing.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import lightning
import torch
from litgpt.args import EvalArgs, TrainArgs
from litgpt.finetune import lora
from litgpt.lora import GPT, Config, mark_only_lora_as_trainable
from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.train_speed.job import Job, job_of_this_process, write_result
from benchmarks.train_speed.tokens import IGNORED, Document, TokenFile
from benchmarks.train_speed.watch import Inputs, Watch

NAMES = {
    "self_attn.o_proj": "attn.proj", "mlp.gate_proj": "mlp.fc_1", "mlp.up_proj": "mlp.fc_2",
    "mlp.down_proj": "mlp.proj",
}  # fmt: skip
FOR_EVER = 10**9


def main(job: Job) -> None:
    """Train as the job says; its option is `micro_batch_size`."""
    watch = Watch(job)
    tokens, size = watch.tokens, job.options["micro_batch_size"]
    fabric = lightning.Fabric(accelerator="cpu", devices=1, precision="32-true")
    with fabric.init_module():
        network = GPT(config_of(job))
    mark_only_lora_as_trainable(network)
    network.load_state_dict(weights_of(job), strict=False)
    put_start(network, job)
    watch.see_model(network)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=job.learning_rate, betas=(0.9, 0.999), weight_decay=0.0)
    optimizer.register_step_pre_hook(lambda *_: clip(trained))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / job.horizon)
    count = job.steps * job.documents_per_step
    rows = [{"input_ids": torch.tensor(one.ids), "document": one} for one in tokens.documents[:count]]
    loader = DataLoader(rows, size, collate_fn=functools.partial(collate, watch=watch))
    normalise(watch, job.documents_per_step // size)
    watch.begin()
    lora.fit(
        fabric=fabric, model=fabric.setup_module(network), optimizer=fabric.setup_optimizers(optimizer),
        scheduler=schedule, train_dataloader=fabric.setup_dataloaders(loader),
        val_dataloader=DataLoader(rows[:1]), devices=1, checkpoint_dir=Path(), out_dir=Path(job.folder), data=None,
        train=TrainArgs(
            save_interval=None, log_interval=FOR_EVER, global_batch_size=job.documents_per_step, micro_batch_size=size,
            epochs=2, max_steps=job.steps,
        ),
        eval=EvalArgs(interval=FOR_EVER),
    )  # fmt: skip
    write_result(job, watch.result(states_of(network)))


def config_of(job: Job) -> Config:
    """LitGPT's config of the base model, with LoRA on all seven matrices of a block."""
    told = json.loads((Path(job.model) / "config.json").read_text(encoding="utf-8"))
    parts = ("query", "key", "value", "projection", "mlp")
    rope = told.get("rope_parameters") or {}
    return Config(
        block_size=told["max_position_embeddings"], vocab_size=told["vocab_size"],
        padded_vocab_size=told["vocab_size"], n_layer=told["num_hidden_layers"], n_head=told["num_attention_heads"],
        n_embd=told["hidden_size"], n_query_groups=told["num_key_value_heads"], rotary_percentage=1.0,
        parallel_residual=False, bias=False, norm_class_name="RMSNorm", mlp_class_name="LLaMAMLP",
        intermediate_size=told["intermediate_size"], norm_eps=told["rms_norm_eps"],
        rope_base=int(told.get("rope_theta") or rope["rope_theta"]), lora_r=job.rank, lora_alpha=job.alpha,
        lora_dropout=0.0, **{f"lora_{part}": True for part in parts},
    )  # fmt: skip


def weights_of(job: Job) -> dict[str, Tensor]:
    """The base model's weights under LitGPT's names, by its own converter."""
    there: dict[str, Tensor] = {}
    for file in sorted(Path(job.model).glob("*.safetensors")):
        there |= load_file(file)
    found: dict[str, Tensor] = {}
    copy_weights_hf_llama(config_of(job), {}, found, {name: value.float() for name, value in there.items()})
    return found


@torch.no_grad()
def put_start(network: nn.Module, job: Job) -> None:
    """Set every adapter to the start weights; the A of queries, keys and values stand in one matrix.

    Raises:
        ValueError: if the network's adapters are not those of the file.
    """
    start, left = load_file(job.start), 0
    for number, block in enumerate(network.transformer.h):
        adapters = dict(block.named_modules())
        wanted = {theirs: start[f"{number}.{ours}"] for ours, theirs in NAMES.items()}
        wanted["attn.qkv"] = torch.cat([start[f"{number}.self_attn.{name}_proj"] for name in "qkv"])
        for name, drawn in wanted.items():
            adapters[name].lora_A.copy_(drawn)
            adapters[name].lora_B.zero_()
        left += 7
    adapters_there = sum(name.endswith("lora_A") for name, _ in network.named_parameters())
    if left != len(start) or adapters_there != 5 * len(network.transformer.h):
        raise ValueError(f"{left} of {len(start)} start weights have a place, {adapters_there} adapters are there")


def clip(trained: list[nn.Parameter]) -> None:
    """What LitGPT's loop leaves out."""
    torch.nn.utils.clip_grad_norm_(trained, 1.0)


def collate(rows: list[dict[str, Any]], *, watch: Watch) -> dict[str, Any]:
    """Right padding, as LitGPT's collator does it: to the longest of the micro-batch. The loop takes it at once."""
    documents: list[Document] = [row["document"] for row in rows]
    shape = (len(rows), max(len(one.ids) for one in documents))
    ids, labels = torch.full(shape, watch.tokens.pad), torch.full(shape, IGNORED)
    mask = torch.zeros(shape, dtype=torch.int64)
    for row, one in enumerate(documents):
        ids[row, : len(one.ids)] = torch.tensor(one.ids)
        labels[row, : len(one.ids)] = torch.tensor(one.labels)
        mask[row, : len(one.ids)] = 1
    watch.feed({"input_ids": ids, "labels": labels, "attention_mask": mask})
    counts = mask.sum(1, keepdim=True)
    return {"input_ids": ids, "labels": labels, "token_counts": {"raw": counts, "raw_plus_prompt_template": counts}}


def normalise(watch: Watch, accumulated: int) -> None:
    """Let each label weigh the same in its step, let `watch` see the shares, and ask for no text on the way."""
    plain, tokens = lora.chunked_cross_entropy, watch.tokens

    def over_the_step(logits: Any, targets: Tensor) -> Tensor:
        labels = int((targets != IGNORED).sum())
        loss = plain(logits, targets) * labels * accumulated / weight_of_step(watch, tokens)
        watch.add_loss(float(loss.detach()) / accumulated)
        return loss

    lora.chunked_cross_entropy = over_the_step
    lora.Tokenizer = lambda folder: None
    lora.validate = lambda *given, **named: torch.zeros(())


def weight_of_step(watch: Watch, tokens: TokenFile) -> int:
    """Labels of all documents of the step under way, as they stand in the file."""
    size = watch.job.documents_per_step
    return tokens.weight(range(len(watch.steps) * size, (len(watch.steps) + 1) * size))


def states_of(network: nn.Module) -> Any:
    """Gives the last states (B, T, D), before the language head."""
    network.eval()

    def states(inputs: Inputs) -> Tensor:
        kept: list[Tensor] = []
        hook = network.transformer.ln_f.register_forward_hook(lambda module, given, made: kept.append(made))
        network(inputs["input_ids"])
        hook.remove()
        return kept[0]

    return states


if __name__ == "__main__":
    main(job_of_this_process())
