#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads a checkpoint by docs/checkpoint-format.md, without the program: manifest.h5 through h5py, the bytes of
each box with pread, every block's and every file's checksum.

Prints a JSON object: for each row its type, shape and the SHA-256 of the whole tensor. Each row must also
be what universal.h5 shows. Exit 1 with a message where something is not as that page says.
"""
import hashlib
import json
import os
import pathlib
import sys

import h5py
import numpy

HEADER_BYTES = 512
# by number in the manifest; bf16 has no type in numpy: its bits
DTYPES = ("<f4", "<u2", "<f2", "<f8", "u1", "<u2", "<i4", "<i8", "<u8")
BF16 = 1


def crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = crc_table()


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def text(value):
    return value.rstrip(b"\0").decode()


class Checkpoint:
    """What manifest.h5 says."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        raw = (self.folder / "manifest.h5").read_bytes()
        lines = raw[:HEADER_BYTES].rstrip(b"\0").splitlines(keepends=True)
        head = dict(line.decode().split(maxsplit=1) for line in lines)
        assert lines[0] == b"trireme manifest 2\n", f"version: {lines[0]}"
        assert int(head["header"], 16) == crc32c(b"".join(lines[:-1])), "header's checksum"
        assert int(head["bytes"]) == len(raw), "size of manifest.h5"
        assert int(head["crc32c"], 16) == crc32c(raw[HEADER_BYTES:]), "checksum of manifest.h5"
        with h5py.File(self.folder / "manifest.h5") as file:
            self.tables = {group: {name: column[:] for name, column in file[group].items()}
                           for group in ("rows", "boxes", "blocks", "files")}
            assert file.attrs["uuid"].rstrip(b"\0").decode() == head["uuid"].strip(), "uuid"
            assert int(file.attrs["step"][0]) == int(head["step"]), "step"
        self.files = [(self.folder / text(name)).read_bytes()
                      for name in self.tables["files"]["name"]]

    def box(self, index):
        """Bytes of a box, its blocks verified."""
        boxes = self.tables["boxes"]
        count = boxes["count"][index]
        n_dims = self.tables["rows"]["n_dims"][boxes["row"][index]]
        size = numpy.dtype(DTYPES[self.tables["rows"]["dtype"][boxes["row"][index]]]).itemsize
        offset, n = int(boxes["offset"][index]), int(numpy.prod(count[:n_dims])) * size
        data = self.files[boxes["file"][index]][offset:offset + n]
        assert len(data) == n, f"box {index} ends behind its file"
        block = int(boxes["block_elements"][index]) * size
        for i, begin in enumerate(range(0, n, block)):
            want = int(self.tables["blocks"]["crc32c"][boxes["first_block"][index] + i])
            assert crc32c(data[begin:begin + block]) == want, f"box {index}, block {i}"
        return data

    def row(self, index):
        """A whole tensor, put together from its boxes."""
        rows, boxes = self.tables["rows"], self.tables["boxes"]
        n_dims = rows["n_dims"][index]
        whole = numpy.zeros(rows["shape"][index][:n_dims], DTYPES[rows["dtype"][index]])
        filled = numpy.zeros(whole.shape, bool)
        for box in numpy.flatnonzero(boxes["row"] == index):
            start, count = boxes["start"][box][:n_dims], boxes["count"][box][:n_dims]
            place = tuple(slice(a, a + n) for a, n in zip(start, count))
            assert not filled[place].any(), f"boxes of row {index} overlap"
            filled[place] = True
            whole[place] = numpy.frombuffer(self.box(box), whole.dtype).reshape(count)
        assert filled.all(), f"boxes of row {index} do not cover it"
        return whole

    def expect_rest(self):
        """Every byte outside the boxes, file by file."""
        rows, boxes = self.tables["rows"], self.tables["boxes"]
        for index, data in enumerate(self.files):
            assert len(data) == self.tables["files"]["bytes"][index], f"size of file {index}"
            crc, at = 0, 0
            for box in sorted(numpy.flatnonzero(boxes["file"] == index), key=lambda b: boxes["offset"][b]):
                row = boxes["row"][box]
                n = int(numpy.prod(boxes["count"][box][:rows["n_dims"][row]]))
                begin = int(boxes["offset"][box])
                crc = crc32c(data[at:begin], crc)
                at = begin + n * numpy.dtype(DTYPES[rows["dtype"][row]]).itemsize
            assert crc32c(data[at:], crc) == self.tables["files"]["rest_crc32c"][index], \
                f"bytes outside the boxes of file {index}"


def main(folder):
    checkpoint = Checkpoint(folder)
    checkpoint.expect_rest()
    found = {}
    with h5py.File(os.path.join(folder, "universal.h5")) as view:
        for index, name in enumerate(map(text, checkpoint.tables["rows"]["name"])):
            row = checkpoint.row(index)
            dtype = int(checkpoint.tables["rows"]["dtype"][index])
            seen = view[name][:]
            if dtype == BF16: # the upper half of a float
                assert (seen.astype("<f4").view("<u4") >> 16 == row).all(), f"{name} in universal.h5"
            else:
                assert seen.tobytes() == row.tobytes(), f"{name} in universal.h5"
            found[name] = [dtype, list(row.shape), hashlib.sha256(row.tobytes()).hexdigest()]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except AssertionError as error:
        sys.exit(f"{sys.argv[1]}: {error}")
