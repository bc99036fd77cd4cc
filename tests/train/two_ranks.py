"""Run by test_ranks.py in a process of its own: one job on two ranks over gloo, as torchrun would start them.

One process imports torch once and forks both ranks before anything computes.
    python tests/train/two_ranks.py FOLDER
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

ROWS = [9, 4, 13, 2, 7, 12, 5, 6, 3]  # 9 rows: steps of 4, 4 and 1, so that one rank ends without a row
CUTS = {"per_device_train_batch_size": 2, "tokens_per_micro_batch": 14, "num_train_epochs": 2}


def work(folder: Path) -> None:
    """What each rank does: both tasks, logs and final weights written by the first."""
    import torch
    from safetensors.torch import save_file
    from tests.tiny_training import examples_of, make_job, weights_of
    from tests.train.test_loop import network

    from tuneloop.infer.held_out import held_out_figures
    from tuneloop.train.loop import train

    torch.set_num_threads(1)
    for task in ("classification", "generation"):
        model, rows = network(task), examples_of(task, ROWS, weights=[1.0, 2.0, 0.5] * 3)
        job = make_job(task, rows, folder / task, **CUTS)

        def validate(tuned, task=task, rows=rows):
            return held_out_figures(tuned, rows, task=task, pad_token_id=0)

        state = train(model, job, validate=validate)
        rank = os.environ.get("RANK", "0")
        save_file(weights_of(model), folder / f"{task}-{rank}.safetensors")
        (folder / f"{task}-{rank}.json").write_text(json.dumps([state.step, state.tokens, state.best_step]))


def main() -> int:
    """Fork the ranks and wait for both; a rank that fails or hangs for 100 s makes the exit status 1."""
    import signal

    import tests.train.test_loop  # what is heavy, before the fork

    assert tests.train.test_loop.TASKS
    folder = Path(sys.argv[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    children = []
    for rank in ("0", "1"):
        child = os.fork()
        if child == 0:
            os.environ.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
            os.environ["ACCELERATE_USE_CPU"] = "true"
            status = 1
            try:
                signal.alarm(100)
                work(folder)
                status = 0
            except BaseException as error:
                print(f"rank {rank}: {error!r}", file=sys.stderr)
            finally:
                sys.stderr.flush()
                os._exit(status)
        children.append(child)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children)


if __name__ == "__main__":
    sys.exit(main())
