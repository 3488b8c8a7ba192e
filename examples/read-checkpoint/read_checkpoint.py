#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Looks into a checkpoint with h5py and numpy, without trireme.

  read_checkpoint.py [PATH]                 what it is, and all its tensors with some statistics
  read_checkpoint.py PATH NAME [FILE.npy]   one tensor, whole; saved for numpy.load if a file is named

PATH is a checkpoint, a folder of checkpoints or a run's folder (runs/quickstart): then the newest is taken.
Needs python3-h5py and python3-numpy.

However many ranks saved it and however they shared the tensors, universal.h5 shows each tensor whole. It
is a window, though, not the vault: HDF5 says nothing when a file behind the window is missing or cut, it
shows NaN (in integers: the least value there is) in its place. So what is read here is looked over for that.
Flipped bits only `trireme checkpoint verify` finds.
"""
import pathlib
import sys

try:
    import h5py
    import numpy
except ImportError as error:
    sys.exit(f"error: {error}; Debian has it: apt-get install python3-h5py python3-numpy")


def sequence_of(checkpoint):
    """The number that counts up with each save of a run; None where manifest.h5 is missing: a save that has
    not ended. It stands in the text at the beginning of manifest.h5."""
    manifest = checkpoint / "manifest.h5"
    if not manifest.is_file():
        return None
    with open(manifest, "rb") as file:
        for line in file.read(512).splitlines():
            if line.startswith(b"sequence "):
                return int(line.split()[1])
    return None


def find(path):
    """The checkpoint at a path, or the newest one below it."""
    path = pathlib.Path(path)
    if not path.is_dir():
        sys.exit(f"error: {path} is no folder; examples/quickstart.sh makes runs/quickstart")
    if sequence_of(path) is not None:
        return path
    inside = path / "ckpt" if (path / "ckpt").is_dir() else path
    found = [(sequence_of(entry), entry) for entry in inside.iterdir() if entry.is_dir()]
    found = [(sequence, entry) for sequence, entry in found if sequence is not None]
    if not found:
        sys.exit(f"error: no checkpoint in {inside}")
    return max(found)[1]


def tensors(file):
    """All tensors by name: "param/layers.0.attention.q.weight", "optim/adamw/m/...", "data/cursor"."""
    found = {}
    file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return found


def unread(array):
    """How many elements are what HDF5 shows where it found nothing."""
    if array.dtype.kind == "f":
        return int(numpy.isnan(array).sum())
    if array.dtype.kind == "i":
        return int((array == numpy.iinfo(array.dtype).min).sum())
    return 0 # of unsigned integers the least is 0, which is nothing special


def missing_files(checkpoint, dataset):
    """Files behind a tensor that are not there."""
    names = {source.file_name for source in dataset.virtual_sources()} if dataset.is_virtual else set()
    return sorted(name for name in names if not (checkpoint / name).is_file())


def warn(checkpoint, name, dataset, array):
    """Say so where a tensor was not read whole; how many elements were not."""
    n = unread(array)
    if n:
        files = missing_files(checkpoint, dataset)
        why = f"missing: {', '.join(files)}" if files else "damaged; `trireme checkpoint verify` says more"
        print(f"warning: {n} of {array.size} elements of {name} could not be read ({why})", file=sys.stderr)
    return n


def show(checkpoint):
    """What the checkpoint is and holds. Returns the number of elements that could not be read."""
    with h5py.File(checkpoint / "manifest.h5") as file:
        text = {key: bytes(file.attrs[key]).rstrip(b"\0").decode() for key in ("uuid", "version")}
        print(f"checkpoint   {checkpoint}")
        print(f"step         {int(file.attrs['step'][0])}")
        print(f"uuid         {text['uuid']}")
        print(f"made by      trireme {text['version']} on a mesh of", " x ".join(
            f"{axis} {size}" for axis, size in zip(("pipeline", "data", "context", "tensor"), file.attrs["mesh"])))
        print("\nthe job\n" + file["job.yaml"][:].tobytes().rstrip(b"\0").decode())
    lost, parameters = 0, 0
    print(f"{'tensor':<52} {'shape':>16} {'type':>8} {'least':>10} {'greatest':>10} {'mean':>10} {'rms':>10}")
    with h5py.File(checkpoint / "universal.h5") as file:
        for name, dataset in sorted(tensors(file).items()):
            array = dataset[:] # whole: numpy has it now, and the file may go
            lost += warn(checkpoint, name, dataset, array)
            parameters += array.size if name.startswith("param/") else 0
            value = array.astype(numpy.float64)
            shape = " x ".join(map(str, array.shape))
            print(f"{name:<52} {shape:>16} {str(array.dtype):>8} {value.min():>10.3g} {value.max():>10.3g} "
                  f"{value.mean():>10.3g} {numpy.sqrt((value ** 2).mean()):>10.3g}")
    print(f"\n{parameters} parameters")
    return lost


def show_one(checkpoint, name, save_as=None):
    """One tensor."""
    with h5py.File(checkpoint / "universal.h5") as file:
        found = tensors(file)
        if name not in found:
            near = [other for other in found if name in other][:5]
            sys.exit(f"error: no tensor {name}" + (f"; there are {', '.join(near)}" if near else ""))
        external = bytes(found[name].attrs["external"]).rstrip(b"\0").decode()
        array = found[name][:]
        lost = warn(checkpoint, name, found[name], array)
    print(f"{name} {array.dtype} {array.shape}" + (f", for Hugging Face {external}" if external else ""))
    print(array)
    if save_as:
        numpy.save(save_as, array)
        print(f"saved as {save_as}: numpy.load gives it back")
    return lost


def main(arguments):
    if len(arguments) > 3 or "-h" in arguments or "--help" in arguments:
        print(__doc__)
        return 0 if len(arguments) <= 3 else 2
    checkpoint = find(arguments[0] if arguments else "runs/quickstart")
    lost = show_one(checkpoint, *arguments[1:]) if len(arguments) > 1 else show(checkpoint)
    return 1 if lost else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError: # `| head` has seen enough
        sys.stderr.close()
