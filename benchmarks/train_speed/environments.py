"""A virtual environment for each peer, built once under ~/.cache/tuneloop/benchmarks, torch first.

    REQUIREMENTS -> <cache>/benchmarks/<system>/{bin/python, installed.json}     or NotInstallable, with pip's reason

Every environment gets the torch of constraints.txt, so that no system wins by its matrix products. What settles on
the project's other versions is held to them too; LLaMA-Factory, LitGPT and torchtune bring their own. torchtune 0.6.1
loads beside that torch with torchao 0.14.1: 0.12.0 wants a part of torch that is gone, 0.16.0 lacks int4_weight_only.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from tuneloop.disk import sha256_json, write_json
from tuneloop.model.cache import cache_root
from tuneloop.terminal import say

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"


@dataclass(frozen=True)
class Requirement:
    """What a system is installed from.

    Attributes:
        packages: As pip takes them, exact versions.
        constrained: Whether all of constraints.txt holds, not only its torch.
        removed: Patterns of what is taken out again, in site-packages.
    """

    packages: tuple[str, ...]
    constrained: bool
    removed: tuple[str, ...] = ()


REQUIREMENTS: dict[str, Requirement] = {
    "hf_trainer": Requirement(("transformers", "peft", "accelerate", "datasets"), True),
    "trl": Requirement(("trl==1.16.0", "transformers", "peft", "accelerate", "datasets"), True),
    "llama_factory": Requirement(
        ("llamafactory==0.9.5",), False, removed=("torchvision*", "torchaudio/lib/*.so")
    ),  # both are built for the CUDA torch on PyPI and cannot load beside a CPU build; training on text needs neither
    "litgpt": Requirement(("litgpt==0.5.13",), False),
    "torchtune": Requirement(("torchtune==0.6.1", "torchao==0.14.1"), False),
}
"""Bare names take the version in constraints.txt. tuneloop itself runs in the project's own environment."""


class NotInstallable(Exception):
    """pip did not install a system; the text is its reason."""


def environment_folder(system: str) -> Path:
    """Where a system's environment lies."""
    return cache_root() / "benchmarks" / system


def python_of(system: str, *, own: bool = False) -> Path:
    """The interpreter that runs a system, its environment built first where it is not there.

    Args:
        system: "tuneloop", "reference" or a key of REQUIREMENTS.
        own: Run it in this process's environment, whatever it is (for a short look in CI).

    Raises:
        NotInstallable: with the reason; asked again, without trying again.
    """
    if own or system not in REQUIREMENTS:
        return Path(sys.executable)
    folder = environment_folder(system)
    wanted = sha256_json([asdict(REQUIREMENTS[system]), CONSTRAINTS.read_text(encoding="utf-8"), sys.version])
    stamp = folder / "installed.json"
    found = json.loads(stamp.read_text(encoding="utf-8")) if stamp.is_file() else {}
    if found.get("key") != wanted:
        found = {"key": wanted, "reason": _build(system, folder)}
        found["packages"] = _freeze(folder)
        write_json(stamp, found)
    if found["reason"]:
        raise NotInstallable(found["reason"])
    return folder / "bin" / "python"


def installed_packages(system: str) -> list[str]:
    """`name==version` of everything in a system's environment."""
    stamp = environment_folder(system) / "installed.json"
    packages: list[str] = json.loads(stamp.read_text(encoding="utf-8"))["packages"]
    return packages


def _build(system: str, folder: Path) -> str:
    """Make the environment; the reason if it cannot be made, else ""."""
    requirement = REQUIREMENTS[system]
    say(f"{system}: building its environment in {folder}, once ...")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    held = CONSTRAINTS if requirement.constrained else folder / "torch.txt"
    if not requirement.constrained:
        (torch,) = re.findall(r"^torch==.*$", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
        held.write_text(torch + "\n", encoding="utf-8")
    pip = [str(folder / "bin" / "python"), "-m", "pip"]
    for packages in (("torch",), requirement.packages):
        done = subprocess.run(
            [*pip, "install", "-c", str(held), *packages], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return pip_reason(done.stderr)
    for pattern in requirement.removed:
        for path in folder.glob(f"lib/python*/site-packages/{pattern}"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return ""


def pip_reason(told: str) -> str:
    """What pip said went wrong, on one line: its conflict where it names one, else its ERROR lines."""
    conflict = re.search(r"The conflict is caused by:\n((?:    .*\n?)+)", told)
    lines = conflict[1].splitlines() if conflict else [line for line in told.splitlines() if line.startswith("ERROR")]
    return "; ".join(line.strip().removeprefix("ERROR: ") for line in lines)[:600] or told.strip()[-300:]


def _freeze(folder: Path) -> list[str]:
    command = [str(folder / "bin" / "python"), "-m", "pip", "freeze"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
