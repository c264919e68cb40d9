"""UKPConvArg1's XML; every argument and reason was written for these tests."""

from pathlib import Path

import pytest

from capo_bench.corpus.model import Response
from capo_bench.corpus.readers.ukpconvarg import read_ukpconvarg
from capo_bench.errors import CapoBenchError

ASSIGNMENT = """
   <mTurkAssignment>
    <turkID>{worker}</turkID><value>{value}</value><reason> {reason}
    </reason><turkRank>1</turkRank>
   </mTurkAssignment>"""
PAIR = """
 <annotatedArgumentPair>
  <id>{id}</id>
  <arg1><author>u1</author><stance>For tea</stance><text>Tea keeps &lt;you&gt; warm.</text></arg1>
  <arg2><author>u2</author><stance>For tea</stance><text>Tea is cheap.</text></arg2>
  <debateMetaData><title>Tea or coffee?</title><url>http://localhost</url></debateMetaData>
  <mTurkAssignments>{answers}</mTurkAssignments>
 </annotatedArgumentPair>"""


def write(folder: Path, *answers: tuple[str, str, str], start: str = "", id: str = "a1_a2") -> Path:
    given = "".join(ASSIGNMENT.format(worker=w, value=v, reason=r) for w, v, r in answers)
    text = f'<?xml version="1.0"?>{start}<list>{PAIR.format(id=id, answers=given)}\n</list>'
    (folder / "tea-or-coffee_for-tea.xml").write_text(text, encoding="utf-8")
    return folder


def test_a_pair_with_its_reasons_under_pseudonyms(tmp_path: Path) -> None:
    corpus = read_ukpconvarg(
        write(
            tmp_path, ("AMTURKER1", "a1", "Warmth counts."), ("AMTURKER2", "equal", "Both so-so.")
        )
    )
    (item,) = corpus.items
    assert item.text == {
        "debate": "Tea or coffee?",
        "stance": "For tea",
        "argument1": "Tea keeps <you> warm.",
        "argument2": "Tea is cheap.",
    }
    # base32 of the first five bytes of sha256("UKPConvArg1/AMTURKER1"), and of AMTURKER2's
    assert item.cells == {
        "Wxtanhrkl": (Response("a1", "Warmth counts."),),
        "W6gfywgtv": (Response("equal", "Both so-so."),),
    }
    assert corpus.annotator_ids == tuple(sorted(item.cells))
    assert (corpus.license, corpus.task.group_by) == ("CC-BY-4.0", ("debate",))


@pytest.mark.parametrize(
    ("answers", "start", "fault"),
    [
        ((), "", "pair a1_a2: nobody answers it"),
        ((("W", "a3", "So."),), "", r"item a1_a2, annotator W\w{8}: unknown label 'a3'"),
        ((("W", "a1", " "),), "", "pair a1_a2: reason is missing or empty"),
        ((("W", "a1", "So."), ("W", "a2", "No.")), "", r"worker W\w{8} answers twice"),
        (
            (("W", "a1", "&x;"),),
            '<!DOCTYPE list [<!ENTITY x "boom">]>',
            "declares a document type or entities",
        ),
        ((("W", "a1", "<b>"),), "", "is not XML: mismatched tag"),
    ],
)
def test_faulty_files_are_refused_by_name(tmp_path: Path, answers, start, fault) -> None:
    with pytest.raises(CapoBenchError, match=fault) as error:
        read_ukpconvarg(write(tmp_path, *answers, start=start))
    assert str(error.value).startswith(str(tmp_path))
    assert "AMT" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "tag"),
    [
        ("mTurkAssignment>", "mturkAssignment>", "mturkAssignment"),
        ("mTurkAssignment>", "answer>", "answer"),
        ("mTurkAssignments>", "assignments>", "mTurkAssignment"),
    ],
)
def test_no_answer_is_lost_where_elements_have_other_names(tmp_path, old, new, tag) -> None:
    folder = write(tmp_path, ("W", "a1", "So."), ("V", "a2", "No."))
    (file,) = folder.glob("*.xml")
    text = file.read_text()
    assert f"<{old}" in text
    file.write_text(text.replace(f"<{old}", f"<{new}", 1).replace(f"</{old}", f"</{new}", 1))
    with pytest.raises(CapoBenchError, match=f"a reason stands in {tag}, expected it in"):
        read_ukpconvarg(folder)


def test_a_folder_without_xml_is_named(tmp_path: Path) -> None:
    with pytest.raises(CapoBenchError, match=r"holds no \.xml files"):
        read_ukpconvarg(tmp_path)
