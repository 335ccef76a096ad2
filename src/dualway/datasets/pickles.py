"""Refuses pickles: opening one runs whatever code it holds, so none is opened, and the message says how to convert it.

Told by content, whatever the file is called: pickles of every protocol, torch's archives and numpy's object arrays.
"""

from __future__ import annotations

import io
import pickletools
import re
import shlex
import zipfile
from pathlib import Path

from dualway.errors import DataError

SUFFIXES = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".npy", ".npz"}
_HEAD, _OPERATIONS = 4096, 3
# Protocols 2 to 5 begin with their number; 1 and 0 with an empty container or a line that opens one or names a class.
_BINARY = re.compile(rb"\x80[\x02-\x05]|[\]}]q.", re.DOTALL)
_TEXT = re.compile(rb"\([dlt]p?\d*\r?\n|(?:\(i|c)[A-Za-z_][\w.]*\r?\n[A-Za-z_]\w*\r?\n[p(tNq]")
_OBJECTS = re.compile(rb"'descr':\s*(?:'[|<>=]?O'|\[[^\]]*'[|<>=]?O')")
_NUMPY = b"\x93NUMPY"

_BY_PICKLE = "import json, pickle, sys; data = pickle.load(open(sys.argv[1], 'rb'))"
_BY_TORCH = "import json, sys, torch; data = torch.load(sys.argv[1], map_location='cpu', weights_only=False)"
_BY_NUMPY = "import json, numpy, sys; data = numpy.load(sys.argv[1], allow_pickle=True).tolist()"
_BY_NUMPY_ZIP = "import json, numpy, sys; data = dict(numpy.load(sys.argv[1], allow_pickle=True))"
_WRITE = "; json.dump(data, open(sys.argv[2], 'x'), default=lambda v: v.tolist() if hasattr(v, 'tolist') else list(v))"


def refuse_pickle(path: Path) -> None:
    """Do nothing for a file that is no pickle (or cannot be looked into: its reader says why).

    Raises:
        DataError: It is one; says why it is not read and the one line that makes JSON of it.
    """
    kind = pickle_kind(path)
    if kind is not None:
        what, read = kind
        raise DataError(f"{what}; {_remedy(path, read)}", path=path)


def pickle_kind(path: Path) -> tuple[str, str] | None:
    """Return what a pickled file is and the code that reads it where it is trusted; None for every other file."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if head.startswith(b"PK\x03\x04"):
            return _kind_in_zip(path)
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return None
    if head.startswith(_NUMPY):
        return ("a numpy array of Python objects, that is, a pickle", _BY_NUMPY) if _OBJECTS.search(head) else None
    if _BINARY.match(head) or (_TEXT.match(head) and _has_operations(head)):
        torch_suffix = path.suffix.lower() in {".pt", ".pth", ".bin"}
        return "a Python pickle", _BY_TORCH if torch_suffix else _BY_PICKLE
    return None


def _has_operations(head: bytes) -> bool:
    """Tell whether the first operations of a text pickle can be read as such (nothing is carried out)."""
    operations = pickletools.genops(io.BytesIO(head))
    try:
        return bool([next(operations) for _ in range(_OPERATIONS)])
    except StopIteration:  # a short one, whole
        return True
    except (ValueError, UnicodeDecodeError):
        return False


def _kind_in_zip(path: Path) -> tuple[str, str] | None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name == "data.pkl" or name.endswith("/data.pkl"):
                return "an archive of torch's, whose content is a pickle", _BY_TORCH
            if name.endswith(".npy"):
                with archive.open(name) as member:
                    if _OBJECTS.search(member.read(_HEAD)):
                        return "a numpy archive of Python objects, that is, a pickle", _BY_NUMPY_ZIP
    return None


def _remedy(path: Path, read: str) -> str:
    # A name that no such file has: a pickle may be called x.json, and x.json may lie beside it.
    target = shlex.quote(str(path.with_suffix(".converted.json")))
    return (
        "opening it would run whatever code is in it, so dualway does not. If you trust it, make JSON of it where it "
        f'was made: python -c "{read}{_WRITE}" {shlex.quote(str(path))} {target}'
    )
