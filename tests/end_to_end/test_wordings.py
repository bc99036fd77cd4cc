"""Wordings that are made once, through the real command: a fake teacher, a tiny masked model, and what a run makes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.augment.made import Fake, Reply, listening, make_masked, said
from tests.end_to_end.workbench import (
    PLACES,
    Done,
    answer_rows,
    files_of,
    finish,
    intent_rows,
    read_json,
    runs_of,
    start,
    tuneloop,
    write_answers,
    write_jsonl,
    write_recipe,
)

from tuneloop import flow
from tuneloop.recipe import load_recipe
from tuneloop.rows.table import read_table
from tuneloop.runs import RUNS, RunFolder
from tuneloop.train import loop

Models = Callable[[str], Path]
KEY = "sk-hunter2"
TRAIN = [row["text"] for row in intent_rows(PLACES[:8])]
VERBS = ["declined", "refused", "blocked"]


@pytest.fixture
def teacher() -> Iterator[Fake]:
    """One that says every text otherwise."""
    with listening() as fake:
        fake.answer = retold
        yield fake


def retold(body: dict[str, Any], number: int) -> Reply:
    return said("tell me: " + body["messages"][1]["content"])


@pytest.fixture(scope="session")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny masked model that knows the verbs of the first intent, and hardly anything else."""
    texts = [row["text"].lower().replace("'", " ") for row in intent_rows(PLACES[:8])]
    more = [text.replace("declined", verb) for text in texts if "declined" in text for verb in VERBS]
    return make_masked(tmp_path_factory.mktemp("masked"), more + texts[:6], [VERBS])


def write(folder: Path, model: Path, fake: Fake, **changes: Any) -> Path:
    """A recipe whose rows are paraphrased, as rows of their own unless `changes` say otherwise."""
    asked = {"base_url": fake.url, "model": "t", "timeout": 5.0, "retries": 0, "workers": 1}
    given = {"augment__paraphrase": {"use": "append"}, **changes}
    given["teacher"] = asked | given.get("teacher", {})
    return write_recipe(folder, "classification", model, **given)


def manifest(folder: Path) -> dict[str, Any]:
    return dict(read_json(folder / "runs/r/manifest.json")["stations"])


def variants(folder: Path) -> list[Any]:
    return read_table(folder / "runs/r/data/variants.parquet")


def trained(folder: Path, *words: str, verb: str = "train") -> Done:
    done = tuneloop(verb, "recipe.yaml", *words, folder=folder)
    assert done.status == 0, done.err
    return done


# -- the whole path ---------------------------------------------------------------------------------------------


