from __future__ import annotations

import random
import struct

import gguf
import numpy as np
import pytest
from tests.tiny_models import write_gguf
from transformers import AutoTokenizer, LlamaForCausalLM

from tuneloop.errors import ModelError
from tuneloop.model.gguf_file import read_gguf


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    model = LlamaForCausalLM.from_pretrained(tiny("llama"))
    tokenizer = AutoTokenizer.from_pretrained(tiny("llama"))
    return write_gguf(model, tokenizer, tmp_path_factory.mktemp("gguf") / "tiny.gguf", kind="Q8_0")


def test_reads_what_the_gguf_package_reads(whole):
    ours, theirs = read_gguf(whole), gguf.GGUFReader(whole)
    fields = {k: f.contents() for k, f in theirs.fields.items() if not k.startswith("GGUF.")}
    assert ours.metadata == fields and len(fields) > 15
    assert set(ours.tensors) == {t.name for t in theirs.tensors} and len(theirs.tensors) == 20
    for tensor in theirs.tensors:
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(ours.read(tensor.name), expected.reshape(tuple(reversed(tensor.shape.tolist()))))


def test_cut_off_anywhere_is_one_error(whole, tmp_path):
    data = whole.read_bytes()
    for length in [*range(0, 64), *range(64, len(data), len(data) // 60), len(data) - 33]:
        (tmp_path / "cut.gguf").write_bytes(data[:length])
        with pytest.raises(ModelError, match="safely"):
            read_gguf(tmp_path / "cut.gguf")


def test_any_flipped_bytes_are_read_or_refused_never_worse(whole, tmp_path):
    """A bounded fuzz of the header: only ModelError may come out, and what is read stays inside the file."""
    data, rng, refused = whole.read_bytes(), random.Random(0), 0
    start = read_gguf(whole).tensors["token_embd.weight"].start
    for _ in range(300):
        broken = bytearray(data)
        for _ in range(rng.choice([1, 1, 4])):
            broken[rng.randrange(4, start)] = rng.choice([0, 1, 127, 255, rng.randrange(256)])
        (tmp_path / "fuzz.gguf").write_bytes(broken)
        try:
            found = read_gguf(tmp_path / "fuzz.gguf")
        except ModelError:
            refused += 1
            continue
        assert all(t.start + t.size <= len(data) for t in found.tensors.values())
    assert 30 < refused < 300


def build(tensors, *, metadata=b"", keys=0, version=3, count=None, data=b"\0" * 256):
    """A GGUF by hand; tensors are (name, dims, type, offset)."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors) if count is None else count, keys) + metadata
    for name, dims, kind, offset in tensors:
        head += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", len(dims))
        head += struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", kind, offset)
    return head + b"\0" * (-len(head) % 32) + data


def key(name, kind, value):
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind) + value


GOOD = [("a", [8, 4], 0, 0), ("b", [32], 0, 128)]


def test_the_hand_made_file_is_good(tmp_path):
    (tmp_path / "x.gguf").write_bytes(build(GOOD))
    assert read_gguf(tmp_path / "x.gguf").tensors["a"].shape == (4, 8)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (build(GOOD, version=1), "version"),
        (build(GOOD, version=1 << 24), "version"),  # big-endian
        (build(GOOD, count=1 << 63), "tensors"),
        (build(GOOD, count=50_000), "tensors"),
        (build(GOOD, keys=1 << 40), "keys"),
        (build([("a", [8, 4], 0, 0), ("a", [32], 0, 128)]), "twice"),
        (build([("a", [8, 4], 0, 0), ("b", [32], 0, 96)]), "same bytes"),
        (build([("a", [8, 4], 0, 0), ("b", [32], 0, 129)]), "offset"),
        (build([("a", [8, 4], 0, 0), ("b", [32], 0, 1 << 40)]), "inside"),
        (build([("a", [1 << 40, 1 << 40], 0, 0)]), "inside"),  # 2**80 numbers: wraps to 0 in 64 bits
        (build([("a", [0], 0, 0)]), "shape"),
        (build([("a", [], 0, 0)]), "dimensions"),
        (build([("a", [1] * 5, 0, 0)]), "dimensions"),
        (build([("a", [8], 8, 0)]), "shape"),  # Q8_0 has blocks of 32
        (build([("a", [32], 999, 0)]), "type number"),
        (build([("a", [256], 19, 0)]), "type IQ1_S"),
        (build(GOOD, keys=2, metadata=key("k", 4, b"\1\0\0\0") * 2), "twice"),
        (build(GOOD, keys=1, metadata=key("k", 99, b"")), "value type"),
        (build(GOOD, keys=1, metadata=key("k", 8, struct.pack("<Q", 1 << 50))), "bytes of text"),
        (build(GOOD, keys=1, metadata=key("k", 8, struct.pack("<Q", 2) + b"\xff\xfe")), "UTF-8"),
        (build(GOOD, keys=1, metadata=key("k", 9, struct.pack("<IQ", 4, 1 << 50))), "items"),
        (build(GOOD, keys=1, metadata=key("k", 9, struct.pack("<IQ", 9, 1))), "value type"),  # list of lists
        (build(GOOD, keys=1, metadata=key("general.alignment", 4, struct.pack("<I", 0))), "alignment"),
        (build(GOOD, keys=1, metadata=key("general.alignment", 4, struct.pack("<I", 48))), "alignment"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key("k", 10, b"\0\0"), "8 more"),
        (b"GGML" + build(GOOD)[4:], "first bytes"),
    ],
)
def test_refuses(tmp_path, data, word):
    (tmp_path / "x.gguf").write_bytes(data)
    with pytest.raises(ModelError, match=word):
        read_gguf(tmp_path / "x.gguf")
