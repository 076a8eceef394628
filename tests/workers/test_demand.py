"""What the demand for nodes asks of Ray's autoscaler."""

from workers.demand import bundles


def test_each_node_is_a_bundle_that_fills_it() -> None:
    assert bundles([(4, 0, 2), (8, 1, 1)]) == [{"CPU": 4}, {"CPU": 4}, {"CPU": 8, "GPU": 1}]
