"""Small data sets in every form that is read, and ways to damage them, for ``damage_data.py``."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Files = dict[str, bytes]
Damage = Callable[[Files, random.Random], str]
"""Changes files in place, and names what it did."""

WORDS = (
    "a",
    "model",
    "reads",
    "what",
    "is",
    "hidden",
    "süß",
    "слово",
    "日本",
    "and",
    "fills",
    "it",
    "in",
    '"quoted"',
    "x,y",
    "tab\there",
)
NUMBER = 24


@dataclass(frozen=True)
class Form:
    """``data`` of a recipe, files of a clean data set, damages of this form alone, and a command instead of training."""

    data: str
    clean: Callable[[random.Random], Files]
    damages: Sequence[Damage] = ()
    command: Sequence[str] | None = None
    is_file: bool = False

    def write(self, folder: Path, draw: random.Random) -> list[str]:
        """Write the files, damaged in one to three ways, into ``folder``."""
        files = self.clean(draw)
        damages = [draw.choice([*BYTES, *self.damages, *self.damages]) for _ in range(draw.choice((1, 1, 2, 3)))]
        done = [damage(files, draw) for damage in damages]
        folder.mkdir()
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_dir():
                path.write_bytes(data)
        if draw.random() < 0.25:
            done.append(draw.choice(SPECIAL)(folder, draw))
        return done


def text(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(3, 40)))


def picture(draw: random.Random) -> Image.Image:
    pixels = np.random.default_rng(draw.randrange(2**32)).integers(0, 256, (draw.randint(8, 20), 12, 3), np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def text_files(draw: random.Random) -> Files:
    return {f"{draw.choice(('', 'a/', 'b/'))}{n}.txt": "\n\n".join(text(draw) for _ in range(3)).encode() for n in range(NUMBER)}


def image_files(draw: random.Random) -> Files:
    kinds = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP", "gif": "GIF", "tif": "TIFF", "avif": "AVIF", "pbm": "PPM"}
    names = {f"{draw.choice(('', 'cat/', 'train/'))}{n}.{draw.choice(sorted(kinds))}": n for n in range(NUMBER)}
    return {name: encoded(picture(draw), kinds[name.rpartition(".")[2]]) for name in names}


def rows(draw: random.Random) -> list[dict[str, Any]]:
    return [{"id": f"key {n}", "text": text(draw), "label": n % 3} for n in range(NUMBER)]


def jsonl(draw: random.Random) -> Files:
    return {"a.jsonl": "".join(json.dumps(row, ensure_ascii=bool(n % 2)) + "\n" for n, row in enumerate(rows(draw))).encode()}


def table(name: str, delimiter: str) -> Callable[[random.Random], Files]:
    def write(draw: random.Random) -> Files:
        stream = io.StringIO()
        csv.writer(stream, delimiter=delimiter).writerows([("id", "text", "label"), *(row.values() for row in rows(draw))])
        return {name: stream.getvalue().encode()}

    return write


def parquet(draw: random.Random) -> Files:
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows(draw)), stream, row_group_size=7, compression=draw.choice(("snappy", "zstd", "none")))
    return {"a.parquet": stream.getvalue()}


def arrow(draw: random.Random) -> Files:
    stream = io.BytesIO()
    found = pa.Table.from_pylist(rows(draw))
    with pa.ipc.new_stream(stream, found.schema) as writer:
        writer.write_table(found)
    return {"a.arrow": stream.getvalue()}


def zipped(clean: Callable[[random.Random], Files]) -> Callable[[random.Random], Files]:
    def write(draw: random.Random) -> Files:
        stream = io.BytesIO()
        kind = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        files = clean(draw)
        if draw.random() < 0.3:
            files["labels.csv"] = "".join(["file,label\n", *(f"{name},{n % 2}\n" for n, name in enumerate(files))]).encode()
            _damage_some(files, draw, ["labels.csv"])
        with zipfile.ZipFile(stream, "w", kind) as archive:
            for name, data in files.items():
                odd = draw.choice(ODD_NAMES).encode("utf-8", "replace").decode() if draw.random() < 0.1 else ""
                archive.writestr(odd + name, data)
        return {"a.zip": stream.getvalue()}

    return write


def tars(draw: random.Random) -> Files:
    found: Files = {}
    for number in range(2):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=draw.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))) as tar:
            for n in range(NUMBER // 2):
                for ending, data in (("txt", text(draw).encode()), ("cls", b"%d" % (n % 2))):
                    info = tarfile.TarInfo(f"{number}-{n}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
                if draw.random() < 0.04:
                    info = tarfile.TarInfo(draw.choice(("../x.txt", "/x.txt", f"{number}-{n}.pkl", "a\nb.txt", "x" * 300 + ".txt")))
                    info.type = draw.choice((tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.LNKTYPE))
                    info.linkname = "/etc/passwd"
                    tar.addfile(info)
        found[f"{number}.tar"] = stream.getvalue()
    return found


def _pick(files: Mapping[str, bytes], draw: random.Random) -> str:
    return draw.choice(sorted(files))


def _damage_some(files: Files, draw: random.Random, names: Sequence[str]) -> None:
    some = {name: files[name] for name in names}
    draw.choice(BYTES)(some, draw)
    files.update(some)


def truncated(files: Files, draw: random.Random) -> str:
    name = _pick(files, draw)
    files[name] = files[name][: draw.randrange(len(files[name]) + 1)]
    return f"truncated {name}"


def flipped(files: Files, draw: random.Random) -> str:
    name = _pick(files, draw)
    data = bytearray(files[name])
    for _ in range(draw.choice((1, 10, 100)) if data else 0):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    files[name] = bytes(data)
    return f"bits flipped in {name}"


def with_nulls(files: Files, draw: random.Random) -> str:
    name = _pick(files, draw)
    place = draw.randrange(len(files[name]) + 1)
    files[name] = files[name][:place] + bytes(draw.choice((1, 1000))) + files[name][place:]
    return f"nulls in {name}"


def rubbish(files: Files, draw: random.Random) -> str:
    name = _pick(files, draw)
    files[name] = draw.randbytes(draw.choice((0, 1, 100, 10_000)))
    return f"{name} is {len(files[name])} random bytes"


def repeated(files: Files, draw: random.Random) -> str:
    name = _pick(files, draw)
    files[name] = files[name] * 2
    return f"{name} twice"


def swapped(files: Files, draw: random.Random) -> str:
    """Parts of a file change places."""
    name = _pick(files, draw)
    data = files[name]
    first, second = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    files[name] = data[first:second] + data[:first] + data[second:]
    return f"parts of {name} swapped"


def renamed(files: Files, draw: random.Random) -> str:
    name = _pick(files, draw)
    other = draw.choice(ODD_NAMES) + name.rpartition("/")[2]
    files[other] = files.pop(name)
    return f"{name} is called {other!a}"


def other_ending(files: Files, draw: random.Random) -> str:
    name = _pick(files, draw)
    other = name.rpartition(".")[0] + draw.choice(
        (".jpg", ".txt", ".parquet", ".csv", ".jsonl", ".tar", ".tar.gz", ".zip", ".pt", "")
    )
    files[other or "x"] = files.pop(name)
    return f"{name} is called {other}"


def packed(files: Files, draw: random.Random) -> str:
    name = _pick(files, draw)
    data = gzip.compress(files.pop(name))
    files[name + ".gz"] = data[: draw.choice((len(data), len(data) // 2, 5))]
    return f"{name} packed, {len(files[name + '.gz'])} of {len(data)} bytes"


def all_damaged(files: Files, draw: random.Random) -> str:
    for name in list(files):
        files[name] = draw.randbytes(50)
    return "every file is random bytes"


ODD_NAMES = (
    "new\nline ",
    "tab\t",
    "back\\slash ",
    os.fsdecode(b"caf\xe9 "),
    "-",
    "x" * 200,
    "..dots..",
    "100% #'\"$(x) ",
    "🙂 ",
    "a.b.c.",
    "nul ",
)
BYTES: tuple[Damage, ...] = (truncated, flipped, with_nulls, rubbish, repeated, swapped, renamed, other_ending, packed, all_damaged)


def in_lines(change: Callable[[bytes, random.Random], bytes], what: str) -> Damage:
    """Change one line of a file of lines."""

    def damage(files: Files, draw: random.Random) -> str:
        name = _pick(files, draw)
        lines = files[name].split(b"\n")
        place = draw.randrange(len(lines))
        lines[place] = change(lines[place], draw)
        files[name] = b"\n".join(lines)
        return f"{what} in line {place + 1} of {name}"

    return damage


def encoded_otherwise(files: Files, draw: random.Random) -> str:
    name, encoding = _pick(files, draw), draw.choice(("utf-16", "utf-32", "cp1251", "utf-8-sig", "shift_jis", "utf-7"))
    files[name] = files[name].decode("utf-8", "ignore").encode(encoding, "replace")
    return f"{name} in {encoding}"


LINES: tuple[Damage, ...] = (
    encoded_otherwise,
    in_lines(lambda line, _: b'"' + line, "an unclosed quote"),
    in_lines(lambda line, _: line.replace(b",", b',"', 1), "a quote behind a comma"),
    in_lines(lambda line, _: line + b"\xff\xfe", "bad UTF-8"),
    in_lines(lambda line, draw: line + b"x" * draw.choice((10**5, 3 * 10**6)), "a huge cell"),
    in_lines(lambda _, draw: b"\n" * draw.choice((1, 5000)), "blank lines"),
    in_lines(lambda _, draw: draw.randbytes(40), "random bytes"),
    in_lines(lambda line, _: line + b",,,", "more cells"),
    in_lines(lambda line, _: line[: len(line) // 2], "half of it"),
    in_lines(lambda line, _: line.replace(b" ", b"\r"), "carriage returns"),
)
VALUES: tuple[str, ...] = (
    "null", "5", "1e999", "NaN", "true", '""', '"\\ud83d"', "[]", "{}", '["a", null]', '[""]', '{"text": null}', "[" * 5000,
    "[" * 900 + "]" * 900,
    "1" * 5000,
    '"' + "\\u0000" * 3 + '"', '" \\n "', '"' + "w " * 20_000 + '"',
)  # fmt: skip


def odd_value(files: Files, draw: random.Random) -> str:
    """Some JSON lines have another value of some field."""
    name, field, value = _pick(files, draw), draw.choice(("text", "id", "label")), draw.choice(VALUES)
    lines = files[name].split(b"\n")
    for place in draw.sample(range(len(lines)), min(len(lines), draw.choice((1, 3, 1000)))):
        lines[place] = f'{{"id": "other {place}", "{field}": {value}, "more": 1}}'.encode()
    files[name] = b"\n".join(lines)
    return f"{field} is {value[:20]} in {name}"


def odd_column(files: Files, draw: random.Random) -> str:
    """A Parquet file with a column of an odd type."""
    columns: dict[str, Any] = {
        "dates": pa.array([4_000_000] * NUMBER, pa.int32()).view(pa.date32()),
        "times": pa.array([2**60] * NUMBER, pa.timestamp("ms")),
        "bytes": pa.array([b"\xff\xfe"] * NUMBER, pa.binary()),
        "bad texts": pa.array([b"\xff\xfe"] * 2 + [b"good"] * (NUMBER - 2), pa.binary()).view(pa.string()),
        "nulls": pa.nulls(NUMBER),
        "some nulls": pa.array([None, "", " "] * (NUMBER // 3), pa.string()),
        "numbers": pa.array(range(NUMBER)),
        "nested": pa.array([[["a"]], []] * (NUMBER // 2)),
        "pictures": pa.array([{"bytes": None, "path": "/etc/passwd"}] * NUMBER),
        "maps": pa.array([[("text", "x")]] * NUMBER, pa.map_(pa.string(), pa.string())),
    }
    kind = draw.choice(sorted(columns))
    found: dict[str, Any] = {"text": [text(draw) for _ in range(NUMBER)], "id": list(range(NUMBER))}
    found[draw.choice(("text", "other", "id"))] = columns[kind]
    stream = io.BytesIO()
    pq.write_table(pa.table(found), stream)
    files.clear()
    files["a.parquet"] = stream.getvalue()
    return f"a column of {kind}"


def index_beside(files: Files, draw: random.Random) -> str:
    name = _pick(files, draw)
    files[f"{name}.index"] = draw.choice((b"", draw.randbytes(100), files[name]))
    return f"a damaged index of {name}"


def manifest_beside(files: Files, draw: random.Random) -> str:
    files["manifest.json"] = draw.choice(
        (b"", b"{}", b"[1]", b'{"format": 1, "shards": [{"name": "../x.tar"}]}', draw.randbytes(20))
    )
    return f"manifest {files['manifest.json'][:30]!r}"


def interleaved(files: Files, draw: random.Random) -> str:
    name = _pick(files, draw)
    files[f"again-{name}"] = files[name]
    return f"{name} is there twice"


def huge_picture(files: Files, draw: random.Random) -> str:
    size = draw.choice(((12_000, 12_000), (30_000, 10), (1, 1), (60_000, 60_000)))
    stream = io.BytesIO()
    if size[0] < 50_000:
        Image.new("1", size).save(stream, "PNG")
    else:
        stream.write(b"P6 %d %d 255\n" % size)
    files[draw.choice(("huge.png", "huge.ppm"))] = stream.getvalue()
    return f"a picture of {size[0]} x {size[1]} pixels"


def odd_mode(files: Files, draw: random.Random) -> str:
    mode = draw.choice(("F", "I", "I;16", "LA", "P", "1", "CMYK", "LAB"))
    stream = io.BytesIO()
    Image.new(mode, (9, 9)).save(stream, "TIFF")
    files["odd.tif"] = stream.getvalue()
    return f"a picture of mode {mode}"


def pipe(folder: Path, draw: random.Random) -> str:
    os.mkfifo(folder / f"pipe{_ending(folder, draw)}")
    return "a pipe"


def dangling(folder: Path, draw: random.Random) -> str:
    (folder / f"link{_ending(folder, draw)}").symlink_to("nowhere")
    return "a dangling link"


def device(folder: Path, draw: random.Random) -> str:
    (folder / f"device{_ending(folder, draw)}").symlink_to(draw.choice(("/dev/zero", "/dev/random", "/dev/null", "/proc/self/mem")))
    return "a link to a device"


def loop(folder: Path, draw: random.Random) -> str:
    (folder / "loop").symlink_to(draw.choice((".", "loop", "/", "..")))
    return "a link in a circle, or out of the folder"


def folder_with_ending(folder: Path, draw: random.Random) -> str:
    (folder / f"folder{_ending(folder, draw)}").mkdir()
    return "a folder that is called like a file"


def emptied(folder: Path, draw: random.Random) -> str:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            path.write_bytes(b"")
    return "every file is empty"


def _ending(folder: Path, draw: random.Random) -> str:
    return draw.choice(sorted({path.suffix for path in folder.rglob("*")} or {""}))


SPECIAL: tuple[Callable[[Path, random.Random], str], ...] = (pipe, dangling, device, loop, folder_with_ending, emptied)
_PICTURES: tuple[Damage, ...] = (huge_picture, odd_mode)
_SHARDS: tuple[Damage, ...] = (index_beside, manifest_beside, interleaved)

FORMS: Mapping[str, Form] = {
    "text.files": Form("name: text.files, path: {path}", text_files, LINES[:4]),
    "text lines": Form("name: text.files, path: {path}, documents: line", text_files, LINES),
    "text blocks": Form("name: text.files, path: {path}, documents: blank_line", text_files, LINES),
    "text.zip": Form("name: text.zip, path: {path}/a.zip", zipped(text_files)),
    "jsonl": Form("name: jsonl, path: {path}", jsonl, (*LINES, odd_value, odd_value, odd_value)),
    "jsonl keys": Form("name: jsonl, path: {path}, key: id, labels: label", jsonl, (*LINES, odd_value, odd_value, odd_value)),
    "csv": Form("name: csv, path: {path}", table("a.csv", ","), LINES),
    "csv keys": Form("name: csv, path: {path}, key: id, labels: label", table("a.csv", ","), LINES),
    "tsv": Form("name: csv, path: {path}", table("a.tsv", "\t"), LINES),
    "tsv plain": Form("name: csv, path: {path}, quote: null", table("a.tsv", "\t"), LINES),
    "parquet": Form("name: parquet, path: {path}", parquet, (odd_column, odd_column)),
    "parquet keys": Form("name: parquet, path: {path}, key: id", parquet, (odd_column, odd_column)),
    "huggingface": Form("name: huggingface, path: {path}", parquet, (odd_column,)),
    "huggingface stream": Form("name: huggingface, path: {path}, streaming: true", parquet, (odd_column,)),
    "huggingface arrow": Form("name: huggingface, path: {path}", arrow),
    "shards": Form("name: shards, path: {path}", tars, _SHARDS),
    "shards keys": Form("name: shards, path: {path}, keys: shard, fields: {{text: [txt]}}", tars, _SHARDS),
    "image.folder": Form("name: image.folder, path: {path}", image_files, _PICTURES),
    "image.zip": Form("name: image.zip, path: {path}/a.zip", zipped(image_files)),
    "shard folder": Form("name: digits", image_files, _PICTURES, command=("shard", "{data}", "{out}")),
    "shard jsonl": Form(
        "name: digits", jsonl, (*LINES, odd_value), command=("shard", "name=jsonl", "{out}", "path={data}", "key=id")
    ),
    "shard parquet": Form("name: digits", parquet, (odd_column,), command=("shard", "name=parquet", "{out}", "path={data}")),
    "verify shards": Form("name: digits", tars, _SHARDS, command=("data", "verify", "{data}")),
    "init": Form("name: digits", image_files, _PICTURES, command=("init", "{data}", "-o", "{out}.yaml")),
}
TEXTS = frozenset(name for name in FORMS if "image" not in name)
