"""The commands of a README, and running them as a reader would.

    python scripts/readme_commands.py README.md          run every line of its ```sh blocks, in order
    python scripts/readme_commands.py README.md --list   only print them

They run in a temporary folder that holds this clone's .venv, demo/ and runs/ as links, so that what they make is
gone afterwards and nothing of the user's own is touched. Lines that only `make` something are stages of .ci/run.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SECONDS = 900


def commands(text: str) -> list[str]:
    """Every command of the ```sh blocks, comments and blank lines left out, `\\` continuations joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    bare = [re.sub(r"\s+#.*$", "", line).strip() for line in lines]
    return [line for line in bare if line and not line.startswith("#")]


def as_a_reader(folder: Path) -> None:
    """Make `folder` look like a clone after `make demo`: links to what is there, a runs/ of its own."""
    for name in (".venv", "demo"):
        (folder / name).symlink_to(Path(name).resolve())
    (folder / "runs").mkdir()
    for run in Path("runs").glob("*"):
        (folder / "runs" / run.name).symlink_to(run.resolve())


def main(readme: Path, *, only_list: bool) -> int:
    """Run the commands one by one with an empty stdin; stop at the first that fails."""
    found = commands(readme.read_text(encoding="utf-8"))
    if not found:
        print(f"{readme} has no ```sh block", file=sys.stderr)
        return 1
    if only_list:
        print("\n".join(found))
        return 0
    with tempfile.TemporaryDirectory() as name:
        as_a_reader(Path(name))
        for command in found:
            if command.startswith("make "):
                continue
            print(f"$ {command}", flush=True)
            began, shell = time.monotonic(), ["bash", "-euo", "pipefail", "-c", command]
            done = subprocess.run(shell, cwd=name, stdin=subprocess.DEVNULL, timeout=SECONDS)
            print(f"  {time.monotonic() - began:.0f} s, exit {done.returncode}", flush=True)
            if done.returncode != 0:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), only_list="--list" in sys.argv[2:]))
