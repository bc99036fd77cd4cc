"""The public surface: `__all__` is exactly what is there, loads on first use, and the package itself loads no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tuneloop
from tuneloop.errors import TuneloopError

PUBLIC = [
    "__version__", "clean", "compare", "evaluate", "load_recipe", "merge", "open_queue", "predict", "run", "tune",
]  # fmt: skip


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_all_is_the_sorted_public_surface():
    assert tuneloop.__all__ == sorted(PUBLIC)
    assert sorted({"__version__", *tuneloop._PUBLIC}) == tuneloop.__all__


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_each_public_name_is_a_documented_function(name: str):
    function = getattr(tuneloop, name)
    assert callable(function)
    assert function.__doc__
    assert function.__module__.startswith("tuneloop.")


def test_no_public_function_has_a_modules_name():
    """Importing `tuneloop.x` sets the attribute `x` of the package, and the function of that name would be gone."""
    package = Path(tuneloop.__file__).parent
    modules = {path.stem for path in package.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    assert len(modules) > 15
    assert modules & set(tuneloop.__all__) == set()


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'tunes'"):
        _ = tuneloop.tunes


def test_import_loads_nothing_heavy():
    heavy = "{'torch', 'transformers', 'peft', 'accelerate', 'datasets', 'polars', 'sklearn', 'numpy'}"
    assert python(f"import sys, tuneloop; print(sorted({heavy} & set(sys.modules)))") == "[]"


def test_reading_a_recipe_loads_nothing_heavy():
    heavy = "{'torch', 'transformers', 'polars', 'numpy'}"
    assert python(f"import sys; from tuneloop import load_recipe; print(sorted({heavy} & set(sys.modules)))") == "[]"


def test_errors_are_one_exported_tree():
    import tuneloop.errors as errors

    found = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(found) == 8
    assert all(issubclass(kind, TuneloopError) for kind in found)


def test_the_version_is_the_packages_own():
    from importlib.metadata import version

    assert tuneloop.__version__ == version("tuneloop")
