"""Rounded weights on the disk: found again, made anew where they are damaged or of other files, never in the way."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig

from loraplex_kernels.linear.forms import Float8
from loraplex_kernels.linear.rounders import ROUNDERS, round_weight
from loraplex_server.models import linear_weights, rounded_cache
from loraplex_server.models.form_file import DamagedFileError, read_form, write_form
from loraplex_server.models.load import load_model

LINEARS = 21
CPU = torch.device("cpu")


@pytest.fixture
def oracle(make_oracle):
    return make_oracle(LlamaConfig, intermediate_size=128)


@pytest.fixture
def rounded(monkeypatch):
    """Forms, as they are rounded."""
    done = []

    def round_and_tell(weight, form):
        done.append(form)
        return round_weight(weight, form)

    monkeypatch.setattr(linear_weights, "round_weight", round_and_tell)
    return done


def files(cache):
    return sorted(cache.rglob("*.safetensors"))


@pytest.mark.parametrize("form", ROUNDERS)
def test_a_second_start_rounds_nothing_and_serves_the_same(form, oracle, tmp_path, rounded):
    first = oracle.load(form, quantization_cache=tmp_path / "new" / "cache")
    assert rounded == [form] * LINEARS
    second = oracle.load(form, quantization_cache=tmp_path / "new" / "cache")
    assert len(rounded) == LINEARS
    for site in first.sites:
        assert torch.equal(first.site_weight(site.index), second.site_weight(site.index))


def test_what_a_start_found_counts_as_used(oracle, tmp_path):
    oracle.load("int4", quantization_cache=tmp_path / "c")
    folder = files(tmp_path / "c")[0].parent
    os.utime(folder, (0, 0))
    oracle.load("int4", quantization_cache=tmp_path / "c")
    assert folder.stat().st_mtime > 0


def test_an_interrupted_start_goes_on_where_it_was(oracle, tmp_path, rounded):
    oracle.load("int4", quantization_cache=tmp_path / "c")
    for path in files(tmp_path / "c")[5:]:
        path.unlink()
    oracle.load("int4", quantization_cache=tmp_path / "c")
    assert len(rounded) == LINEARS + LINEARS - 5


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "renamed"])
def test_a_damaged_file_is_discarded_and_written_anew(damage, oracle, tmp_path, rounded, caplog):
    exact = oracle.load("int4", quantization_cache=tmp_path / "c")
    path, other = files(tmp_path / "c")[3:5]
    module = path.name.removesuffix(".safetensors")
    before = read_form(path, module).dequantized()
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[-7] ^= 1
    path.write_bytes({"cut": good[:-9], "empty": b"", "flipped": bytes(flipped), "renamed": other.read_bytes()}[damage])
    again = oracle.load("int4", quantization_cache=tmp_path / "c")
    assert len(rounded) == LINEARS + 1
    assert f"{path} is discarded and made anew" in caplog.text
    assert torch.equal(read_form(path, module).dequantized(), before)
    for site in exact.sites:
        assert torch.equal(exact.site_weight(site.index), again.site_weight(site.index))


@pytest.mark.parametrize("unused", [False, True])
def test_other_weights_of_the_same_name_size_and_date_are_seen_and_unused_ones_leave(oracle, tmp_path, rounded, unused):
    oracle.load("int4", quantization_cache=tmp_path / "c")
    if unused:
        os.utime(files(tmp_path / "c")[0].parent, (0, 0))
    path = oracle.folder / "model.safetensors"
    date, size = path.stat().st_mtime_ns, path.stat().st_size
    tensors = load_file(path)
    changed = {name: -tensor if "q_proj" in name else tensor.clone() for name, tensor in tensors.items()}
    save_file(changed, path, {"format": "pt"})
    os.utime(path, ns=(date, date))
    assert path.stat().st_size == size
    decoder = oracle.load("int4", quantization_cache=tmp_path / "c")
    assert len(rounded) == 2 * LINEARS
    assert len(files(tmp_path / "c")) == (LINEARS if unused else 2 * LINEARS)  # it may be what another server uses
    expected = round_weight(changed["model.layers.0.self_attn.q_proj.weight"], "int4").dequantized()
    torch.testing.assert_close(decoder.site_weight(0), expected, rtol=1e-6, atol=1e-7)


def test_another_form_keeps_its_own_and_a_newer_rounder_begins_anew(oracle, tmp_path, rounded, monkeypatch):
    oracle.load("int4", quantization_cache=tmp_path / "c")
    oracle.load("int4-32", quantization_cache=tmp_path / "c")
    assert len(files(tmp_path / "c")) == 2 * LINEARS
    for path in files(tmp_path / "c"):
        os.utime(path.parent, (0, 0))
    newer = {**ROUNDERS, "int4": replace(ROUNDERS["int4"], version=2)}
    monkeypatch.setattr(rounded_cache, "ROUNDERS", newer)
    oracle.load("int4", quantization_cache=tmp_path / "c")
    assert len(rounded) == 3 * LINEARS
    assert len(files(tmp_path / "c")) == 2 * LINEARS


def test_a_cache_that_cannot_be_written_is_none(oracle, tmp_path, rounded, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    decoder = oracle.load("int4", quantization_cache=blocked)
    assert len(rounded) == LINEARS
    assert caplog.text.count("are not kept for the next start") == 1
    assert decoder.quantization == "int4"


KILLED = """
import os, signal, sys, threading, time
from pathlib import Path
import torch
from loraplex_kernels.linear.rounders import round_weight
from loraplex_server.models.form_file import write_form

