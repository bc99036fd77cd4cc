"""Peak memory of this process, or of the accelerator's tensors."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


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


def give_back_memory() -> None:
    """Give the pages of freed tensors back to the system at once, where the C library can (glibc).

    Without it they stay in the process's heap, and what is allocated next may not fit into the holes.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


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
