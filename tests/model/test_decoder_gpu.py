"""The decoder as a GPU runs it: proven on the CPU as far as that goes, and on a GPU where there is one.

float32 through the kernels' way      the same sums, so every figure is held as closely as on the CPU's own way
bfloat16                              no further from float32 than the modules are in bfloat16
the meta device, which holds no data  whatever would wait for a value fails there
"""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from tests.model.test_decoder import LENGTHS, TASKS, WEIGHTS, adapted
from tests.model.test_pointwise import LIGER
from tests.model.test_varlen import at_once  # noqa: F401  # a fixture
from tests.tiny_training import examples_of, lora_settings, network_of, settings, small, stir, text_examples
from torch import Tensor, nn

from tuneloop.examples.batch import Batch, collate
from tuneloop.loss.total import LOSSES
from tuneloop.model import pointwise, room, steps, varlen
from tuneloop.model.adapt import METHODS
from tuneloop.model.decoder import Decoder, why_not
from tuneloop.model.heads import Read, padded_states
from tuneloop.model.reader import choose_reader, packed_read
from tuneloop.train.optim import make_optimizer

DENSE = ("llama", "qwen2")  # what runs on a GPU

Found = tuple[float, dict[str, Tensor]]


def batch_of(task: str) -> Batch:
    return collate(examples_of(task.partition(",")[0], LENGTHS, weights=WEIGHTS), 0)


def found_by(model: nn.Module, task: str, read: Read | None) -> Found:
    """Loss and gradients, on the host."""
    batch = batch_of(task)
    model.zero_grad()
    found = LOSSES[task.partition(",")[0]](model, batch if read else batch.to(next(model.parameters()).device), read)
    found.loss.backward()
    return float(found.loss.detach()), {n: p.grad.cpu() for n, p in model.named_parameters() if p.grad is not None}


def read_of(model: nn.Module) -> Read:
    return packed_read(Decoder(network_of(model)))


def halved(model: nn.Module) -> nn.Module:
    """The model in bfloat16, its adapters (and a classification head) in float32, as load and adapt leave it."""
    for name, parameter in model.named_parameters():
        if ".lora_" not in name and not name.startswith("head."):
            parameter.data = parameter.data.bfloat16()
    return model


