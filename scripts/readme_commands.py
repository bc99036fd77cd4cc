"""The commands of a README, and running them as a reader would.

    python scripts/readme_commands.py README.md          run every line of its ```sh blocks, in order, in this folder
    python scripts/readme_commands.py README.md --list   only print them

Lines that only `make` something are CI's own stages and are not run again. What a command makes
(mine/, runs/mine*) is removed before the first one, so that the README can be run twice.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

SECONDS = 900
MADE = ["mine", "answers.jsonl", "runs/mine"]


def commands(text: str) -> list[str]:
    """Every command of the ```sh blocks, comments and blank lines left out, `\\` continuations joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    bare = [re.sub(r"\s+#.*$", "", line).strip() for line in lines]
    return [line for line in bare if line and not line.startswith("#")]


def main(readme: Path, *, only_list: bool) -> int:
    """Run the commands one by one with an empty stdin; stop at the first that fails."""
    found = commands(readme.read_text(encoding="utf-8"))
    if not found:
        print(f"{readme} has no ```sh block", file=sys.stderr)
        return 1
    if only_list:
        print("\n".join(found))
        return 0
    for path in map(Path, MADE):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for command in found:
        if command.startswith("make "):
            continue
        print(f"$ {command}", flush=True)
        began = time.monotonic()
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], stdin=subprocess.DEVNULL, timeout=SECONDS)
        print(f"  {time.monotonic() - began:.0f} s, exit {done.returncode}", flush=True)
        if done.returncode != 0:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), only_list="--list" in sys.argv[2:]))
