"""Training speed on one NVIDIA GPU: tuneloop beside TRL, the shape of R1-Distill-Qwen-1.5B with random weights, bf16.

    8 documents of 2,048 random tokens a step (16,384), LoRA r 8 on all seven matrices, the same start for everyone
    -> a process for each row -> raw.jsonl -> a table: tokens a second, share of the bf16 limit, peak memory, losses

`python -m benchmarks.train_speed_gpu` measures what does not stand in raw.jsonl yet. It has not run on a GPU so far.
"""
