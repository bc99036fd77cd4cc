"""A virtual environment for each peer, built once under ~/.cache/tuneloop/benchmarks; what cannot be had says why."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.train_speed.environments import NotInstallable, environment_folder, pip_reason
from tuneloop.disk import sha256_json, write_json
from tuneloop.terminal import say


@dataclass(frozen=True)
class Peer:
    """What a peer is installed from.

    Attributes:
        packages: As pip takes them, exact versions.
        alone: Installed without what it says that it needs: `packages` holds what its MinHash needs.
    """

    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()


PEERS: dict[str, Peer] = {
    "rensa": Peer(("rensa==0.5.0",)),
    "datasketch": Peer(("datasketch==2.0.0",)),
    "text_dedup": Peer(
        (
            "datasets==5.2.0", "click", "click-option-group", "numpy", "scipy", "xxhash", "regex", "rich", "tqdm",
            "psutil", "ftfy", "zstandard", "bitarray",
        ),
        alone=("text-dedup==0.4.0",),
    ),  # its own list wants Spark and urllib3 < 2, for other commands of it
    "data_juicer": Peer(("py-data-juicer==1.6.1", "aiohttp")),  # it imports aiohttp, and does not say so
}  # fmt: skip
SHARED = {"rensa_rho": "rensa"}
"""Systems that run in another one's environment."""


def python_of(system: str) -> Path:
    """The interpreter that runs a system, its environment built first where it is not there.

    Args:
        system: "tuneloop", which runs here, or another key of SYSTEMS.

    Raises:
        NotInstallable: with the reason; asked again, without trying again.
    """
    name = SHARED.get(system, system)
    if name not in PEERS:
        return Path(sys.executable)
    folder = environment_folder(f"near_duplicates-{name}")
    wanted, stamp = sha256_json([asdict(PEERS[name]), sys.version]), folder / "installed.json"
    found = json.loads(stamp.read_text(encoding="utf-8")) if stamp.is_file() else {}
    if found.get("key") != wanted:
        say(f"{name}: building its environment in {folder}, once ...")
        found = {"key": wanted, "reason": _build(PEERS[name], folder)}
        write_json(stamp, found)
    if found["reason"]:
        raise NotInstallable(found["reason"])
    return folder / "bin" / "python"


def packages_of(system: str) -> list[str]:
    """What decides how a peer computes, for the record."""
    peer = PEERS[SHARED.get(system, system)]
    return [package for package in (*peer.packages, *peer.alone) if "==" in package]


def _build(peer: Peer, folder: Path) -> str:
    """Make the environment; the reason if it cannot be made, else ""."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install"]
    for command in ([*pip, *peer.packages], [*pip, "--no-deps", *peer.alone]):
        if command[-1] != "--no-deps":
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                return pip_reason(done.stderr)
    return ""
