"""One file a system: `python -m benchmarks.train_speed.systems.NAME job.json` trains and writes result.json."""
