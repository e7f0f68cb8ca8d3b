"""The unpickler admits what the official CIFAR files hold, and runs nothing else."""

import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from classwise.data.pickles import read_pickle

STATE = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
MAKE = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"


def array_opcodes(array, shape=None, code=b"u1", state=STATE, make=MAKE, fortran=b"\x89") -> bytes:
    """One array in the opcodes of the official files (Python 2), which a test can spoil in places."""
    sizes = b"(" + b"".join(b"J" + struct.pack("<i", n) for n in shape or array.shape) + b"t"
    dtype = b"cnumpy\ndtype\nU" + bytes([len(code)]) + code + b"K\x00K\x01\x87R" + state + b"b"
    content = array.tobytes()
    return make + b"(K\x01" + sizes + dtype + fortran + b"T" + struct.pack("<i", len(content)) + content + b"tb"


def pickled(opcodes: bytes, protocol: int = 2) -> bytes:
    head = b"\x80" + bytes([protocol]) if protocol >= 2 else b""
    return head + opcodes + b"."


class Call:
    """Pickles as a call of a function with arguments."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_plain_containers_load_in_every_protocol(protocol: int):
    value = {"a": [1, -2, 3.5, None, True], "b": ("text", {"c": 2**70}), "d": []}
    assert read_pickle(pickle.dumps(value, protocol), "file") == value


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_the_official_form_load_in_every_protocol(protocol: int):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    got = read_pickle(pickled(b"}U\x04data" + array_opcodes(array) + b"s", protocol), "file")
    assert list(got) == [b"data"]
    assert got[b"data"].dtype == np.uint8
    np.testing.assert_array_equal(got[b"data"], array)


def test_the_ordinary_unpickler_reads_the_same_from_these_opcodes():
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    opcodes = pickled(array_opcodes(array)).replace(b"numpy.core.multiarray", np._core.multiarray.__name__.encode())
    np.testing.assert_array_equal(pickle.loads(opcodes, encoding="bytes"), array)  # noqa: S301 - our own bytes


RUNS = {
    "system": lambda marker: Call(os.system, f"touch {marker}"),
    "eval": lambda marker: Call(eval, f"open({str(marker)!r}, 'w').close()"),
    "exec": lambda marker: Call(exec, f"open({str(marker)!r}, 'w').close()"),
    "open": lambda marker: Call(os.open, str(marker), os.O_CREAT),
    "mkdir": lambda marker: Call(os.mkdir, str(marker)),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", RUNS)
def test_code_in_a_pickle_is_refused_and_not_run(name: str, protocol: int, tmp_path: Path):
    marker = tmp_path / "was-run"
    bomb = pickle.dumps({"data": [1, (2, RUNS[name](marker))]}, protocol)
    with pytest.raises(ValueError, match=rf"'file' is no .*asks for \w+\.{name}\); nothing in it was run"):
        read_pickle(bomb, "file")
    assert not marker.exists()
    pickle.loads(bomb)  # noqa: S301 - our own bytes, which show that the bomb is a real one
    assert marker.exists()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Call(getattr, "text", "upper"), r"\w+\.getattr"),
        (Call(np.load, "file.npy"), r"numpy\.load"),
        (np.uint8(3), r"numpy\._?core\.multiarray\.scalar"),
        (np.zeros(2, np.uint8), r"numpy\._?core\.multiarray\._reconstruct"),
        (OrderedDict(a=1), r"collections\.OrderedDict"),
        ({1, 2}, r"\w+\.set"),
        (1j, r"\w+\.complex"),
        (Path("x"), r"pathlib\.\w+"),
        (object(), r"\w+\.\w+"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 3])
def test_other_names_are_refused_even_harmless_ones(value, name: str, protocol: int):
    with pytest.raises(ValueError, match=f"asks for {name}"):
        read_pickle(pickle.dumps([value], protocol), "file")


@pytest.mark.parametrize(
    "name",
    [
        "numpy.core.multiarray\nscalar",
        "numpy\nload",
        "numpy\ndtype.__reduce__",
        "numpy\nndarray.tofile",
        "builtins\neval",
    ],
)
def test_neighbours_of_the_admitted_names_are_refused(name: str):
    with pytest.raises(ValueError, match="asks for"):
        read_pickle(pickled(b"c" + name.encode() + b"\n"), "file")


def test_dotted_names_of_protocol_4_are_refused():
    opcodes = b"\x8c\x05numpy\x8c" + bytes([len("ndarray.tofile")]) + b"ndarray.tofile\x93"
    with pytest.raises(ValueError, match=r"asks for numpy\.ndarray\.tofile"):
        read_pickle(pickled(opcodes, 4), "file")


ONE = np.arange(6, dtype=np.uint8)


@pytest.mark.parametrize(
    "opcodes",
    [
        array_opcodes(ONE, shape=(7,)),
        array_opcodes(ONE, shape=(-6, -1)),
        array_opcodes(ONE, shape=(2**31 - 1, 2**31 - 1, 2**31 - 1)),
        array_opcodes(ONE, fortran=b"\x88"),
        array_opcodes(ONE, code=b"O8"),
        array_opcodes(ONE, code=b"f4"),
        array_opcodes(ONE, state=STATE.replace(b"U\x01|", b"U\x01>")),
        array_opcodes(ONE, state=STATE.replace(b"K\x00t", b"K\x3ft")),
        array_opcodes(ONE, make=MAKE.replace(b"K\x00\x85", b"J\xff\xff\xff\x7f\x85")),
        array_opcodes(ONE, make=MAKE.replace(b"cnumpy\nndarray\n", b"cnumpy\ndtype\n")),
        b"cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R",  # a call of ndarray itself
        b"cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85\x81",  # the same as NEWOBJ
        b"cnumpy\ndtype\n}U\x01aK\x01sb",  # a state for the name itself
        b"cnumpy\ndtype\nN}U\x08__call__K\x01s\x86b",
    ],
)
def test_admitted_names_accept_only_what_the_official_files_say(opcodes: bytes):
    with pytest.raises(ValueError, match="is no pickle of plain arrays"):
        read_pickle(pickled(opcodes), "file")
    np.testing.assert_array_equal(read_pickle(pickled(array_opcodes(ONE)), "file"), ONE)  # and nothing has stuck


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b"no pickle", b"<!DOCTYPE html>", b"\x80\x02}", b"\x80\x63.", b"h\x05."]
)
def test_what_is_no_pickle_is_refused_in_one_sentence(content: bytes):
    with pytest.raises(ValueError, match="'file' is no pickle of plain arrays") as caught:
        read_pickle(content, "file")
    assert "\n" not in str(caught.value)


def test_every_truncation_is_refused():
    whole = pickled(b"}U\x04data" + array_opcodes(ONE) + b"s")
    read_pickle(whole, "file")
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="'file' is no pickle"):
            read_pickle(whole[:length], "file")
