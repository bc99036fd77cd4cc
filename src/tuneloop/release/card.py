"""The model card that every run writes: what the model is, and plain code that computes the same without tuneloop."""

from __future__ import annotations

from typing import Any

from tuneloop.recipe import Recipe


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
    """Lines of plain transformers, PEFT and torch that give the model's logits for `text`.

    They read three names: `BASE` (the base model's folder or hub id), `HERE` (this folder) and `text`.
    """
    if recipe.task.type == "generation":
        return _generation_code(recipe)
    if args["pooling"] == "last" and args["attention"] == "causal" and not args["architecture"].startswith("Bert"):
        return _seq_cls_code(recipe)
    return _head_code(recipe, args)


def _generation_code(recipe: Recipe) -> str:
    if recipe.adapt.method == "full":
        load = "model = AutoModelForCausalLM.from_pretrained(HERE, dtype=torch.float32).eval()\n"
    else:
        load = "model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32), HERE).eval()\n"
    return (
        "import torch\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f"tokenizer = AutoTokenizer.from_pretrained(HERE)\n{load}"
        'prompt = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)\n'
        'inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")\n'
        "with torch.no_grad():\n    logits = model(**inputs).logits\n"
    )


def _seq_cls_code(recipe: Recipe) -> str:
    load = (
        "model = AutoModelForSequenceClassification.from_pretrained(HERE, dtype=torch.float32).eval()\n"
        if recipe.adapt.method == "full"
        else "base = AutoModelForSequenceClassification.from_pretrained(BASE, num_labels=len(labels), dtype=torch.float32)\n"
        "model = PeftModel.from_pretrained(base, HERE).eval()\n"
    )
    return (
        "import json, torch\nfrom pathlib import Path\nfrom peft import PeftModel\n"
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n\n"
        f'tokenizer, labels = AutoTokenizer.from_pretrained(HERE), json.loads(Path(f"{{HERE}}/labels.json").read_text("utf-8"))\n{load}'
        "model.config.pad_token_id = tokenizer.pad_token_id\n"
        f'inputs = tokenizer(text, truncation=True, max_length={recipe.data.max_length}, return_tensors="pt")\n'
        'with torch.no_grad():\n    logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits\n'
        "answer = labels[int(logits.argmax())]\n"
    )


def _head_code(recipe: Recipe, args: dict[str, Any]) -> str:
    bert = args["architecture"].startswith("Bert")
    network = "AutoModelForCausalLM" if not bert else "AutoModel"
    option = ", add_pooling_layer=False" if bert else ""
    where = "HERE" if recipe.adapt.method == "full" else "BASE"
    wrap = "" if recipe.adapt.method == "full" else "model = PeftModel.from_pretrained(model, HERE).eval()\n"
    mask = 'inputs["attention_mask"]'
    if args["attention"] == "bidirectional" and not bert:
        mask = f"{mask}[:, None, None, :].bool().expand(-1, 1, {mask}.shape[1], -1)"
    states = "model.get_base_model()" if wrap else "model"
    pooled = "states.mean(1)" if args["pooling"] == "mean" else "states[:, -1]"
    return (
        f"import json, torch\nfrom pathlib import Path\nfrom peft import PeftModel\nfrom safetensors.torch import load_file\n"
        f"from transformers import {network}, AutoTokenizer\n\n"
        'labels, head = json.loads(Path(f"{HERE}/labels.json").read_text("utf-8")), load_file(f"{HERE}/head.safetensors")\n'
        "tokenizer = AutoTokenizer.from_pretrained(HERE)\n"
        f'model = {network}.from_pretrained({where}, dtype=torch.float32, attn_implementation="sdpa"{option}).eval()\n{wrap}'
        f'inputs = tokenizer(text, truncation=True, max_length={recipe.data.max_length}, return_tensors="pt")\n'
        f"with torch.no_grad():\n    states = {states}.base_model(\n"
        f'        input_ids=inputs["input_ids"], attention_mask={mask}, use_cache=False\n    ).last_hidden_state\n'
        f'    logits = torch.nn.functional.linear({pooled}, head["weight"], head.get("bias"))\n'
        "answer = labels[int(logits.argmax())]\n"
    )
