"""Results of several methods on one input, side by side: their figures, a table, a sheet of pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# What is compared: its name, where a report has it, and how a person reads it.
COLUMNS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("seconds", ("seconds", "train"), "{:.0f}"), ("psnr_db", ("psnr_db",), "{:.2f}"), ("ssim", ("ssim",), "{:.3f}"),
    ("mesh_psnr_db", ("mesh_psnr_db",), "{:.2f}"), ("mesh_ssim", ("mesh_ssim",), "{:.3f}"),
    ("blender_psnr_db", ("blender_psnr_db",), "{:.2f}"), ("blender_ssim", ("blender_ssim",), "{:.3f}"),
    ("faces", ("mesh", "faces"), "{:,}"), ("open_edges", ("mesh", "open_edges"), "{:,}"),
    ("f_score_0.5%", ("truth", "f_score", "0.5%"), "{:.3f}"), ("f_score_1%", ("truth", "f_score", "1%"), "{:.3f}"),
    ("normal_consistency", ("truth", "normal_consistency"), "{:.3f}"))
CSV, JSON, SHEET = "compare.csv", "compare.json", "compare.png"
LABEL = 16  # px of the line above each method's pictures

Row = dict[str, Any]


def row(method: str, report: dict[str, Any]) -> Row:
    """A method's figures; one that does not apply is absent."""
    found: Row = {"method": method}
    for name, path, _ in COLUMNS:
        value: Any = report
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            found[name] = value
    return found


def failed(method: str, why: str) -> Row:
    return {"method": method, "failed": why}


def table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Lines of cells, a heading first; a column that no method has is left out, and so are failures."""
    columns = [(name, shown) for name, _, shown in COLUMNS if any(name in r for r in rows)]
    lines = [("method", *(name for name, _ in columns))]
    for r in rows:
        if "failed" not in r:
            lines.append((r["method"], *(shown.format(r[name]) if name in r else "–" for name, shown in columns)))
    return lines


def text(rows: Sequence[Row]) -> str:
    """The table in columns of one width each, and a line for each failure."""
    lines = table(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    said = ["  ".join(cell.rjust(width) if number else cell.ljust(width)
                      for number, (cell, width) in enumerate(zip(line, widths, strict=True))) for line in lines]
    return "\n".join(said + [f"{r['method']}: {r['failed']}" for r in rows if "failed" in r])


def as_csv(rows: Sequence[Row]) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, ["method", *(name for name, _, _ in COLUMNS), "failed"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def as_json(rows: Sequence[Row]) -> bytes:
    return (json.dumps({"methods": list(rows)}, indent=1) + "\n").encode()


def sheet(strips: Sequence[tuple[str, Path]]) -> bytes | None:
    """A PNG of labelled strips of pictures, one below the other; None where no strip's file exists."""
    from PIL import Image, ImageDraw

    pictures = []
    for label, path in strips:
        if path.is_file():
            with Image.open(path) as opened:
                pictures.append((label, opened.convert("RGB")))
    if not pictures:
        return None
    size = max(picture.width for _, picture in pictures), sum(picture.height + LABEL for _, picture in pictures)
    whole = Image.new("RGB", size, "white")
    top = 0
    for label, picture in pictures:
        ImageDraw.Draw(whole).text((2, top + 2), label, fill="black")
        whole.paste(picture, (0, top + LABEL))
        top += LABEL + picture.height
    file = io.BytesIO()
    whole.save(file, "PNG")
    return file.getvalue()
