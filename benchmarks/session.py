"""One session of a benchmark: what stands in raw.jsonl is not measured again, and what goes wrong is told and kept."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from pathlib import Path

from benchmarks.train_speed.raw import Record, add_raw, read_raw, standing
from tuneloop.terminal import warn


class Session:
    """Reads and adds the records of one benchmark.

    Args:
        raw: The records.
    """

    def __init__(self, raw: Path) -> None:
        self.raw, self.new_faults = raw, list[str]()
        self.session = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def stands(self, key: str) -> bool:
        """Whether a run of this key counts already."""
        return key in standing(read_raw(self.raw))

    def in_force(self, keys: Collection[str]) -> list[Record]:
        """The records in force of these runs, whatever session made them."""
        return [one for key, one in standing(read_raw(self.raw)).items() if key in keys]

    def tell(self, fault: str) -> None:
        """Say what went wrong, and remember it for the end."""
        self.new_faults.append(fault)
        warn(fault)

    def keep(self, name: str, record: Record) -> None:
        """Add a record; one that was withdrawn is a fault of this session.

        Args:
            name: How the run is called where it went wrong.
            record: What it said.
        """
        add_raw(self.raw, record)
        if "withdrawn" in record:
            self.tell(f"{name}: {record['withdrawn']}")
