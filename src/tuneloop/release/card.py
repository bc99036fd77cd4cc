"""The model card that every run writes: what the model is, and plain code that computes the same without tuneloop."""

from __future__ import annotations

from typing import Any

from tuneloop.recipe import Recipe

LABELS = 'labels = json.loads(pathlib.Path(HERE, "labels.json").read_text("utf-8"))\n'
ANSWER = "answer = labels[int(logits.argmax())]\n"


def model_card(recipe: Recipe, args: dict[str, Any], labels: list[str]) -> str:
    """Markdown for model/README.md.

    Args:
        recipe: The run's recipe.
        args: What args.json holds.
        labels: Class names by index; [] for generation.
    """
    base = args["base"]["name_or_path"] if args["base"]["kind"] == "hub" else f"the base model ({args['base']['kind']})"
    source = f"\nRows: {recipe.data.source}\n" if recipe.data.source else ""
    classes = f"\nClasses ({len(labels)}): {', '.join(labels)}\n" if labels else ""
    return (
        f"---\nlibrary_name: {'transformers' if recipe.adapt.method == 'full' else 'peft'}\ntags: [tuneloop]\n---\n"
        f"# {recipe.name}\n\nA {recipe.task.type} model, tuned by tuneloop with {recipe.adapt.method} on {base}"
        f" (weights sha256 {args['base']['sha256'][:16]}).\n{source}{classes}\n"
        "The scores stand in `scores.json` and `report.html` of the run.\n\n"
        f"## The same logits without tuneloop\n\n```python\n{plain_code(recipe, args)}```\n"
    )


def plain_code(recipe: Recipe, args: dict[str, Any]) -> str:
    """At most ten lines of plain transformers, PEFT and torch, below the imports, that give the logits for one `text`.

    They read three names: `BASE` (the base model's folder or hub id), `HERE` (this folder) and `text`.
    """
    if recipe.task.type == "generation":
        return _generation_code(recipe)
    if args["pooling"] == "last" and args["attention"] == "causal" and not args["architecture"].startswith("Bert"):
        return _seq_cls_code(recipe)
    return _head_code(recipe, args)


def _generation_code(recipe: Recipe) -> str:
    return (
        f"{_imports(recipe, 'torch', 'AutoModelForCausalLM')}"
        f"{_load(recipe, 'AutoModelForCausalLM')}"
        "tokenizer = AutoTokenizer.from_pretrained(HERE)\n"
        'prompt = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)\n'
        'ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids\n'
        "with torch.no_grad():\n    logits = model(ids).logits\n"
    )


def _seq_cls_code(recipe: Recipe) -> str:
    full = recipe.adapt.method == "full"
    return (
        f"{_imports(recipe, 'json, pathlib, torch', 'AutoModelForSequenceClassification')}"
        f"{LABELS}{_load(recipe, 'AutoModelForSequenceClassification', '' if full else ', num_labels=len(labels)')}"
        "tokenizer = AutoTokenizer.from_pretrained(HERE)\n"
        "model.config.pad_token_id = tokenizer.pad_token_id  # for batches\n"
        f'ids = tokenizer(text, truncation=True, max_length={recipe.data.max_length}, return_tensors="pt").input_ids\n'
        "with torch.no_grad():\n    logits = model(ids).logits\n"
        f"{ANSWER}"
    )


def _head_code(recipe: Recipe, args: dict[str, Any]) -> str:
    bert = args["architecture"].startswith("Bert")
    network, option = ("AutoModel", ", add_pooling_layer=False") if bert else ("AutoModelForCausalLM", "")
    both = args["attention"] == "bidirectional" and not bert
    mask = "mask = torch.ones(1, 1, ids.shape[1], ids.shape[1], dtype=torch.bool)  # every token sees the whole text\n"
    stack = "model.base_model" if recipe.adapt.method == "full" else "model.get_base_model().base_model"
    pooled = "states.mean(1)" if args["pooling"] == "mean" else "states[:, -1]"
    return (
        f"{_imports(recipe, 'json, pathlib, torch', network, 'from safetensors.torch import load_file')}"
        f"{LABELS}{_load(recipe, network, option)}"
        'head = load_file(f"{HERE}/head.safetensors")\n'
        f'ids = AutoTokenizer.from_pretrained(HERE)(text, truncation=True, max_length={recipe.data.max_length}, return_tensors="pt").input_ids\n'
        f"{mask if both else ''}"
        f"with torch.no_grad():\n    states = {stack}(ids{', attention_mask=mask' if both else ''}).last_hidden_state\n"
        f'logits = {pooled} @ head["weight"].T + head["bias"]\n'
        f"{ANSWER}"
    )


def _imports(recipe: Recipe, modules: str, network: str, *more: str) -> str:
    """Import only what is used: a fully tuned model needs no PEFT."""
    peft = [] if recipe.adapt.method == "full" else ["from peft import PeftModel"]
    lines = [f"import {modules}", *peft, *more, f"from transformers import {network}, AutoTokenizer"]
    return "\n".join(lines) + "\n\n"


def _load(recipe: Recipe, network: str, options: str = "") -> str:
    """The lines that load the network, and the adapter where there is one."""
    if recipe.adapt.method == "full":
        return f"model = {network}.from_pretrained(HERE, dtype=torch.float32{options}).eval()\n"
    return (
        f"model = {network}.from_pretrained(BASE, dtype=torch.float32{options})\n"
        "model = PeftModel.from_pretrained(model, HERE).eval()\n"
    )
