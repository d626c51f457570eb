"""The contact sheet: the most suspicious examples as one HTML page, which needs no network and no server."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from benchmark.audit.data import Audited
from benchmark.audit.judging import Judged
from benchmark.audit.marks import Mark
from benchmark.audit.trust import Trust
from benchmark.page.policy import policy

ASSETS = Path(__file__).parent / "assets"
SIDE = 96  # largest side of a thumbnail in pixels
QUALITY = 80  # of a JPEG thumbnail


def render(title: str, data: Audited, judged: Judged, trust: Trust, marks: Mapping[int, Mark], folds: int, notes: Sequence[str]) -> str:
    """Return the page. trust: how far the list can be trusted, with the length of the list; notes: sentences on the data"""
    script, style = _asset("sheet.js"), _asset("sheet.css")
    listed = judged.scores.order[: trust.top]
    cards = [_card(data, judged, trust, rank, lines) for rank, lines in enumerate(_evidence(data, judged, listed), start=1)]
    content = {"digest": data.digest, "classes": data.classes, "cards": cards, "marks": _marks(data, marks, listed)}
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_asset("sheet.html.j2")).render(
        title=title,
        policy=policy(script, style),
        script=Markup(script),
        style=Markup(style),
        data=Markup(_embedded(content)),
        n=len(data),
        shown=trust.top,
        classes=data.classes,
        methods=list(judged.evidence),
        folds=folds,
        cards=cards,
        estimate=trust.estimate,
        lengths=trust.lengths,
        marked=trust.marked.n > 0,
        reading=trust.reading,
        notes=notes,
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _embedded(content: Mapping[str, Any]) -> str:
    """Return JSON that cannot end the element around it."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _card(data: Audited, judged: Judged, trust: Trust, rank: int, evidence: list[tuple[str, str]]) -> dict[str, Any]:
    scores = judged.scores
    position = int(scores.order[rank - 1])
    given, suggested = int(data.labels[position]), int(scores.suggested[position])
    others = scores.probabilities[position].copy()
    others[given] = -1
    return {
        "rank": rank,
        "sample": trust.sample_place[position],
        "name": data.names[position],
        "given": given,
        "suggested": suggested,
        "second": int(others.argmax()),  # the most probable other class
        "p": round(float(trust.probability[position]), 4),
        "image": thumbnail(data, position),
        "row": _row(data, position),
        "evidence": evidence,
    }


def _row(data: Audited, position: int) -> list[tuple[str, str]]:
    """Return the columns of a row with their values, as text; empty for pictures."""
    if data.table is None:
        return []
    row = data.table.iloc[position]
    return [(str(name), str(value)) for name, value in row.items() if name != data.label]


def _evidence(data: Audited, judged: Judged, listed: np.ndarray) -> list[list[tuple[str, str]]]:
    """Return words and values for each listed example; one method at a time is in memory."""
    scores = judged.scores
    found = [
        [
            ("methods that disagree", f"{scores.disagreement[position]:.0%}"),
            ("probability of the label", f"{scores.probabilities[position, data.labels[position]]:.3f}"),
            ("confident learning", f"{scores.confident[position]:.3f}"),
        ]
        for position in listed
    ]
    for method, file in judged.evidence.items():
        with np.load(file) as arrays:
            for name in arrays.files:
                for lines, value in zip(found, arrays[name][listed], strict=True):
                    lines.append((f"{method} {name}", data.classes[value] if name == "prediction" else f"{value:.3g}"))
    return found


def thumbnail(data: Audited, position: int) -> str:
    """Return the picture as a data URI, at most SIDE pixels wide and high; '' for a row of a table."""
    from PIL import Image

    if data.images.ndim != 4:
        return ""
    content = io.BytesIO()
    if data.files:
        with Image.open(data.files[position]) as opened:
            picture = opened.convert("RGB")
            picture.thumbnail((SIDE, SIDE))
            picture.save(content, "JPEG", quality=QUALITY)
        return _uri("jpeg", content)
    pixels = data.images[np.array([position])][0].cpu().numpy().transpose(1, 2, 0)
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(content, "PNG")
    return _uri("png", content)


def _uri(kind: str, content: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


def _marks(data: Audited, marks: Mapping[int, Mark], listed: np.ndarray) -> list[dict[str, Any]]:
    there = set(listed.tolist())
    return [{"name": data.names[position], "mark": mark.mark, "label": mark.label} for position, mark in marks.items() if position in there]
