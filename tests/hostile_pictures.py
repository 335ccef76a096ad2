"""Hostile pictures: kinds made by hand, and seeded mutations of good ones. Made anew each time; none is kept.

`hand_made()` lists the kinds, `mutations()` damages pictures by chance, `write_pictures` puts both into a folder. The
same seed gives the same bytes.
"""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
SIDE = 5120  # of the largest square picture that is read


@dataclass(frozen=True)
class Hostile:
    """A picture's file, or something else that stands under a picture's name.

    what: What it is.
    name: Its name in the folder; any that a file system takes.
    content: Its bytes, or what puts it at a path (a link, a pipe).
    usable: Whether it must be read (True), must be refused (False), or may be either, as with chance damage (None).
    """

    what: str
    name: str
    content: bytes | Callable[[Path], None]
    usable: bool | None = None

    def write(self, folder: Path) -> Path:
        """Put it into a folder, and return where it is."""
        path = folder / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            self.content(path)
        return path


def write_pictures(folder: Path, number: int, *, seed: int = 0, originals: Sequence[Path] = ()) -> list[Hostile]:
    """Write that many into a folder: every kind that is made by hand, then mutations.

    Args:
        folder: Where to; what links lead to is put beside it.
        number: How many, at least those made by hand.
        seed: Of the mutations.
        originals: Good pictures that are damaged; drawn ones where there are none.
    """
    made = hand_made()
    good = [path.read_bytes() for path in originals] or [encoded(kind, scene()) for kind in KINDS]
    made += mutations(good, number - len(made), seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "outside").mkdir(exist_ok=True)
    (folder.parent / "outside" / "secret.png").write_bytes(encoded("PNG"))
    for hostile in made:
        hostile.write(folder)
    return made


# What the kinds are made of.


def scene(size: tuple[int, int] = (160, 120), seed: int = 0) -> Image.Image:
    """Return a drawn picture with some noise."""
    noise = np.random.default_rng(seed).integers(0, 60, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise + 90)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2), fill=(200, 160, 130))
    draw.rectangle((size[0] // 2, size[1] // 2, size[0] - 9, size[1] - 5), fill=(30, 60, 160))
    return picture


def encoded(kind: str, picture: Image.Image | None = None, **options: object) -> bytes:
    """Return a picture as a file's bytes."""
    buffer = io.BytesIO()
    (picture or scene()).save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    """Return EXIF with an orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes, *, depth: int = 8, color: int = 2, extra: bytes = b"") -> bytes:
    """Return a PNG file of stated dimensions; `rows` are its rows, each behind its filter's byte, `extra` chunks."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def into_png(*chunks: bytes, content: bytes | None = None) -> bytes:
    """Return a good PNG file with chunks put in behind its header."""
    content = content or encoded("PNG")
    return content[:33] + b"".join(chunks) + content[33:]


def into_jpeg(*segments: tuple[int, bytes], content: bytes | None = None) -> bytes:
    """Return a good JPEG file with segments (marker, data) put in behind its start."""
    content = content or encoded("JPEG")
    packed = [struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in segments]
    return content[:2] + b"".join(packed) + content[2:]


Values = Sequence[int]


def tiff(tags: dict[int, tuple[int, Values]], data: bytes, *, order: str = "<", next_at: int = 0) -> bytes:
    """Return a TIFF file: 8 bytes, the pixels (so that offset 8 is theirs), values, the directory.

    Args:
        tags: Type and values by tag; numbers are written as they are.
        data: What stands at offset 8.
        order: Of bytes, as `struct` writes it.
        next_at: Where the next directory is said to be; -1: this one.
    """
    values, start = b"", 8 + len(data) + len(data) % 2
    entries: list[bytes] = []
    for tag, (kind, numbers) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}{'xBsHL'[kind]}", *numbers)
        if len(packed) > 4:
            place = struct.pack(order + "L", start + len(values))
            values += packed + b"\0" * (len(packed) % 2)
        else:
            place = packed.ljust(4, b"\0")
        entries.append(struct.pack(order + "HHL", tag, kind, len(numbers)) + place)
    at = start + len(values)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", at)
    last = struct.pack(order + "L", at if next_at < 0 else next_at)
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries) + last
    return head + data.ljust(start - 8, b"\0") + values + directory


