"""Data sets with mistakes that people reported in public are checked as a user would check them: see `field_cases`.

To print the whole table: `pytest tests/data/test_field_cases.py -k whole_table -s`.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from field_cases import Result, Table, cases_in, check, lines, make
from field_cases_coco import COCO
from field_cases_voc_and_images import VOC_AND_IMAGES
from field_cases_yolo import YOLO

TABLES: dict[str, Table] = {"coco.py": COCO, "yolo.py": YOLO, "voc_and_images.py": VOC_AND_IMAGES}
"""Script of `../shared/cases` -> expected result of each of its cases."""

Results = Callable[[str], dict[str, Result]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Results:
    """Returns the results of a script's cases. Each script runs once."""
    cases = shared / "cases"
    if not cases.is_dir():
        pytest.skip(f"no cases at {cases}; set FGD_SHARED to the folder that contains them")
    known: dict[str, dict[str, Result]] = {}

    def of(script: str) -> dict[str, Result]:
        if script not in known:
            folder = tmp_path_factory.mktemp(script.removesuffix(".py"))
            make(cases / script, folder / "cases")
            known[script] = {case.name: check(case, folder / "jobs" / case.name) for case in cases_in(folder / "cases")}
        return known[script]

    return of


@pytest.mark.parametrize("script", TABLES)
def test_every_case_has_a_row_and_every_row_a_case(script: str, results: Results) -> None:
    assert set(results(script)) == set(TABLES[script])


@pytest.mark.parametrize(("script", "case"), [(script, case) for script, table in TABLES.items() for case in table])
def test_a_case_has_the_expected_result(script: str, case: str, results: Results) -> None:
    row, result = TABLES[script][case], results(script)[case]
    assert row.fits(result), f"{row.why}\nexpected: {row}\nresult: {result}\n{result.error}"


def test_the_whole_table_is_as_expected(results: Results) -> None:
    printed = [line for script, table in TABLES.items() for line in lines(results(script), table)]
    print("", *printed, sep="\n")
    assert not [
        case for script, table in TABLES.items() for case, row in table.items() if not row.fits(results(script)[case])
    ]
