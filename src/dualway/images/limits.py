"""How large a picture may be. docs/pictures.md says why these numbers."""

from __future__ import annotations

MAX_BYTES = 64 * 2**20  # of the file
MAX_PIXELS = 25 * 2**20  # 26.2 million: cameras of 24 and 26 million are in
MAX_SIDE = 2**18  # pixels; each row costs Pillow 16 bytes, fax 16 a column, and a long row is read in quadratic time
MAX_MEMORY = 256 * 2**20  # bytes that decoding may take at its peak, the file's own bytes apart
MAX_PARTS = 100_000  # segments, chunks or strips that one file may be divided into
MAX_SCANS = 100  # passes of a JPEG over its pixels; progressive ones need ten
MAX_VISITS = 20 * MAX_PIXELS  # passes times pixels
