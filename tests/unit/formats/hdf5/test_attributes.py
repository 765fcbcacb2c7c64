"""Attributes are those that h5py reads; one that cannot be read is null and says why."""

import json
from pathlib import Path

import h5py
import numpy as np

from esrffs.formats.hdf5.reader import Hdf5Reader
from tests.support.h5py_values import json_of
from tests.support.hdf5_corpus_folder import paths
from tests.support.reader_contract import walk


def test_every_attribute_is_what_h5py_reads(folder: Path) -> None:
    compared = 0
    for path in paths(folder):
        reader = Hdf5Reader(str(path), None)
        addresses = ["", *(m.address for m in walk(reader) if hasattr(m, "address"))]
        got = {address: json.loads(reader.attributes(address)) for address in addresses}
        reader.close()
        with h5py.File(path) as file:
            for address, told in got.items():
                item = file[address.encode("utf-8", "surrogateescape") or "/"]
                told.pop("__enum__", None)
                assert set(told) == set(item.attrs), (path.name, address)
                for name, value in item.attrs.items():
                    assert told[name] == json_of(file, value), (path.name, address, name)
                    compared += 1
    assert compared > 40


def test_attributes_stand_in_the_order_of_the_file(opened) -> None:
    reader = opened("attributes.h5")
    assert list(json.loads(reader.attributes("/data")))[:3] == ["zuerst", "a", "bytes"]
    assert list(json.loads(reader.attributes("/many"))) == [f"k{i}" for i in reversed(range(20))]


def test_names_of_an_enumeration_stand_among_the_attributes(opened) -> None:
    reader = opened("numbers.h5")
    assert json.loads(reader.attributes("/enum")) == {"__enum__": {"red": 1, "blue": 5}}
    assert reader.find("bool").attributes is None
    assert json.loads(opened("compounds.h5").attributes("/enum")) == {"__enum__": {"c": {"red": 1}}}


def test_an_attribute_that_cannot_be_read_is_null_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["good"] = 1
        stored = h5py.h5t.vlen_create(h5py.h5t.STD_REF_DSETREG)
        h5py.h5a.create(file.id, b"bad", stored, h5py.h5s.create_simple((1,)))
    reader = Hdf5Reader(str(path), None)
    told = json.loads(reader.attributes(""))
    assert (told["good"], told["bad"]) == (1, None)
    assert "crashes" in told["__error__"]["bad"]


def test_a_monstrous_attribute_is_null(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["huge"] = np.zeros((17 << 20,), "u1")
    told = json.loads(Hdf5Reader(str(path), None).attributes(""))
    assert told["huge"] is None
    assert "json_limit" in told["__error__"]["huge"]