def plain_tags(width: int, height: int, bits: Values = (8, 8, 8), **changed: tuple[int, Values]) -> dict:
    """Return the tags of an unpacked TIFF file whose pixels stand at offset 8; changes as t258=(3, [8])."""
    size = width * height * sum(bits) // 8
    tags = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, bits),
        259: (3, [1]),
        262: (3, [2 if len(bits) > 2 else 1]),
        273: (4, [8]),
        277: (3, [len(bits)]),
        278: (4, [height]),
        279: (4, [min(size, 2**32 - 1)]),
    }
    return tags | {int(name[1:]): value for name, value in changed.items()}


def tiled(size: tuple[int, int], tile: tuple[int, int]) -> bytes:
    """Return a black RGBA TIFF file of 16 bits and of one deflated tile; of a tile beyond measure only the start."""
    data = zlib.compress(bytes(min(tile[0] * tile[1] * 8, 5120 * 5120 * 8)), 1)
    tags = plain_tags(*size, (16,) * 4, t259=(3, [8]), t338=(3, [2]), t322=(4, [tile[0]]), t323=(4, [tile[1]]))
    tags |= {324: (4, [8]), 325: (4, [len(data)])}
    return tiff({tag: value for tag, value in tags.items() if tag not in {273, 278, 279}}, data)


def ycck() -> bytes:
    """Return a red JPEG picture in YCCK, inverted, as Photoshop writes it."""
    luma = np.array(Image.new("RGB", (16, 16), (0, 255, 255)).convert("YCbCr"))  # of cyan, magenta and yellow
    ink = np.concatenate([255 - luma, np.zeros((16, 16, 1), np.uint8)], axis=2)
    content = encoded("JPEG", Image.frombytes("CMYK", (16, 16), ink.tobytes()), quality=95)
    at = content.index(b"Adobe") + 11
    return content[:at] + b"\2" + content[at + 1 :]


