from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from tuneloop.errors import ModelError
from tuneloop.model.safetensors_header import read_header


def write(path, header, data=b"\0" * 24):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(start, end, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


GOOD = {"a": entry(0, 16, [2, 2]), "b": entry(16, 24, [2])}


def test_reads_what_the_library_reads(tmp_path):
    tensors = {"a": np.zeros((2, 3), np.float32), "b": np.zeros(5, np.float16), "c": np.zeros((), np.int64)}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    header = read_header(tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", "np") as file:
        names = file.keys()
        assert {k: list(v.shape) for k, v in header.items()} == {k: file.get_slice(k).get_shape() for k in names}


def test_the_hand_written_header_is_good(tmp_path):
    assert read_header(write(tmp_path / "x", GOOD))["b"].end == 24


@pytest.mark.parametrize(
    "header",
    [
        {**GOOD, "b": entry(16, 32, [4])},  # past the end
        {**GOOD, "b": entry(12, 24, [3])},  # overlap
        {**GOOD, "b": entry(20, 24, [1])},  # gap
        {"a": GOOD["a"]},  # bytes that nobody owns
        {**GOOD, "b": entry(16, 24, [3])},  # size and shape disagree
        {**GOOD, "b": entry(24, 16, [-2])},  # backwards
        {**GOOD, "b": entry(16, 24, [True, 2])},
        {**GOOD, "b": entry(16, 24, [2**63, 2**63])},
        {**GOOD, "b": entry(16, 24, [2], "F4")},
        {**GOOD, "b": entry(16, 24, [1], ["F32"])},
        {**GOOD, "b": {"dtype": "F32", "shape": [2]}},
        {**GOOD, "b": {**GOOD["b"], "file": "/etc/passwd"}},
        {**GOOD, "b": [1]},
        {**GOOD, "b": entry("16", "24", [2])},
        [1, 2],
        b"not json",
        b"\xff\xfe",
        b'{"a": %s, "a": %s}' % ((json.dumps(entry(0, 24, [6])).encode(),) * 2),
        b"[" * 100_000,
    ],
)
def test_refuses(tmp_path, header):
    with pytest.raises(ModelError):
        read_header(write(tmp_path / "x", header))


@pytest.mark.parametrize(
    "raw", [b"", b"\1\0", b"\xff" * 8, (1 << 40).to_bytes(8, "little") + b"{}", b"\4" + b"\0" * 7 + b"{}"]
)
def test_refuses_a_length_that_cannot_be(tmp_path, raw):
    (tmp_path / "x").write_bytes(raw)
    with pytest.raises(ModelError):
        read_header(tmp_path / "x")
