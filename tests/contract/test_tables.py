"""Every choice in a spec has a row in the table that implements it, and every row is a choice."""

from collections.abc import Mapping
from typing import Any, get_args

import pytest

from fgd_core.data import DATASETS
from fgd_core.data.augments import AUGMENTS
from fgd_core.detectors import DETECTORS
from fgd_core.methods import METHODS
from fgd_core.spec.augments import AugmentSpec
from fgd_core.spec.data import DataSpec
from fgd_core.spec.detectors import DetectorSpec
from fgd_core.spec.kinds.study_types import StudyType
from fgd_core.spec.methods import MethodSpec
from fgd_core.studies.answers import STUDIES


def members(union: Any) -> set[type]:
    """Return the classes of `Annotated[A | B, …]`, or of a union with one member."""
    while hasattr(union, "__metadata__"):
        union = union.__origin__
    return set(get_args(union)) or {union}


@pytest.mark.parametrize(
    ("union", "table"),
    [
        (DetectorSpec, DETECTORS),
        (MethodSpec, METHODS),
        (DataSpec, DATASETS),
        (AugmentSpec, AUGMENTS),
        (StudyType, STUDIES),
    ],
    ids=["detectors", "methods", "data", "augments", "studies"],
)
def test_the_members_of_the_spec_are_the_keys_of_the_table(union: Any, table: Mapping[type, Any]) -> None:
    assert members(union) == set(table)