def scans(number: int) -> bytes:
    """Return a progressive JPEG file that goes over its pixels that often."""
    content = encoded("JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * max(number - content.count(b"\xff\xda"), 0) + content[-2:]


def webp_canvas(width: int, height: int, content: bytes | None = None) -> bytes:
    """Return a WebP file whose header states a canvas of any size."""
    inner = (content or encoded("WEBP"))[12:]
    canvas = struct.pack(
        "<LHBHB", 0, (width - 1) & 0xFFFF, (width - 1) >> 16, (height - 1) & 0xFFFF, (height - 1) >> 16
    )
    body = b"WEBP" + b"VP8X" + struct.pack("<L", 10) + canvas + inner
    return b"RIFF" + struct.pack("<L", len(body)) + body


def gif(width: int, height: int, frame: tuple[int, int, int, int] = (0, 0, 1, 1), before: bytes = b"") -> bytes:
    """Return a GIF file of a canvas and a frame (left, top, width, height) of any size that holds one pixel."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\xff\0\0\0\xff\0"
    return head + before + b"," + struct.pack("<HHHHB", *frame, 0) + b"\x02\x02\x44\x01\0;"


def restated(content: bytes, width: int, height: int) -> bytes:
    """Return a JPEG file that states another size."""
    at = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2")) + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


def bmp(width: int, height: int, packing: int = 0, data: bytes = b"", bits: int = 24) -> bytes:
    """Return a BMP file of any stated size."""
    info = struct.pack("<LllHHLLllLL", 40, width, height, 1, bits, packing, len(data), 0, 0, 0, 0)
    palette = bytes(1024) if bits == 8 else b""
    start = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<LHHL", start + len(data), 0, 0, start) + info + palette + data


def exif_bomb(length: int, entries: int) -> bytes:
    """Return EXIF in which every entry says that its values are all of the block."""
    head = b"II*\0" + struct.pack("<LH", 8, entries)
    body = b"".join(struct.pack("<HHLL", 40000 + i, 7, length, 0) for i in range(entries))
    return (head + body).ljust(length, b"\0")


# The kinds.


def hand_made() -> list[Hostile]:
    """Return every kind that is made by hand, the names of files all different."""
    return [
        *_ordinary(),
        *_turned(),
        *_metadata(),
        *_odd_tiffs(),
        *_not_pictures(),
        *_bombs(),
        *_lying_headers(),
        *_slow(),
        *_cut_short(),
        *_named(),
        *_not_files(),
    ]


def _ordinary() -> Iterator[Hostile]:
    modes = {
        "JPEG": ("RGB", "L", "CMYK"),
        "PNG": ("RGB", "L", "P", "1", "RGBA", "LA"),
        "WEBP": ("RGB", "RGBA"),
        "GIF": ("P", "L"),
        "BMP": ("RGB", "P", "1"),
        "TIFF": ("RGB", "L", "P", "1", "RGBA", "LA", "CMYK"),
    }
    for kind, names in modes.items():
        for mode in names:
            content = encoded(kind, scene().convert(mode))
            yield Hostile(f"{kind} {mode}", f"ordinary-{kind}-{mode}.jpg", content, usable=True)
    yield Hostile("JPEG YCCK", "ycck.jpg", ycck(), usable=True)
    yield Hostile("progressive JPEG", "progressive.jpg", encoded("JPEG", progressive=True), usable=True)
    rows = b"".join(b"\0" + chance_bytes(6 * 9, row) for row in range(7))
    yield Hostile("PNG of 16 bits", "16-bit.png", png(9, 7, rows, depth=16), usable=True)
    grey = np.linspace(0, 65535, 9 * 7).reshape(7, 9).astype(np.uint16)
    yield Hostile("PNG of 16 bits, grey", "16-bit-grey.png", encoded("PNG", Image.fromarray(grey)), usable=True)
    yield Hostile("TIFF of 16 bits, grey", "16-bit-grey.tif", encoded("TIFF", Image.fromarray(grey)), usable=True)
    clear = scene().convert("P")
    clear_png = encoded("PNG", clear, transparency=bytes(range(256)))
    yield Hostile("PNG palette with transparency", "clear-palette.png", clear_png, usable=True)
    yield Hostile("GIF with a transparent colour", "clear.gif", encoded("GIF", clear, transparency=3), usable=True)
    frames = [scene(seed=seed) for seed in range(3)]
    for kind, name in (("GIF", "moving.gif"), ("WEBP", "moving.webp"), ("PNG", "moving.png"), ("TIFF", "pages.tif")):
        content = encoded(kind, frames[0], save_all=True, append_images=frames[1:])
        yield Hostile(f"{kind} of several frames", name, content, usable=True)
    yield Hostile("1 x 1", "one.png", encoded("PNG", Image.new("RGB", (1, 1))), usable=True)
    for kind, size in (("PNG", (1, 60_000)), ("PNG", (60_000, 1)), ("JPEG", (1, 60_000)), ("TIFF", (1, 60_000))):
        content = encoded(kind, Image.new("RGB", size, "red"))
        yield Hostile(f"{kind} strip", f"strip-{kind}-{size[0]}.png", content, usable=True)


def chance_bytes(number: int, seed: int) -> bytes:
    """Return bytes of chance, the same each time."""
    return random.Random(seed).randbytes(number)


def _turned() -> Iterator[Hostile]:
    for orientation in (0, *range(1, 9), 9, 65535):
        content = encoded("JPEG", exif=turned(orientation))
        yield Hostile(f"JPEG turned {orientation}", f"turned-{orientation}.jpg", content, usable=True)
    for kind in ("PNG", "WEBP", "TIFF"):
        yield Hostile(f"{kind} turned 6", f"turned.{kind.lower()}", encoded(kind, exif=turned(6)), usable=True)
    for i, exif in enumerate([b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"\0" * 40]):
        content = into_jpeg((0xE1, b"Exif\0\0" + exif))
        yield Hostile("JPEG with broken EXIF", f"exif-{i}.jpg", content, usable=True)
        yield Hostile("PNG with broken EXIF", f"exif-{i}.png", into_png(chunk(b"eXIf", exif)), usable=True)


def _metadata() -> Iterator[Hostile]:
    profile = chance_bytes(3000, 1)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        content = encoded(kind, icc_profile=profile)
        yield Hostile(f"{kind} with a broken profile", f"profile.{kind.lower()}", content, usable=True)
    squeezed = zlib.compress(b"x" * 50_000_000, 1)
    for name, data in (
        ("zTXt", b"c\0\0" + squeezed),
        ("iTXt", b"c\0\1\0\0\0" + squeezed),
        ("iCCP", b"p\0\0" + squeezed),
    ):
        yield Hostile(f"{name} bomb", f"bomb-{name}.png", into_png(chunk(name.encode(), data)), usable=True)
    bomb = exif_bomb(60_000, 4_000)
    yield Hostile("EXIF bomb", "exif-bomb.jpg", into_jpeg((0xE1, b"Exif\0\0" + bomb)), usable=True)
    yield Hostile("EXIF bomb", "exif-bomb.png", into_png(chunk(b"eXIf", exif_bomb(2_000_000, 20_000))), usable=True)
    yield Hostile("EXIF in many parts", "exif-parts.jpg", into_jpeg(*[(0xE1, b"Exif\0\0" + bomb)] * 60), usable=True)
    broken_index = into_jpeg((0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"))
    yield Hostile("JPEG with a broken index of pictures", "mpo.jpg", broken_index, usable=True)
    words = into_jpeg(*[(0xFE, b"word")] * 20_000)
    yield Hostile("JPEG of 20,000 comments", "comments.jpg", words, usable=True)
    texts = b"".join(chunk(b"tEXt", b"k%d\0v" % i) for i in range(50_000))
    yield Hostile("PNG of 50,000 texts", "texts.png", into_png(texts), usable=True)
    block = b"!\xfe" + (bytes([255]) + b"c" * 255) * 20_000 + b"\0"
    yield Hostile("GIF with a comment of 5 MB", "comment.gif", gif(1, 1, before=block), usable=True)


def _odd_tiffs() -> Iterator[Hostile]:
    for packing in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield Hostile(f"TIFF {packing}", f"{packing}.tif", encoded("TIFF", compression=packing), usable=True)
    for packing in ("group3", "group4"):
        content = encoded("TIFF", scene().convert("1"), compression=packing)
        yield Hostile(f"TIFF {packing}", f"{packing}.tif", content, usable=True)
    for packing in (6, 32809, 34676, 34925, 50000, 50001, 65535):  # old JPEG, ThunderScan, SGI, LZMA, Zstandard, WebP
        content = tiff(plain_tags(4, 3, t259=(3, [packing])), bytes(36))
        yield Hostile(f"TIFF packed by {packing}", f"packed-{packing}.tif", content, usable=False)
    for order in "<>":
        content = tiff(plain_tags(4, 3), bytes(36), order=order)
        yield Hostile(f"TIFF {order}", f"order-{ord(order)}.tif", content, usable=True)
    numbers = np.linspace(0, 1, 63, dtype=np.float32).reshape(7, 9)
    yield Hostile("TIFF of fractions", "fractions.tif", encoded("TIFF", Image.fromarray(numbers)), usable=False)
    whole = Image.fromarray((numbers * 70_000).astype(np.int32))
    yield Hostile("TIFF of 32 bits", "32-bit.tif", encoded("TIFF", whole), usable=False)
    tiles = {322: (4, [16]), 323: (4, [16]), 324: (4, [8]), 325: (4, [768])}
    tiled = {tag: value for tag, value in plain_tags(16, 16).items() if tag not in (273, 278, 279)} | tiles
    yield Hostile("TIFF of tiles", "tiles.tif", tiff(tiled, bytes(768)), usable=True)
    for side in (100_000, 2**31 - 1):
        large = tiled | {322: (4, [side]), 323: (4, [side])}
        yield Hostile("TIFF with huge tiles", f"tiles-{side}.tif", tiff(large, bytes(768)), usable=False)
    planes = plain_tags(4, 3, t284=(3, [2]), t273=(4, [8, 20, 32]), t279=(4, [12, 12, 12]))
    yield Hostile("TIFF in planes", "planes.tif", tiff(planes, bytes(36)), usable=True)
    rows = plain_tags(1, 60_000, t278=(4, [1]), t273=(4, [8] * 60_000), t279=(4, [3] * 60_000))
    yield Hostile("TIFF of 60,000 strips", "strips.tif", tiff(rows, bytes(36)), usable=True)
    many = plain_tags(4, 3, t278=(4, [1]), t273=(4, [8] * 200_000), t279=(4, [12] * 200_000))
    yield Hostile("TIFF of 200,000 strips", "too-many-strips.tif", tiff(many, bytes(36)), usable=False)
    yield Hostile("TIFF in a circle", "circle.tif", tiff(plain_tags(4, 3), bytes(36), next_at=-1), usable=True)
    first = tiff(plain_tags(4, 3), bytes(36), next_at=1000).ljust(1000, b"\0")
    chain = b"".join(struct.pack("<HL", 0, 1000 + 6 * (i + 1)) for i in range(1_000_000))
    yield Hostile("TIFF of a million pages", "million.tif", first + chain, usable=True)
    claims = plain_tags(4, 3) | {40000 + i: (1, [0] * 8) for i in range(200)}
    content = bytearray(tiff(claims, bytes(1_000_000)))
    for i in range(200):  # each now says that its values are all of the file
        at = content.rindex(struct.pack("<HH", 40000 + i, 1))
        content[at + 4 : at + 12] = struct.pack("<LL", len(content) - 8, 8)
    yield Hostile("TIFF whose tags claim all of it", "claims.tif", bytes(content), usable=True)
    outside = plain_tags(4, 3, t273=(4, [2**32 - 9]))
    yield Hostile("TIFF with pixels outside it", "outside.tif", tiff(outside, bytes(36)), usable=False)
    yield Hostile("BigTIFF", "big.tif", b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) + bytes(100), usable=False)
    raw = tiff(plain_tags(4, 3, t254=(4, [1])), bytes(36))
    yield Hostile("raw file of a camera", "raw.nef", raw, usable=False)


def _not_pictures() -> Iterator[Hostile]:
    pages = {
        "empty": b"",
        "zeros": bytes(5000),
        "chance": chance_bytes(5000, 2),
        "web page": b"<!DOCTYPE html><html><head><title>404</title></head></html>",
        "web page in UTF-16": "<html><body>".encode("utf-16"),
        "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "SVG that refers to itself": b"<!DOCTYPE svg [<!ENTITY a '&b;&b;'><!ENTITY b '&a;&a;'>]><svg>&a;</svg>",
        "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n/x {x} def x\n",
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
        "JPEG 2000": encoded("JPEG2000"),
        "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100),
        "video": b"\0\0\0\x20ftypisom\0\0\2\0" + bytes(100),
        "icon": encoded("ICO", Image.new("RGBA", (16, 16))),
        "icon that says 0 x 0": b"\0\0\1\0\xff\xff" + bytes(16) * 100,
        "Photoshop": b"8BPS\0\1" + bytes(100),
        "gzip": b"\x1f\x8b\x08\0" + bytes(100),
        "zip": b"PK\3\4" + bytes(100),
        "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "JSON": b'{"error": "not found"}',
        "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        "PPM": encoded("PPM"),
        "PCX": encoded("PCX"),
        "TGA": encoded("TGA"),
        "text": "just words, Всего\n".encode(),
    }
    for what, content in pages.items():
        yield Hostile(what, f"no-{what.replace(' ', '-')}.jpg", content, usable=False)
    try:
        content = encoded("AVIF")
    except (KeyError, OSError):  # Pillow without it
        content = b"\0\0\0\x1cftypavif\0\0\0\0" + bytes(100)
    yield Hostile("AVIF", "no-avif.jpg", content, usable=False)


def _bombs() -> Iterator[Hostile]:
    """Files of a few bytes that state 30,000 x 30,000 pixels, and files that really hold what is just too much."""
    side = 30_000
    yield Hostile("PNG bomb", "bomb.png", png(side, side, bytes(1000)), usable=False)
    yield Hostile("GIF bomb", "bomb.gif", gif(side, side), usable=False)
    yield Hostile(
        "GIF with a small canvas and a huge frame", "frame.gif", gif(1, 1, (9, 9, 65535, 65535)), usable=False
    )
    yield Hostile("BMP bomb", "bomb.bmp", bmp(side, side, data=bytes(100)), usable=False)
    yield Hostile("BMP bomb upside down", "bomb-down.bmp", bmp(side, -side, data=bytes(100)), usable=False)
    yield Hostile("TIFF bomb", "bomb.tif", tiff(plain_tags(side, side), bytes(100)), usable=False)
    yield Hostile("WebP bomb", "bomb.webp", webp_canvas(16_000, 16_000), usable=False)
    yield Hostile("WebP canvas beyond measure", "canvas.webp", webp_canvas(2**24, 2**24), usable=False)
    yield Hostile("JPEG bomb", "bomb.jpg", restated(encoded("JPEG"), side, side), usable=False)
    lossless = encoded("WEBP", Image.new("RGB", (6000, 6000)), lossless=True, method=0)
    yield Hostile("WebP of one colour, 36 million pixels", "flat.webp", lossless, usable=False)
    unpacked = (SIDE + 1) * (SIDE * 3 + 1)
    yield Hostile("PNG of one colour, just too large", "flat.png", png(SIDE, SIDE + 1, bytes(unpacked)), usable=False)
    largest = png(SIDE, SIDE, bytes(SIDE * (SIDE * 3 + 1)))
    yield Hostile("PNG as large as may be", "largest.png", largest, usable=True)
    grey = png(SIDE, SIDE, bytes(SIDE * (SIDE * 2 + 1)), depth=16, color=0)
    yield Hostile("PNG of 16 bits as large as may be", "largest-grey.png", grey, usable=True)
    clear = png(SIDE, SIDE, bytes(SIDE * (SIDE * 4 + 1)), color=6)
    yield Hostile("clear PNG as large as may be", "largest-clear.png", clear, usable=True)
    flat = Image.new("RGB", (SIDE, SIDE), "green")
    turned_jpeg = encoded("JPEG", flat, progressive=True, subsampling=0, exif=turned(5))
    yield Hostile("progressive JPEG as large as may be, turned", "largest.jpg", turned_jpeg, usable=True)
    busy = encoded("JPEG", scene().resize((SIDE, SIDE)))
    yield Hostile("JPEG as large as may be, with things in it", "largest-busy.jpg", busy, usable=True)
    inks = restated(encoded("JPEG", scene().convert("CMYK"), progressive=True, subsampling=0), SIDE, SIDE)
    yield Hostile("progressive CMYK that takes too much memory", "large-cmyk.jpg", inks, usable=False)
    yield from _long_and_tiled()


def _long_and_tiled() -> Iterator[Hostile]:
    """Few pixels, or none too many, in a shape that takes memory of its own."""
    tall = png(1, 26_000_000, bytes(26_000_000 * 4))
    yield Hostile("PNG of 26 million rows", "tall.png", tall, usable=False)  # 16 bytes a row
    wide = bmp(20_000_000, 1, bits=8, data=bytes(20_000_000))
    yield Hostile("BMP of one row of 20 million", "wide.bmp", wide, usable=False)
    for what, size in (("column", (1, 20_000_000)), ("row", (20_000_000, 1))):  # 16 bytes a column
        tags = plain_tags(*size, (1,), t259=(3, [4]), t262=(3, [0]), t279=(4, [999]))
        yield Hostile(f"fax of one {what}", f"fax-{what}.tif", tiff(tags, b"\xff" * 999), usable=False)
    for what, width, height in (("large", 5120, 5120), ("too large", 30_000, 30_000), ("wide", 20_000_000, 1)):
        yield Hostile(
            f"TIFF of one {what} tile", f"tile-{what}.tif", tiled((1, 1), (width, height)), usable=what == "large"
        )
    yield Hostile("TIFF that ends in its large tile", "tile.tif", tiled((4600, 4600), (5120, 5120)), usable=False)


def _lying_headers() -> Iterator[Hostile]:
    """Headers that promise other pixels than follow."""
    yield Hostile("PNG with too few rows", "few-rows.png", png(4000, 4000, bytes(1000)), usable=False)
    yield Hostile("PNG with rows too many", "many-rows.png", png(2, 2, bytes(5_000_000)), usable=True)
    yield Hostile("PNG without width", "no-width.png", png(0, 9, bytes(9)), usable=False)
    yield Hostile("PNG of no known colour", "no-colour.png", png(2, 2, bytes(9), color=5), usable=False)
    yield Hostile("PNG of no known depth", "no-depth.png", png(2, 2, bytes(9), depth=77), usable=False)
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    yield Hostile("PNG of two headers", "headers.png", into_png(second), usable=True)
    movie = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    yield Hostile("PNG of two thousand million frames", "frames.png", into_png(movie), usable=True)
    smaller = webp_canvas(9, 9)
    yield Hostile("WebP with a picture larger than its canvas", "canvas-small.webp", smaller, usable=False)
    yield Hostile("BMP without pixels", "no-pixels.bmp", bmp(100, 100), usable=False)
    yield Hostile("BMP whose run lengths move by 12 thousand million pixels", "runs.bmp", _runs(), usable=False)
    jpeg = encoded("JPEG")
    frame = jpeg.index(b"\xff\xc0")
    twice = jpeg[:frame] + jpeg[frame : frame + 19] * 2 + jpeg[frame + 19 :]
    yield Hostile("JPEG of two frames", "two-frames.jpg", twice, usable=False)
    zero = bytearray(jpeg)
    zero[frame + 5 : frame + 7] = b"\0\0"
    yield Hostile("JPEG without height", "no-height.jpg", bytes(zero), usable=False)
    odd = bytearray(jpeg)
    odd[frame + 11 : frame + 12] = b"\0"
    yield Hostile("JPEG without sampling", "no-sampling.jpg", bytes(odd), usable=False)
    deep = bytearray(jpeg)
    deep[frame + 4] = 12
    yield Hostile("JPEG of 12 bits", "12-bit.jpg", bytes(deep), usable=False)
    yield Hostile("JPEG of two pictures", "two.jpg", jpeg + encoded("JPEG", scene(seed=1)), usable=True)
    yield Hostile("JPEG and an archive", "archive.jpg", jpeg + b"PK\3\4" + bytes(1000), usable=True)
    yield Hostile("GIF without a palette", "no-palette.gif", b"GIF89a" + bytes([9, 0, 9, 0, 0, 0, 0, 59]), usable=False)


def _runs() -> bytes:
    return bmp(50_000_000, 1, packing=1, data=b"\0\2\xff\xff" * 9, bits=8)


def _slow() -> Iterator[Hostile]:
    """Small files that a decoder would work on for minutes."""
    yield Hostile("JPEG of 90 scans", "scans-90.jpg", scans(90), usable=True)
    yield Hostile("JPEG of 5,000 scans", "scans-5000.jpg", scans(5000), usable=False)
    yield Hostile("large JPEG of 60 scans", "scans-60.jpg", restated(scans(60), 4000, 3000), usable=False)
    yield Hostile("JPEG of 200,000 parts", "parts.jpg", into_jpeg(*[(0xFE, b"")] * 200_000), usable=False)
    yield Hostile("PNG of 200,000 chunks", "chunks.png", into_png(chunk(b"tEXt", b"k\0v") * 200_000), usable=False)
    yield Hostile("PNG of empty pixel chunks", "idats.png", into_png(chunk(b"IDAT", b"") * 90_000), usable=True)
    parts = b"!\xfe" + b"\1c" * 300_000 + b"\0"
    yield Hostile("GIF of 300,000 parts", "parts.gif", gif(1, 1, before=parts), usable=False)
    yield Hostile("JPEG of markers", "markers.jpg", b"\xff\xd8\xff" + b"\xff" * 3_000_000, usable=False)
    yield Hostile("JPEG of restarts", "restarts.jpg", b"\xff\xd8" + b"\xff\xd0" * 1_000_000, usable=False)
    pieces = encoded("WEBP")
    junk = (b"JUNK" + bytes(4)) * 200_000
    riff = b"RIFF" + struct.pack("<L", len(pieces) - 8 + len(junk)) + pieces[8:] + junk
    yield Hostile("WebP of 200,000 chunks", "chunks.webp", riff, usable=False)


def _cut_short() -> Iterator[Hostile]:
    for kind in KINDS:
        content = encoded(kind)
        for share in (0.001, 0.02, 0.3, 0.9, 0.99):
            end = max(int(len(content) * share), 4)
            what = f"{kind} cut short at {end} of {len(content)}"
            yield Hostile(what, f"cut-{share}.{kind.lower()}", content[:end], usable=False)


def _named() -> Iterator[Hostile]:
    """Good pictures under names that trouble others."""
    names = ["фото.png", "写真.png", "صورة.png", "שלום.png", "🙂👩‍👩‍👧.png", "e\u0301.png", "a b'\"&#%$(x).png"]
    names += ["-rf.png", "a\nb.png", "a\tb\x1b[31m.png", "\x7f.png", "‮gnp.png", "..png", "CON", "a\\b.png"]
    names += ["x" * 251 + ".png", "é" * 127, os.fsdecode(b"\xff\xfe.png"), os.fsdecode(b"caf\xe9.jpg"), "%2e%2e.png"]
    for i, name in enumerate(names):
        yield Hostile("a name", name, encoded("PNG", scene((20, 20), i)), usable=True)


def _not_files() -> Iterator[Hostile]:
    def link(target: str) -> Callable[[Path], None]:
        return partial(Path.symlink_to, target=target)

    yield Hostile("folder", "folder.jpg", Path.mkdir, usable=False)
    yield Hostile("pipe", "pipe.jpg", os.mkfifo, usable=False)
    yield Hostile("link to a device", "device.jpg", link("/dev/zero"), usable=False)
    yield Hostile("link to itself", "itself.jpg", link("itself.jpg"), usable=False)
    yield Hostile("links in a circle", "circle-1.jpg", link("circle-2.jpg"), usable=False)
    yield Hostile("links in a circle", "circle-2.jpg", link("circle-1.jpg"), usable=False)
    yield Hostile("link to nowhere", "nowhere.jpg", link("gone.jpg"), usable=False)
    yield Hostile("link out of the folder", "out.jpg", link("../outside/secret.png"), usable=False)
    yield Hostile("link to a folder outside", "way-out", link("../outside"), usable=False)
    yield Hostile("link inside the folder", "inside.jpg", link("one.png"), usable=True)
    yield Hostile("link to a process's memory", "memory.jpg", link("/proc/self/mem"), usable=False)
    yield Hostile("file of holes", "holes.jpg", _holes, usable=False)


def _holes(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10 * 2**30)


# Chance.


def mutations(originals: Sequence[bytes], number: int, seed: int) -> list[Hostile]:
    """Return that many damaged pictures."""
    chance = random.Random(seed)
    ways = [_flip, _overwrite, _cut, _splice, _repeat, _extreme, _swap]
    made: list[Hostile] = []
    for i in range(max(number, 0)):
        way = ways[i % len(ways)]
        content = way(bytearray(chance.choice(originals)), chance, originals)
        suffix = chance.choice(["jpg", "png", "gif", "webp", "bmp", "tif", "svg", "txt", ""])
        made.append(Hostile(f"chance: {way.__name__[1:]}", f"chance-{i:04}.{suffix}".rstrip("."), bytes(content)))
    return made


def _flip(content: bytearray, chance: random.Random, _: Sequence[bytes]) -> bytearray:
    """Turn single bits, most of them in the header."""
    for _ in range(chance.randint(1, 40)):
        reach = len(content) if chance.random() < 0.4 else min(len(content), 600)
        content[chance.randrange(reach)] ^= 1 << chance.randrange(8)
    return content


def _overwrite(content: bytearray, chance: random.Random, _: Sequence[bytes]) -> bytearray:
    """Write bytes of chance over a stretch."""
    length = min(chance.choice([1, 2, 4, 16, 300]), len(content))
    at = chance.randrange(len(content) - length + 1)
    content[at : at + length] = chance.randbytes(length)
    return content


def _cut(content: bytearray, chance: random.Random, _: Sequence[bytes]) -> bytearray:
    """Cut the end off, or a stretch out."""
    start = chance.randrange(2, len(content))
    end = len(content) if chance.random() < 0.6 else min(start + chance.randint(1, 3000), len(content))
    del content[start:end]
    return content


def _splice(content: bytearray, chance: random.Random, originals: Sequence[bytes]) -> bytearray:
    """Put a stretch of another picture in."""
    other = chance.choice(originals)
    start = chance.randrange(len(other))
    at = chance.randrange(len(content))
    content[at : at + chance.randint(0, 500)] = other[start : start + chance.randint(1, 4000)]
    return content


def _repeat(content: bytearray, chance: random.Random, _: Sequence[bytes]) -> bytearray:
    """Repeat a stretch many times."""
    at = chance.randrange(len(content))
    stretch = bytes(content[at : at + chance.randint(1, 200)])
    content[at:at] = stretch * chance.randint(1, 2000)
    return content


def _extreme(content: bytearray, chance: random.Random, _: Sequence[bytes]) -> bytearray:
    """Write numbers into the header that are as large as they can be, or nothing."""
    for _ in range(chance.randint(1, 3)):
        at, value = chance.randrange(4, min(len(content), 300)), chance.choice([b"\xff", b"\0", b"\x7f\xff", b"\x80"])
        length = chance.choice([1, 2, 4])
        content[at : at + length] = (value * length)[:length]
    return content


def _swap(content: bytearray, chance: random.Random, originals: Sequence[bytes]) -> bytearray:
    """Put the start of one picture before the rest of another."""
    other = chance.choice(originals)
    at = chance.choice([4, 12, 64, 300])
    return bytearray(other[:at]) + content[at:]