def test_a_run_asks_for_its_training_rows_alone_and_trains_on_what_it_gets(
    intents: Path, model: Models, teacher: Fake, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TEACHER_KEY", KEY)
    write(intents, model("llama"), teacher, teacher={"api_key_env": "TEACHER_KEY", "workers": 3},
          augment__synonyms={"rate": 0.5})  # fmt: skip
    done = trained(intents, verb="run")
    assert sorted(teacher.texts) == sorted(TRAIN)
    assert {body["headers"]["Authorization"] for body in teacher.asked} == {f"Bearer {KEY}"}
    assert [row.text for row in variants(intents)] == [f"tell me: {text}" for text in TRAIN]
    data = RunFolder(intents / "runs/r").data
    originals = {row.id: row for row in read_table(data / "train.parquet")}
    for row in variants(intents):
        (name, _, origin) = row.lineage[-1].partition(":")
        assert (
            name == "paraphrase" and row.label == originals[origin].label and row.text.endswith(originals[origin].text)
        )
    assert [len(read_table(data / f"{side}.parquet")) for side in ("train", "validation", "test")] == [72, 18, 18]
    stations = manifest(intents)
    assert list(stations) == ["data", "augment", "train", "evaluate", "report"]
    assert stations["train"]["rows"]["rows"] == 144 and stations["train"]["steps"] == 18
    assert (stations["augment"]["teacher"]["prompt_tokens"], stations["augment"]["teacher"]["completion_tokens"]) == (
        720, 360,
    )  # fmt: skip
    assert "augment: paraphrase: 72 wordings of 72" in done.err
    assert "72 questions, 0 answered before; 720 tokens asked and 360 answered, 720 and 360 of them now" in done.err
    check_page(intents, "Other wordings of training rows", ["made once, rows of their own", "drawn anew each epoch"])
    held = [path for path in (intents / "runs").rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert held == [] and KEY not in done.err + done.out
    check_kept(intents, teacher)


def check_page(folder: Path, title: str, says: list[str]) -> None:
    """The page shows the methods, how many rows they made, and marked samples."""
    page = (folder / "runs/r/report.html").read_text(encoding="utf-8")
    part = page.split(f"<h2>{title}</h2>")[1].split("</section>")[0]
    assert all(text in part for text in says), part
    assert "<mark>tell me: </mark>" in part and ">72<" in part and "720" in part


def check_kept(folder: Path, teacher: Fake) -> None:
    """A second run asks nothing and does nothing; other training does not ask either, nor in another language."""
    asked, before = len(teacher.asked), files_of(folder)
    done = trained(folder, verb="run")
    assert "augment: wordings unchanged, kept" in done.err and "training: unchanged, kept" in done.err
    assert files_of(folder) == before
    entry = manifest(folder)["augment"]
    done = trained(folder, "--set", "train.learning_rate=0.02", "--set", "report.lang=zh", "--overwrite", verb="run")
    assert manifest(folder)["augment"] == entry and len(teacher.asked) == asked
    assert "训练样本的其他说法" in (folder / "runs/r/report.html").read_text(encoding="utf-8")


def test_the_masked_model_needs_no_teacher_and_is_not_loaded_twice(
    intents: Path, model: Models, masked: Path, monkeypatch: pytest.MonkeyPatch
):
    write_recipe(intents, "classification", model("llama"),
                 augment__masked_lm={"name_or_path": str(masked), "rate": 0.3, "use": "append"})  # fmt: skip
    trained(intents)
    made = variants(intents)
    assert any("refused" in row.text or "blocked" in row.text for row in made)
    assert all(row.lineage[-1].startswith("masked_lm:") for row in made)
    entry = manifest(intents)["augment"]
    assert entry["methods"]["masked_lm"]["wordings"] == len(made) and "teacher" not in entry
    assert sum(entry["methods"]["masked_lm"]["not_used"].values()) == 72 - len(made) > 0
    assert len(entry["masked_lm"]["sha256"]) == 64
    with (intents / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"text": "my card was declined at bonn", "label": "card"}\n')
    seen: list[int] = []
    monkeypatch.setattr(
        "tuneloop.augment.masked_lm.MaskedModel.__call__", lambda _, texts, hidden: counted(seen, texts)
    )
    trained(intents, "--overwrite")
    assert seen == [1]
    assert [row.id for row in variants(intents)] == [row.id for row in made]


def counted(seen: list[int], texts: list[str]) -> list[Any]:
    seen.append(len(texts))
    return [[] for _ in texts]


# -- what is asked again ----------------------------------------------------------------------------------------


def test_only_what_is_new_is_asked_after_a_change_of_rows(intents: Path, model: Models, teacher: Fake):
    write(intents, model("llama"), teacher)
    trained(intents)
    with (intents / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"text": "my card was declined at bonn", "label": "card"}\n')
    told = tuneloop("train", "recipe.yaml", folder=intents).paragraph()
    assert "the input files changed" in told and len(teacher.asked) == 72
    trained(intents, "--overwrite")
    assert teacher.texts[72:] == ["my card was declined at bonn"] and len(variants(intents)) == 73
    write_jsonl(intents / "test.jsonl", intent_rows(PLACES[11:]))
    teacher.url = "http://127.0.0.1:9/v1"  # nobody need listen where all is answered
    write(intents, model("llama"), teacher)
    trained(intents, "--overwrite")
    assert len(teacher.asked) == 73 and len(variants(intents)) == 73


def test_rows_that_are_cleaned_again_take_their_wordings_out_of_the_manifest(
    intents: Path, model: Models, teacher: Fake
):
    write(intents, model("llama"), teacher)
    trained(intents)
    write_jsonl(intents / "train.jsonl", intent_rows(PLACES[:7]))
    done = tuneloop("clean", "recipe.yaml", "--overwrite", folder=intents)
    assert done.status == 0, done.err
    assert list(manifest(intents)) == ["data"] and not (intents / "runs/r/data/variants.parquet").exists()
    trained(intents)
    assert len(teacher.asked) == 72 and len(variants(intents)) == 63


def test_more_copies_ask_for_those_alone_and_other_words_of_use_for_none(intents: Path, model: Models, teacher: Fake):
    teacher.answer = lambda body, number: said(f"tell me ({'first' if number <= 72 else 'again'}): {texts(body)}")
    write(intents, model("llama"), teacher)
    trained(intents)
    write(intents, model("llama"), teacher, augment__paraphrase={"copies": 2})
    told = tuneloop("train", "recipe.yaml", folder=intents).paragraph()
    assert "augment changed in the recipe" in told
    trained(intents, "--overwrite")
    assert len(teacher.asked) == 144 and len(variants(intents)) == 144
    assert manifest(intents)["train"]["rows"]["rows"] == 72  # swapped in now: no rows of their own
    entry = manifest(intents)["augment"]
    write(intents, model("llama"), teacher, augment__paraphrase={"copies": 2, "probability": 0.9})
    trained(intents, "--overwrite")
    assert manifest(intents)["augment"] == entry and len(teacher.asked) == 144


def texts(body: dict[str, Any]) -> str:
    return str(body["messages"][1]["content"])


# The process sends itself a real signal right after an answer was kept, so that the moment is always the same.
SIGNAL_AT = """
import os, signal
from tuneloop.terminal import Bar
advance, answers = Bar.advance, 0
def count(bar, *args, **options):
    global answers
    advance(bar, *args, **options)
    answers += bar._title == "teacher"
    if answers == 10:
        answers += 1
        os.kill(os.getpid(), signal.{name})
Bar.advance = count
from tuneloop.cli import main
main()
"""


@pytest.mark.parametrize(("name", "most"), [("SIGINT", 72), ("SIGKILL", 73)])
def test_a_run_that_is_cut_goes_on_with_the_questions_that_are_left(
    intents: Path, model: Models, teacher: Fake, name: str, most: int
):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run behind nohup
    try:
        write(intents, model("llama"), teacher)
        done = finish(start("train", "recipe.yaml", folder=intents, script=SIGNAL_AT.format(name=name)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.status == (130 if name == "SIGINT" else -signal.SIGKILL), done.err
    assert "Traceback" not in done.err
    assert 10 <= len(teacher.asked) <= 12
    left = intents / "runs/r/data/.variants.parquet.0123abcd.tmp"  # or while it was written
    left.write_bytes(b"half")
    assert name == "SIGKILL" or f"72 questions, 0 answered before; {10 * len(teacher.asked)} tokens asked" in done.err
    assert list(manifest(intents)) == ["data"] and not (intents / "runs/r/data/variants.parquet").exists()
    done = trained(intents)
    assert "answered before; 720 tokens asked and 360 answered" in done.err  # the whole cost, whoever paid it when
    assert 72 <= len(teacher.asked) <= most and sorted(set(teacher.texts)) == sorted(TRAIN)
    assert len(variants(intents)) == 72
    assert not [path for path in files_of(intents / "runs/r") if ".tmp" in path or "journal" in path]


# -- a teacher that fails ---------------------------------------------------------------------------------------


def failing(when: Callable[[str], bool], reply: Reply) -> Callable[[dict[str, Any], int], Reply]:
    return lambda body, number: reply if when(texts(body)) else retold(body, number)


def test_few_missing_answers_are_said_and_asked_for_when_that_is_wanted(intents: Path, model: Models, teacher: Fake):
    teacher.answer = failing(lambda text: text == TRAIN[5], (500, "out of memory", {}))
    write(intents, model("llama"), teacher)
    done = trained(intents)
    assert "left 1 of 72 questions unanswered: HTTP 500 (1); it said: out of memory. Training goes on" in done.err
    assert "augment: paraphrase: 71 wordings of 72; not used: HTTP 500 1" in done.err
    entry = manifest(intents)["augment"]
    assert entry["teacher"]["unanswered"] == {"HTTP 500": 1} and len(variants(intents)) == 71
    assert "augment: wordings unchanged, kept" in trained(intents).err and len(teacher.asked) == 72
    teacher.answer = retold
    stricter = ("--set", "teacher.max_missing=0.0")
    told = tuneloop("train", "recipe.yaml", *stricter, folder=intents).paragraph()
    assert "would replace: teacher changed in the recipe" in told
    trained(intents, *stricter, "--overwrite")
    assert teacher.texts[72:] == [TRAIN[5]] and len(variants(intents)) == 72


def test_many_missing_answers_stop_the_run_before_it_trains(intents: Path, model: Models, teacher: Fake):
    teacher.answer = failing(lambda text: "card" in text, (429, "slow down", {}))
    write(intents, model("llama"), teacher)
    lost = [text for text in TRAIN if "card" in text]
    told = tuneloop("train", "recipe.yaml", folder=intents).paragraph()
    left = f"left {len(lost)} of 72 questions unanswered. Got HTTP 429 ({len(lost)}); it said: slow down"
    assert f"The teacher at {teacher.url} {left}" in told
    assert "Allowed: 2.0% (teacher.max_missing)" in told and "only the rest is asked" in told
    assert list(manifest(intents)) == ["data"]
    teacher.asked.clear()
    done = trained(intents, "--set", "teacher.max_missing=1.0")  # what the paragraph says
    assert teacher.texts == lost[:8]  # as many failures in a row, and the rest is not asked
    assert len(variants(intents)) == 72 - len(lost) and "Training goes on" in done.err
    teacher.answer = retold
    teacher.asked.clear()
    trained(intents, "--overwrite")
    assert teacher.texts == lost and len(variants(intents)) == 72


def test_what_the_teacher_says_amiss_is_counted_and_never_trained_on(intents: Path, model: Models, teacher: Fake):
    held_out = intent_rows(PLACES[10:])[0]["text"]
    amiss = {
        TRAIN[0]: "I'm sorry, but I can't assist with that.", TRAIN[1]: TRAIN[1].upper(), TRAIN[2]: "",
        TRAIN[3]: "Here is another wording: " + TRAIN[3], TRAIN[4]: "我昨天转出去的那笔钱到现在还没有收到请帮忙查一下",
        TRAIN[5]: "x " * 200, TRAIN[6]: "?", TRAIN[7]: held_out, TRAIN[8]: TRAIN[20],
    }  # fmt: skip
    teacher.answer = lambda body, number: said(amiss.get(texts(body)) if texts(body) in amiss else texts(body) + " now")
    write(intents, model("llama"), teacher)
    trained(intents)
    assert manifest(intents)["augment"]["methods"]["paraphrase"] == {
        "wordings": 63, "wanted": 72,
        "not_used": {
            "a held-out row says it": 1, "another language": 1, "another training row says it": 1, "empty": 1,
            "far too long": 1, "far too short": 1, "refused": 1, "talk around the result": 1, "the same text": 1,
        },
    }  # fmt: skip
    assert {row.text for row in variants(intents)} == {f"{text} now" for text in TRAIN if text not in amiss}


def test_a_teacher_that_fails_leaves_the_model_that_stands(intents: Path, model: Models, teacher: Fake):
    write(intents, model("llama"), teacher)
    trained(intents)
    before = files_of(intents / "runs/r")
    teacher.answer = lambda body, number: (401, f"wrong key: {body['headers'].get('Authorization')}", {})
    told = tuneloop("train", "recipe.yaml", "--set", "teacher.model=u", "--overwrite", folder=intents).paragraph()
    assert "refuses to answer. Got HTTP 401: wrong key" in told
    assert files_of(intents / "runs/r") == before
    assert tuneloop("predict", "r", "test.jsonl", "-n", 1, folder=intents).status == 0


def test_wordings_that_lose_their_label_are_warned_of(intents: Path, model: Models, teacher: Fake):
    teacher.answer = lambda body, number: said(f"where is the transfer that I sent to my friend number {number}")
    write(intents, model("llama"), teacher)
    done = trained(intents)
    labels = read_json(intents / "runs/r/augment.json")["labels"]
    made = variants(intents)
    kept = sum(row.label == "transfer" for row in made)
    assert len(made) > 60 and kept < len(made) / 2
    # Each row, which no epoch changes, and its wording, which is held against it.
    assert (labels["judged"], labels["kept"]) == (72 + len(made), 72 + kept)
    assert (labels["changed"], labels["changed_kept"]) == (len(made), kept)
    assert {lost["judge"] for lost in labels["lost"]} == {"transfer"}
    told = (
        f"{72 + kept} ({labels['share']:.1%}) keep their label in other words; of the {len(made)} that differ, {kept}"
    )
    assert f"{told}; wanted 97% or more: lower the rates of augment.paraphrase, or leave one out" in done.err
    assert done.err.count("keep their label in other words") == 1


# -- errors before anything heavy -------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"teacher": {"base_url": "localhost:8000"}}, "teacher.base_url: should be an address"),
    ({"teacher": {"api_key_env": "NO_SUCH_KEY"}}, "the environment variable NO_SUCH_KEY is not set"),
    ({"teacher": {"base_url": "http://127.0.0.1:9/v1"}}, "Nobody listens at http://127.0.0.1:9/v1"),
    ({"augment__masked_lm": {"name_or_path": "LLAMA"}}, "is no masked model. Got LlamaForCausalLM"),
    ({"augment__masked_lm": {"name_or_path": "BERT"}}, "is no masked model. Got BertModel"),
    ({"augment__masked_lm": {"name_or_path": "no-such-folder"}}, "Check augment.masked_lm.name_or_path"),
    ({"augment__masked_lm": {"name_or_path": "MASKED", "revision": "v1"}}, "augment.masked_lm.revision is for hub ids"),
]


@pytest.mark.parametrize(("changes", "says"), WRONG, ids=[says[:40] for _, says in WRONG])
def test_what_is_wrong_is_told_before_a_model_is_loaded_or_a_question_asked(
    intents: Path, model: Models, masked: Path, teacher: Fake, monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any], says: str,
):  # fmt: skip
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    monkeypatch.setattr("tuneloop.model.load.load_model", lambda *_, **__: pytest.fail("a model was loaded"))
    folders = {"LLAMA": model("llama"), "BERT": model("bert"), "MASKED": masked}
    named = changes.get("augment__masked_lm", {}).get("name_or_path")
    if named in folders:
        changes = {"augment__masked_lm": changes["augment__masked_lm"] | {"name_or_path": str(folders[named])}}
    write(intents, model("llama"), teacher, **changes)
    told = tuneloop("run", "recipe.yaml", folder=intents).paragraph()
    assert says in told
    assert runs_of(intents) == [] and teacher.asked == []


def test_without_a_teacher_nothing_begins(intents: Path, model: Models):
    write_recipe(intents, "classification", model("llama"), augment__back_translation={})
    told = tuneloop("run", "recipe.yaml", folder=intents).paragraph()
    assert "augment.back_translation: there is no teacher to ask" in told and runs_of(intents) == []


# -- swapped in, generation, what is shown before -----------------------------------------------------------------


def ready_of(recipe: Path) -> Any:
    """What a run would train, before its first step."""
    settings = load_recipe(recipe)
    plan = flow._rows_and_model(RunFolder(RUNS / settings.name), settings, recipe.parent, overwrite=False)
    assert plan.ready is not None
    return plan.ready


def test_swapped_in_a_share_of_the_rows_asks_in_other_words_each_epoch(
    intents: Path, model: Models, teacher: Fake, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(intents)
    ready = ready_of(write(intents, model("llama"), teacher, augment__paraphrase={"probability": 0.4}))
    assert len(ready.train) == 72
    places = list(range(72))
    epochs = [[e.input_ids for e in ready.fresh(places, epoch)] for epoch in range(30)]
    changed = [[ids != e.input_ids for ids, e in zip(drawn, ready.train, strict=True)] for drawn in epochs]
    assert 0.35 < sum(map(sum, changed)) / (30 * 72) < 0.45 and changed[0] != changed[1]
    assert {ready.tokenizer.decode(ids)[:8] for drawn in epochs for ids in drawn} >= {"tell me:"}


def test_back_translation_of_conversations_changes_what_they_ask_alone(
    tmp_path: Path, model: Models, teacher: Fake, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    write_answers(tmp_path)
    teacher.answer = lambda body, number: said(
        f"de({texts(body)})" if "into German" in body["messages"][0]["content"] else texts(body)[3:-1] + ", please"
    )
    asked = {"base_url": teacher.url, "model": "t", "retries": 0}
    path = write_recipe(tmp_path, "generation", model("llama"), teacher=asked,
                        augment__back_translation={"use": "append"})  # fmt: skip
    ready = ready_of(path)
    originals = answer_rows(PLACES[:8])
    made = variants(tmp_path)
    assert [row.messages[0].content for row in made] == [f"{row['prompt']}, please" for row in originals]
    assert [row.messages[1].content for row in made] == [row["completion"] for row in originals]
    assert len(ready.train) == 48 and ready.facts["rows"] == 48 and len(teacher.asked) == 48
    answers = [[token for token in e.labels if token != -100] for e in ready.train]
    assert answers[:24] == answers[24:]


def test_a_wording_that_the_cut_would_shorten_is_no_row(intents: Path, model: Models, teacher: Fake):
    long = " qzx" * 11  # letters that the tokenizer merges with none
    teacher.answer = lambda body, number: said(texts(body) + (long if texts(body) == TRAIN[0] else "!"))
    write(intents, model("llama"), teacher, data__max_length=48)
    done = trained(intents)
    assert len(variants(intents)) == 72 and manifest(intents)["train"]["rows"]["rows"] == 143
    assert "augment: 71 rows are other wordings" in done.err
    told = read_json(intents / "runs/r/augment.json")
    assert told["added"] == 71 and told["skipped"] == {"paraphrase: longer than data.max_length": 1}


def test_show_and_doctor_ask_nobody(intents: Path, model: Models, teacher: Fake):
    write(intents, model("llama"), teacher, augment__synonyms={"rate": 0.9})
    before = tuneloop("show", "recipe.yaml", "-n", 9, folder=intents)
    assert before.status == 0, before.err
    assert "in other words" in before.out and "synonyms" in before.out
    assert "paraphrase: nothing is made yet" in before.out
    plan = tuneloop("doctor", "recipe.yaml", "--json", folder=intents).json()
    assert any("augment.paraphrase may add 72 rows" in line for line in plan["advice"])
    assert teacher.asked == [] and runs_of(intents) == []
    trained(intents)
    after = tuneloop("show", "recipe.yaml", "-n", 2, folder=intents).out
    assert "paraphrase:" in after and f"tell me: {TRAIN[0]}" in after and "nothing is made yet" not in after
    assert len(teacher.asked) == 72


def test_the_second_model_of_an_overwrite_keeps_its_wordings_until_it_is_replaced(
    intents: Path, model: Models, teacher: Fake, monkeypatch: pytest.MonkeyPatch
):
    write(intents, model("llama"), teacher)
    trained(intents)
    before = files_of(intents / "runs/r")

    save = loop.save_checkpoint

    def cut(*arguments: Any, **options: Any) -> Any:
        save(*arguments, **options)
        os.kill(os.getpid(), signal.SIGINT)

    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(loop, "save_checkpoint", cut)
    done = tuneloop("train", "recipe.yaml", "--set", "teacher.model=u", "--overwrite", folder=intents)
    signal.signal(signal.SIGINT, heard)
    assert done.status == 130, done.err
    previous = files_of(intents / "runs/r/previous")
    for name in ("data/variants.parquet", "augment.json", "recipe.yaml", "model/head.safetensors"):
        assert previous[name] == before[name], name
    assert manifest(intents)["augment"]["teacher"]["model"] == "u" and len(teacher.asked) == 144