def distance(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """Of all gradients together, relative."""
    off = sum(float((found[name] - wanted[name]).double().square().sum()) for name in wanted)
    return (off / sum(float(one.double().square().sum()) for one in wanted.values())) ** 0.5


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 on the CPU goes the way of kernels."""
    for module in (pointwise, steps):
        monkeypatch.setattr(module, "fused", lambda x: True)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("way", ["by groups", "at once", "liger"])
@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("architecture", DENSE)
def test_kernels_give_what_the_modules_give(architecture: str, task: str, method: str, way: str, request, monkeypatch):
    if way != "by groups":
        request.getfixturevalue("at_once")
    if way == "liger":
        whole = {"liger_swiglu": lambda a, b: LIGER.liger_swiglu(a.contiguous(), b.contiguous())}
        turn = {"liger_rope": lambda q, k, *angles: LIGER.liger_rope(_lying(q), _lying(k), *angles)}
        monkeypatch.setattr(pointwise, "_kernels", lambda x: type("Liger", (), {**_static(whole), **_static(turn)}))
    model = adapted(architecture, method, task)
    wanted, plain = found_by(model, task, None)
    found, ours = found_by(model, task, read_of(model))
    assert found == pytest.approx(wanted, rel=1e-5)
    assert set(ours) == set(plain)
    for name, gradient in plain.items():
        assert float((ours[name] - gradient).norm()) <= 1e-5 * float(gradient.norm()) + 1e-7, name


def _static(functions: dict) -> dict:
    return {name: staticmethod(function) for name, function in functions.items()}


def _lying(x: Tensor) -> Tensor:
    """As Liger's own functions make it lie where it does not (float32 is projected side by side)."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


# -- bfloat16 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["by groups", "at once"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("architecture", DENSE)
def test_bfloat16_states_are_as_near_to_float32_as_the_modules(architecture: str, causal: bool, way: str, request):
    if way == "at once":
        request.getfixturevalue("at_once")
    model = small(architecture).bfloat16()
    batch = collate(text_examples(LENGTHS), 0)
    real = batch.attention_mask.bool()
    with torch.no_grad():
        exact = padded_states(copy.deepcopy(model).float(), batch.input_ids, batch.attention_mask, causal=causal)[real]
        theirs = padded_states(model, batch.input_ids, batch.attention_mask, causal=causal)[real]
        ours = read_of(model)(batch.input_ids, batch.attention_mask, causal, None)
    assert ours.dtype == torch.bfloat16
    off, allowed = (float((one.float() - exact).norm() / exact.norm()) for one in (ours, theirs))
    assert off <= 1.3 * allowed and off < 0.02


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("architecture", DENSE)
def test_bfloat16_gradients_are_as_near_to_float32_as_the_modules(architecture: str, task: str):
    """Over several adapters, since one draw of roundings proves little.

    PEFT computes float32 adapters in float32, which costs a copy of every input; ours are rounded when they are used.
    So they are held to the modules with adapters in bfloat16 too, and, less closely, to what PEFT does.
    """
    off, allowed, loosely = [], [], []
    for seed in range(4):
        model = halved(adapted(architecture, "lora", task))
        stir(model, 0.02 * seed)
        loss, exact = found_by(copy.deepcopy(model).float(), task, None)
        found, ours = found_by(model, task, read_of(model))
        assert found == pytest.approx(loss, rel=5e-3)
        assert set(ours) == set(exact) and all(ours[name].dtype == torch.float32 for name in ours)
        off.append(distance(ours, exact))
        loosely.append(distance(found_by(model, task, None)[1], exact))
        allowed.append(distance(found_by(model.bfloat16(), task, None)[1], exact))
    assert sum(off) <= 1.1 * sum(allowed) and sum(off) <= 1.4 * sum(loosely)


def test_bfloat16_weights_that_train_get_gradients_in_bfloat16():
    model = small("qwen2").bfloat16()
    _, exact = found_by(copy.deepcopy(model).float(), "generation", None)
    _, theirs = found_by(model, "generation", None)
    _, ours = found_by(model, "generation", read_of(model))
    assert set(ours) == set(exact) and all(gradient.dtype == torch.bfloat16 for gradient in ours.values())
    assert distance(ours, exact) <= 1.15 * distance(theirs, exact)


# -- no step waits for the device -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("architecture", DENSE)
def test_nothing_in_a_micro_batch_needs_a_value_of_the_device(architecture: str, task: str, dtype: torch.dtype):
    """The batch on the host, the model on meta: a sync (item, tolist, nonzero, a bool index, a copy back) fails.

    With bfloat16 torch's own varlen attention is called, both ways, whose shapes are checked by its meta kernels.
    """
    model = adapted(architecture, "lora", task)
    model = (halved(model) if dtype == torch.bfloat16 else model).to("meta")
    found = LOSSES[task.partition(",")[0]](model, batch_of(task), read_of(model))
    found.loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert found.loss.is_meta and found.weight.is_meta and norm.is_meta
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    with pytest.raises((RuntimeError, NotImplementedError)):  # what the test stands on
        found.loss.item()
    with pytest.raises((RuntimeError, NotImplementedError)):
        found.loss.tolist()


# -- memory -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", DENSE)
def test_blocks_are_computed_twice_where_there_is_no_room(architecture, dtype, monkeypatch, capsys):
    def kept_and_found(free: int | None) -> tuple[int, Found]:
        monkeypatch.setattr(room, "free_on_gpu", lambda device: free)
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        model = adapted(architecture, "lora", "generation")
        model = halved(model) if dtype == torch.bfloat16 else model
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            found = LOSSES["generation"](model, batch_of("generation"), read_of(model))
        found.loss.backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        return sum(kept.values()), (float(found.loss.detach()), gradients)

    all_kept, wanted = kept_and_found(None)
    roomy, same = kept_and_found(2**40)
    assert roomy == all_kept and same[0] == wanted[0] and not capsys.readouterr().err
    thrifty, found = kept_and_found(2**20)
    assert thrifty < 0.5 * all_kept
    assert found[0] == wanted[0]
    assert all(torch.equal(found[1][name], gradient) for name, gradient in wanted[1].items())
    assert capsys.readouterr().err.count("computed twice") == 1


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.float32), ("meta", torch.bfloat16)])
@pytest.mark.parametrize("architecture", DENSE)
def test_what_a_block_keeps_is_what_was_reckoned(architecture: str, device: str, dtype: torch.dtype):
    model = METHODS["lora"](small(architecture), adapt=lora_settings(), seed=1).model
    model = (halved(model) if dtype == torch.bfloat16 else model).to(device)
    block = Decoder(model).blocks[0]
    x = torch.empty(400, 32, dtype=dtype, device=device, requires_grad=True)
    cos, sin = (torch.empty(400, 1, 4, dtype=dtype, device=device) for _ in range(2))
    shared = {one.untyped_storage()._cdata for one in (cos, sin, *model.parameters())}
    kept: dict[int, Tensor] = {}  # holds on to them, or a place that is free again would be counted once

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        block(x, varlen.make_layout([200, 200], cos, sin, causal=True))
    found = sum(one.untyped_storage().nbytes() for place, one in kept.items() if place not in shared)
    found += 400 * block.qkv.rank * dtype.itemsize  # hangs on its step, not among what autograd keeps
    assert block.bytes_a_token * 400 == pytest.approx(found, rel=0.03)