folder = Path(sys.argv[1])
form = round_weight(torch.zeros(1024, 4096), "int8-weight")
before = set(os.listdir(folder))

def end():
    while set(os.listdir(folder)) <= before:
        pass
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=end).start()
while True:
    write_form(folder / "m.safetensors", form, "m")
    (folder / "m.safetensors").unlink()
"""


def test_what_a_killed_writer_leaves_goes_in_time(oracle, tmp_path):
    oracle.load("int4", quantization_cache=tmp_path / "c")
    whole = files(tmp_path / "c")[0]
    kept = set(whole.parent.iterdir())
    for _ in range(20):
        subprocess.run([sys.executable, "-c", KILLED, str(whole.parent)])
        left = {path for path in whole.parent.iterdir() if path not in kept and path.suffix != ".safetensors"}
        if left:
            break
    assert left
    for date, remain in ((None, left), ((0, 0), set())):
        for part in left:
            os.utime(part, date)
        whole.unlink()
        oracle.load("int4", quantization_cache=tmp_path / "c")
        assert {path for path in left if path.exists()} == remain


def test_two_that_clear_up_at_once_are_not_in_each_others_way(oracle, tmp_path, caplog, monkeypatch):
    oracle.load("int4", quantization_cache=tmp_path / "c")
    os.utime(files(tmp_path / "c")[0].parent, (0, 0))
    save_file(load_file(oracle.folder / "model.safetensors"), oracle.folder / "model.safetensors", {"format": "pt"})
    remove = shutil.rmtree

    def removed_by_another(path, ignore_errors=False):
        remove(path)
        remove(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", removed_by_another)
    oracle.load("int4", quantization_cache=tmp_path / "c")
    assert len(files(tmp_path / "c")) == LINEARS
    assert not caplog.records


def test_revisions_on_the_hub_have_one_folder_and_leave_it(oracle, tmp_path):
    model = tmp_path / "models--a--b"
    for revision in ("1", "2", "3"):
        folder = model / "snapshots" / revision
        folder.mkdir(parents=True)
        for path in oracle.folder.glob("*.*"):
            shutil.copy2(path, folder)
        load_model(str(folder), device=CPU, dtype=torch.float32, quantization="int4", quantization_cache=tmp_path / "c")
        assert len({path.parent for path in files(tmp_path / "c")}) == 1
        os.utime(files(tmp_path / "c")[0].parent, (0, 0))
    assert [path.name.rpartition("-")[0] for path in (tmp_path / "c").iterdir()] == [model.name]


def test_what_is_not_rounded_is_not_kept(oracle, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    for form in ("auto", "none", "int8"):
        oracle.load(form, quantization_cache=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_every_form_comes_back_from_its_file(tmp_path):
    forms = [round_weight(torch.randn(6, 128), form) for form in ROUNDERS]
    forms.append(Float8(torch.randn(6, 128).to(torch.float8_e4m3fn), torch.rand(2, 2), 3, 100, input_scale=0.5))
    forms.append(replace(forms[0], order=torch.randperm(128)))
    for index, form in enumerate(forms):
        path = tmp_path / f"{index}.safetensors"
        write_form(path, form, "m")
        again = read_form(path, "m")
        assert type(again) is type(form)
        assert torch.equal(again.dequantized(), form.dequantized())
        assert getattr(again, "input_scale", None) == getattr(form, "input_scale", None)
    half_a_byte = (tmp_path / "0.safetensors").stat().st_size
    assert half_a_byte < 6 * 64 + 6 * 2 + 600  # the header


def test_a_file_of_something_else_is_damaged(tmp_path):
    save_file({"codes": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(DamagedFileError):
        read_form(tmp_path / "x.safetensors", "m")
