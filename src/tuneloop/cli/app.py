"""The verbs. Results on stdout, commentary on stderr; heavy imports inside the verb that needs them.

Exit 0 done, 1 an expected error (one paragraph), 2 usage, 3 a check said no, 130 Ctrl-C.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tuneloop import __version__
from tuneloop.errors import TuneloopError
from tuneloop.memory import share_one_heap


class _Verbs(TyperGroup):
    """Says why a verb was stopped; typer would swallow the words and the exit status with them."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            print(f"\n{stop if str(stop) else 'stopped'}", file=sys.stderr)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Verbs, name="tuneloop", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="From raw domain rows to a tuned, scored DeepSeek R1, from one recipe.",
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file (YAML).")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Run: a name under runs/, or a path.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, e.g. train.learning_rate=1e-4.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a trained model whose inputs changed.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def main() -> None:
    """Run the command line and turn expected errors into one paragraph and an exit status."""
    share_one_heap()  # before any thread has made a heap of its own
    # Threads of tokenizers that fork make it print a warning a user can do nothing about.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Notices of libraries to their own developers.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|peft|torch")
    hook = threading.excepthook
    # TensorBoard writes in a thread of its own, which raises what the disk said in the training too: told once there.
    threading.excepthook = lambda told: None if isinstance(told.exc_value, OSError) else hook(told)
    try:
        ended = app(standalone_mode=False)  # the status of typer.Exit, or what the verb returned: nothing
    except TuneloopError as error:
        from tuneloop.terminal import err

        err.print("[bold red]error:[/bold red] ", end="")
        err.print(str(error), markup=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        from tuneloop.disk import explain_os_error

        print(f"error: {explain_os_error(error, Path(str(error.filename or 'the output')))}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        _usage_or_raise(error)
    else:
        sys.exit(ended if isinstance(ended, int) else 0)
    finally:
        threading.excepthook = hook


def _usage_or_raise(error: Exception) -> None:
    """Typer's own errors (wrong options) exit with 2; anything else is a fault and shows its traceback."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    if "ClickException" in kinds:
        shown: Any = error
        shown.show()
        sys.exit(shown.exit_code)
    if "Abort" in kinds:
        sys.exit(130)
    if "Exit" in kinds:
        ended: Any = error
        sys.exit(ended.exit_code)
    raise error


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


@app.command()
def init(
    template: Annotated[str, typer.Argument(metavar="TEMPLATE", help="Starter to write; see --list.")] = "",
    folder: Annotated[
        Path | None, typer.Option("--folder", "-f", help="Where to write; default: the template's name.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that differ.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Name the templates.")] = False,
) -> None:
    """Write a starter recipe and its sample rows."""
    from tuneloop.starter import TEMPLATES, write_starter

    if list_ or not template:
        for name, entry in TEMPLATES.items():
            print(f"{name:28} {entry.about}")
        return
    written = write_starter(template.replace("-", "_"), folder or Path(template), overwrite=overwrite)
    for path in written:
        print(path)
    recipe = next(path for path in written if path.suffix == ".yaml")
    print(f"\nnext: tuneloop run {recipe}", file=sys.stderr)


@app.command()
def run(recipe: RecipePath, set_: Overrides = None, overwrite: Overwrite = False, json_: Json = False) -> None:
    """Do every station: rows, training, scores, report; only what changed is done again."""
    from tuneloop import flow
    from tuneloop.cli.show import print_scores, print_summary

    folder = flow.run(recipe, set_, overwrite=overwrite)
    if json_:
        from tuneloop.disk import read_json

        _print_json({"run": str(folder.path), "scores": read_json(folder.scores)})
        return
    print_scores(folder)
    print_summary(folder)


@app.command()
def clean(recipe: RecipePath, set_: Overrides = None, overwrite: Overwrite = False, json_: Json = False) -> None:
    """Raw rows -> clean rows, dropped rows with their reasons, splits."""
    from tuneloop import flow
    from tuneloop.cli.show import print_data_report
    from tuneloop.disk import read_json

    folder = flow.clean(recipe, set_, overwrite=overwrite)
    report = read_json(folder.data / "report.json")
    _print_json(report) if json_ else print_data_report(folder, report)


@app.command()
def review(
    run: RunName,
    reviewer: Annotated[str, typer.Option(metavar="NAME", help="Who decides; default: the login name.")] = "",
    stage: Annotated[str, typer.Option(help="Only rows that this cleaning stage doubts, e.g. label_errors.")] = "",
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Only so many rows.")] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the waiting rows there, as .jsonl or .csv.")
    ] = None,
    import_: Annotated[Path | None, typer.Option("--import", metavar="FILE", help="Take decisions from there.")] = None,
    format_: Annotated[
        str, typer.Option("--format", help="Of FILE: jsonl, csv or label-studio; default: by its suffix.")
    ] = "",
    new_labels: Annotated[bool, typer.Option("--new-labels", help="Import labels that no training row has.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Only say what waits and what was decided.")] = False,
    json_: Json = False,
) -> None:
    """Decide about the rows that wait: here, in a spreadsheet, or in Label Studio."""
    from tuneloop.cli.review import Request, do_review

    asked = Request(run, reviewer, stage, limit, export, import_, format_, new_labels, stats, json_)
    done = do_review(asked)
    if json_:
        _print_json(done)


@app.command()
def train(
    recipe: RecipePath,
    set_: Overrides = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """Rows if they changed, and training; no scores."""
    from tuneloop import flow

    folder = flow.tune(recipe, set_, resume=resume, overwrite=overwrite)
    if json_:
        _print_json({"run": str(folder.path), "model": str(folder.model), "training": folder.stations()["train"]})
        return
    print(folder.model)


@app.command()
def evaluate(
    run: RunName,
    data: Annotated[
        Path | None, typer.Option("--data", help="Other rows to score on (results go to evaluations/).")
    ] = None,
    json_: Json = False,
) -> None:
    """Score a run against the floor, the encoder and the untuned model."""
    from tuneloop import flow
    from tuneloop.cli.show import print_score_table

    scores = flow.evaluate(run, data=data)
    _print_json(scores) if json_ else print_score_table(scores)


@app.command()
def predict(
    run: RunName,
    data: Annotated[Path, typer.Argument(metavar="FILE", help="Rows to answer (JSONL, JSON, CSV, Parquet, or .txt).")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write JSONL there instead of stdout.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Only the first so many rows.")] = None,
) -> None:
    """Rows in, answers out, as JSON lines."""
    from tuneloop import flow
    from tuneloop.disk import write_text

    lines = [json.dumps(answer, ensure_ascii=False) for answer in flow.predict(run, data, limit=limit)]
    if out is None:
        print("\n".join(lines))
    else:
        write_text(out, "".join(line + "\n" for line in lines))
        print(out)


@app.command()
def chat(
    run: RunName,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Budget of an answer.")] = 512,
) -> None:
    """Talk to a run's model; /reset forgets, /exit or Ctrl-D ends."""
    from tuneloop.cli.talk import talk

    talk(run, max_new_tokens=max_new_tokens)


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Two runs or more; the first is the base.")],
    json_: Json = False,
) -> None:
    """Runs side by side, with paired statistics on the rows they share."""
    from tuneloop import flow
    from tuneloop.cli.show import print_comparison

    found = flow.compare(runs)
    _print_json(found) if json_ else print_comparison(found)


@app.command()
def merge(
    run: RunName,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write; default: merged/ in the run.")
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Largest allowed difference of a logit.")] = 1e-3,
    json_: Json = False,
) -> None:
    """Merge a run's adapter into the weights, checked logit by logit."""
    from dataclasses import asdict

    from tuneloop.release.merge import merge as merge_run

    merged = merge_run(run, out, tolerance=tolerance)
    if json_:
        _print_json(asdict(merged))
        return
    print(
        f"{merged.folder}: largest difference of a logit {merged.largest_difference:.2e} over {merged.prompts} prompts"
    )


@app.command()
def show(
    recipe: RecipePath,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Samples to show.")] = 3,
    set_: Overrides = None,
) -> None:
    """Rendered samples, trained and masked tokens in two colours, and the share that is trained."""
    from tuneloop.cli.show import show_samples

    show_samples(recipe, set_, count)


@app.command()
def doctor(
    recipe: Annotated[Path | None, typer.Argument(metavar="[RECIPE]", help="Recipe to plan for.")] = None,
    set_: Overrides = None,
    json_: Json = False,
) -> None:
    """Machine, versions, and (with a recipe) memory, time and advice."""
    from tuneloop.cli.doctor import examine, print_examination

    found = examine(recipe, set_)
    _print_json(found) if json_ else print_examination(found)


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    from tuneloop.recipe import schema as recipe_schema

    _print_json(recipe_schema())


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)
