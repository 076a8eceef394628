from typing import get_args

from fgd_core.data import DATASETS
from fgd_core.spec.data import DataSpec


def test_every_data_spec_has_a_data_set() -> None:
    members, *_ = get_args(DataSpec)
    assert set(get_args(members)) == set(DATASETS)
