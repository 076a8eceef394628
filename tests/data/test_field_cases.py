"""Data sets with the faults that people reported in public, each checked as a user would: see `field_cases`.

The whole table, case by case: `pytest tests/data/test_field_cases.py -k whole_table -s`.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from field_cases import Answer, Table, answer, cases_in, lines, make
from field_cases_coco import COCO
from field_cases_voc_and_images import VOC_AND_IMAGES
from field_cases_yolo import YOLO

TABLES: dict[str, Table] = {"coco.py": COCO, "yolo.py": YOLO, "voc_and_images.py": VOC_AND_IMAGES}
"""Script of `../shared/cases` -> what has to be answered to each of its cases."""

Answers = Callable[[str], dict[str, Answer]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Answers:
    """What is answered to the cases of a script, all made and checked once."""
    cases = shared / "cases"
    if not cases.is_dir():
        pytest.skip(f"no cases out of the field at {cases}; set FGD_SHARED to the folder that holds them")
    known: dict[str, dict[str, Answer]] = {}

    def of(script: str) -> dict[str, Answer]:
        if script not in known:
            folder = tmp_path_factory.mktemp(script.removesuffix(".py"))
            make(cases / script, folder / "cases")
            known[script] = {
                case.name: answer(case, folder / "jobs" / case.name) for case in cases_in(folder / "cases")
            }
        return known[script]

    return of


@pytest.mark.parametrize("script", TABLES)
def test_every_case_has_a_row_and_every_row_a_case(script: str, answers: Answers) -> None:
    assert set(answers(script)) == set(TABLES[script])


@pytest.mark.parametrize(("script", "case"), [(script, case) for script, table in TABLES.items() for case in table])
def test_a_case_is_read_as_it_was_meant_or_refused_by_name(script: str, case: str, answers: Answers) -> None:
    row, given = TABLES[script][case], answers(script)[case]
    assert row.fits(given), f"{row.why}\nexpected: {row}\nanswered: {given}\n{given.error}"


def test_the_whole_table(answers: Answers) -> None:
    printed = [line for script, table in TABLES.items() for line in lines(answers(script), table)]
    print("", *printed, sep="\n")
    assert not [
        case for script, table in TABLES.items() for case, row in table.items() if not row.fits(answers(script)[case])
    ]
