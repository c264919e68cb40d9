"""UKPConvArg1 (Habernal and Gurevych, ACL 2016): its XML files, one a debate and stance.

Pairs of arguments of one stance in a debate; five workers of thousands say of each which argument
convinces more, and why. Workers are shown by pseudonyms that follow from their ids alone, so that
they are the same whichever of the files there are. What the files tell of a worker's rank,
competence and own stance, and the arguments' votes and authors, is not read.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from capo_bench.corpus.model import Annotator, Corpus, Item, Response
from capo_bench.corpus.tasks import CONVINCING
from capo_bench.errors import CapoBenchError
from capo_bench.files import naming, read_bytes

_CITATION = (
    "Ivan Habernal and Iryna Gurevych. Which argument is more convincing? Analyzing and predicting "
    "convincingness of Web arguments using bidirectional LSTM. ACL 2016."
)


def read_ukpconvarg(folder: Path) -> Corpus:
    """Reads the `.xml` files of a folder; the items have no split.

    Args:
        folder: `UKPConvArg1-full-XML` of the original data, or some of its files.

    Raises:
        CapoBenchError: If there are none, or one is not XML, defines entities, or lacks what a pair
            of arguments has; the file and the pair are named.
    """
    files = sorted(folder.glob("*.xml"))
    if not files:
        raise CapoBenchError("holds no .xml files; expected UKPConvArg1-full-XML", file=folder)
    items = tuple(item for file in files for item in _items(file))
    with naming(folder):
        return Corpus(
            name="convincing",
            task=CONVINCING,
            annotators=tuple(map(Annotator, sorted({one for item in items for one in item.cells}))),
            items=items,
            license="CC-BY-4.0",
            citation=_CITATION,
            language="en",
        )


def _items(file: Path) -> Iterator[Item]:
    try:
        root = fromstring(read_bytes(file), forbid_dtd=True)
    except DefusedXmlException as error:
        raise CapoBenchError(
            "declares a document type or entities, which such files do not need; remove them",
            file=file,
        ) from error
    except (ParseError, ValueError, LookupError) as error:  # the last two: of its encoding
        raise CapoBenchError(f"is not XML: {error}", file=file) from error
    for pair in root:
        name = (pair.findtext("id") or "").strip()
        with naming(file, id=f"pair {name or '(without id)'}"):
            yield Item(
                id=_text(pair, "id"),
                text={
                    "debate": _text(pair, "debateMetaData/title"),
                    "stance": _text(pair, "arg1/stance"),
                    "argument1": _text(pair, "arg1/text"),
                    "argument2": _text(pair, "arg2/text"),
                },
                cells=_cells(pair),
                source_id=name,
            )


def _cells(pair: Element) -> dict[str, tuple[Response, ...]]:
    cells: dict[str, tuple[Response, ...]] = {}
    assignments = pair.findall("mTurkAssignments/mTurkAssignment")
    with_reason = (one for one in pair.iter() if one.find("reason") is not None)
    if stray := [one for one in with_reason if one not in assignments]:
        raise CapoBenchError(
            f"a reason stands in {stray[0].tag}, expected it in mTurkAssignments/mTurkAssignment; "
            "mend the file"
        )
    for assignment in assignments:
        who = _text(assignment, "turkID")
        if not re.fullmatch("[A-Z0-9]+", who):
            raise CapoBenchError(f"turkID {who!r}: expected capitals and digits alone")
        worker = _pseudonym(who)
        if worker in cells:
            raise CapoBenchError(f"worker {worker} answers twice; keep one answer")
        label = _text(assignment, "value")
        cells[worker] = (Response(label, _text(assignment, "reason")),)
    if not cells:
        raise CapoBenchError("nobody answers it: no mTurkAssignment; mend the file")
    return cells


def _text(element: Element, path: str) -> str:
    given = element.findall(path)
    if len(given) > 1 or any(len(one) for one in given):
        raise CapoBenchError(f"{path} stands twice or holds other elements; mend the file")
    found = (given[0].text or "").strip() if given else ""
    if not found:
        raise CapoBenchError(f"{path} is missing or empty; mend the file")
    return found


def _pseudonym(worker: str) -> str:
    """Short, and nobody's id: 40 bits of a hash, so that 4,000 workers collide with chance 1e-5."""
    digest = hashlib.sha256(f"UKPConvArg1/{worker}".encode()).digest()
    return "W" + base64.b32encode(digest[:5]).decode().lower()
