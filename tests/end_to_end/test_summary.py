"""What `run` prints for a reader: the table, the report's address, and three commands that work as they stand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from tests.end_to_end.workbench import intent_rows, read_json, tuneloop, write_jsonl

from tuneloop.disk import write_json

Copied = Callable[[str], Path]


def commands(out: str) -> list[list[str]]:
    """The words of each command below `next:`, without the program."""
    lines = out.partition("\nnext:\n")[2].splitlines()
    assert lines and all(line.startswith("  tuneloop ") for line in lines), out
    return [shlex.split(line)[1:] for line in lines]


@pytest.mark.parametrize("kind", ["intents", "answers"])
def test_the_report_is_there_and_each_printed_command_runs(copied: Copied, kind: str):
    folder = copied(kind)
    done = tuneloop("run", "recipe.yaml", folder=folder)
    assert done.status == 0, done.err
    link = re.search(r"^report  (file://\S+)$", done.out, re.MULTILINE)
    assert link is not None, done.out
    assert Path(unquote(urlsplit(link[1]).path)) == (folder / "runs/r/report.html").resolve()
    found = commands(done.out)
    assert [words[0] for words in found] == ["chat", "predict", "merge"]
    for words in found:
        ended = tuneloop(*words, folder=folder, stdin="where is the transfer\n" if words[0] == "chat" else "")
        assert ended.status == 0, (words, ended.err)
        assert ended.out.strip()
    assert (folder / "runs/r/merged/model.safetensors").is_file()


def test_predict_shows_as_many_answers_as_the_printed_command_asks_for(copied: Copied):
    folder = copied("intents")
    predict = next(words for words in commands(tuneloop("run", "recipe.yaml", folder=folder).out) if "-n" in words)
    assert predict[-2:] == ["-n", "5"]
    assert len(tuneloop(*predict, folder=folder).out.splitlines()) == 5


def buys(folder: Path, **verdicts: str) -> list[str]:
    """The rivals that `run` calls the better buy, where the scores hold these verdicts on accuracy."""
    path = folder / "runs/r/scores.json"
    scores = read_json(path)
    for gap in scores["comparisons"]:
        gap["verdict"] = verdicts.get(gap["b"], "better") if gap["metric"] == "accuracy" else "worse"
    write_json(path, scores)
    done = tuneloop("run", "recipe.yaml", folder=folder)
    assert done.status == 0 and "scores: unchanged, kept" in done.err
    return re.findall(
        r"^The (\w+) is better than the tuned model on these rows: it is the better buy\.$", done.out, re.M
    )


def test_a_rival_that_is_better_is_called_the_better_buy(copied: Copied):
    folder = copied("intents")
    assert buys(folder) == []
    assert buys(folder, floor="no difference", untuned="worse") == []
    assert buys(folder, floor="worse") == ["floor"]
    assert buys(folder, floor="worse", encoder="worse") == ["floor", "encoder"]


def test_a_program_that_is_not_on_the_path_is_named_as_it_was_typed(copied: Copied, monkeypatch: pytest.MonkeyPatch):
    from tuneloop.cli import show

    folder = copied("intents")
    monkeypatch.chdir(folder)
    for typed, shown in {
        str(folder / ".venv/bin/tuneloop"): ".venv/bin/tuneloop",
        "/opt/other/bin/tuneloop": "/opt/other/bin/tuneloop",
        "/opt/other/pytest": "tuneloop",
    }.items():
        monkeypatch.setattr("sys.argv", [typed])
        assert show._program() == shown


def test_new_rows_go_the_same_way(copied: Copied):
    """The printed commands name the run, so that another run beside it is not taken for it."""
    folder = copied("intents")
    write_jsonl(folder / "train.jsonl", intent_rows(["rome", "oslo", "lima", "bern"]))
    done = tuneloop("run", "recipe.yaml", "--set", "name=other", "--set", "evaluate.untuned_rows=0", folder=folder)
    assert done.status == 0, done.err
    assert [words[1] for words in commands(done.out)] == ["other"] * 3