# -- on a GPU ---------------------------------------------------------------------------------------------------


def on_gpu(architecture: str, task: str, dtype: torch.dtype) -> nn.Module:
    """A model on the GPU for which the padding-free decoder is chosen."""
    model = adapted(architecture, "lora", task)
    model = (halved(model) if dtype == torch.bfloat16 else model).cuda()
    assert why_not(network_of(model)) == ""
    return model


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("architecture", DENSE)
def test_gpu_loss_and_gradients(architecture: str, task: str, dtype: torch.dtype):
    model = on_gpu(architecture, task, dtype)
    loss, exact = found_by(copy.deepcopy(model).float(), task, None)
    _, theirs = found_by(model, task, None)
    found, ours = found_by(model, task, choose_reader(network_of(model), fast=True).read)
    assert found == pytest.approx(loss, rel=1e-5 if dtype == torch.float32 else 5e-3)
    allowed = 1e-4 if dtype == torch.float32 else 1.3 * distance(theirs, exact)
    assert set(ours) == set(exact) and distance(ours, exact) <= allowed


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", DENSE)
def test_gpu_ten_steps(architecture: str, dtype: torch.dtype):
    losses = []
    for fast in (False, True):
        model = on_gpu(architecture, "generation", dtype)
        read = choose_reader(network_of(model), fast=True).read if fast else None
        optimizer = make_optimizer(model, settings(learning_rate=5e-3))
        taken = []
        for _ in range(10):
            taken.append(found_by(model, "generation", read)[0])
            optimizer.step()
        losses.append(taken)
    assert losses[1] == pytest.approx(losses[0], rel=1e-3 if dtype == torch.float32 else 2e-2)
    assert losses[0][0] > losses[0][-1] * 1.01  # it learnt


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("task", TASKS)
def test_gpu_waits_for_nothing(task: str, dtype: torch.dtype):
    model = on_gpu("qwen2", task, dtype)
    read = choose_reader(network_of(model), fast=True).read
    optimizer = make_optimizer(model, settings())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that this mode is new
        for mode in ("default", "error"):  # the first round compiles kernels and allocates
            torch.cuda.set_sync_debug_mode(mode)
            try:
                found = LOSSES[task.partition(",")[0]](model, batch_of(task), read)
                found.loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=False)
            finally:
                torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_gpu_has_a_free_memory():
    free = room.free_on_gpu(torch.device("cuda"))
    assert free is not None and 0 < free <= torch.cuda.get_device_properties(0).total_memory
