"""Where the time of an optimiser step goes, tuneloop's and a peer's over the same documents, on one core.

    train_speed's rows --a process each--> a step to warm up, some by the clock, some under torch.profiler --> kinds

On one core every second belongs to one operator or to none; what a second core adds is the other figure of the table.
"""
