"""Peak memory of this process, or of the accelerator's tensors; memory that is free."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

M_ARENA_MAX = -8  # of malloc.h
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MEMORY = Path("/proc/meminfo")


def give_back_memory() -> None:
    """Return to the system what nothing refers to any more, so that a peak measured next does not include it.

    Networks and optimisers hold themselves in circles, which only the collector ends; and glibc keeps freed blocks
    of up to 32 MB for later (man 3 mallopt, M_MMAP_THRESHOLD), which after a training is most of what it needed.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def share_one_heap() -> None:
    """Let all threads allocate from one heap: in one of its own, each would keep what another could use.

    glibc gives a thread a heap of its own when it first allocates (man 3 mallopt, M_ARENA_MAX); call this before.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def reset_peak_memory(device: str = "cpu") -> bool:
    """Forget the peak so far, so that the next peak belongs to what runs next; False where the system cannot."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return True
    try:
        CLEAR.write_text("5", encoding="ascii")  # man 5 proc_pid_clear_refs: 5 resets VmHWM
    except OSError:
        return False
    return True


def peak_memory_mb(device: str = "cpu") -> float:
    """Peak memory in MB (2**20 bytes): the accelerator's tensors for "cuda", else this process's resident set.

    The resident peak is since the process began, or since `reset_peak_memory` said True.
    """
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    if STATUS.exists():
        line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def memory_mb() -> float:
    """Memory in use now, MB (2**20 bytes): the GPU's peak where there is one, else the process's resident set."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096 / 2**20


def system_memory() -> dict[str, int]:
    """Bytes by the names that Linux gives them (man 5 proc_meminfo), MemTotal for one; empty elsewhere."""
    lines = MEMORY.read_text(encoding="ascii").splitlines() if MEMORY.exists() else []
    split = (line.partition(":") for line in lines)
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in split if rest.endswith("kB")}  # others count pages


def available_memory() -> int | None:
    """Bytes that a process can take without pushing others out, as Linux estimates them; None elsewhere."""
    return system_memory().get("MemAvailable")


def free_on_gpu(device: torch.device) -> int | None:
    """Bytes that tensors can still take on a GPU, those that torch holds without need included; None elsewhere.

    Asks the driver, and does not wait for what runs on the device.
    """
    if device.type != "cuda":
        return None
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
