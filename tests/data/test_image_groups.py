"""Groups of images by an attribute: keys of COCO's images, and what every data set has."""

import re
from pathlib import Path

import pytest
from PIL import Image

from fgd_core.data import open_dataset
from fgd_core.data.image_groups import check_contents, image_groups
from fgd_core.errors import SpecError
from fgd_core.spec.data import Coco, DataSpec, Shapes
from fgd_core.spec.evaluation import Contents, ImageGroups
from tests.data.coco_folder import CocoFolder

EACH = ImageGroups()


def groups(data: DataSpec, **wanted: ImageGroups) -> dict[str, dict[int, str]]:
    return image_groups(data, open_dataset(data, "val"), wanted)


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Coco:
    """Three images; the third has no weather and is white."""
    folder = CocoFolder(tmp_path_factory.mktemp("data"))
    folder.add_image(weather="fog", altitude_m=90, lit=True, tags=["a"])
    folder.add_image(weather="sun", altitude_m=100.0, lit=False, note=" ")
    folder.add_image(Image.new("RGB", (80, 30), "white"), weather=None, altitude_m=350, lit=True)
    for image_id in (1, 2, 3):
        folder.add_box(image_id)
    folder.add_box(3, (20, 2, 8, 9))
    return Coco(train=folder.write(), val=folder.split)


def test_each_value_of_a_key_is_a_group_and_images_without_it_have_none(coco: Coco) -> None:
    found = groups(coco, weather=EACH, lit=EACH)
    assert found == {"weather": {1: "fog", 2: "sun"}, "lit": {1: "true", 2: "false", 3: "true"}}


def test_edges_divide_numbers_and_an_edge_belongs_to_the_upper_range(coco: Coco) -> None:
    found = groups(coco, altitude_m=ImageGroups(edges=(100, 300)))
    assert found["altitude_m"] == {1: "below 100", 2: "100 to 300", 3: "300 or more"}


def test_every_data_set_has_sizes_numbers_of_boxes_and_brightness(coco: Coco) -> None:
    found = groups(coco, width=EACH, num_boxes=EACH, brightness=ImageGroups(edges=(0.9,)))
    assert found["width"] == {1: "40", 2: "40", 3: "80"}
    assert found["num_boxes"] == {1: "1", 2: "1", 3: "2"}
    assert found["brightness"] == {1: "below 0.9", 2: "below 0.9", 3: "0.9 or more"}
    assert set(groups(Shapes(num_train=1, num_val=2), height=EACH)["height"].values()) == {"128"}


def test_images_whose_ids_are_texts_are_found(tmp_path: Path) -> None:
    folder = CocoFolder(tmp_path)
    folder.add_image(file_name="b.png", weather="fog")
    folder.add_image(file_name="a.png", weather="sun")
    for entry, name in zip(folder.images, ("b", "a"), strict=True):
        entry["id"] = name
        folder.add_box(name)
    data = Coco(train=folder.write(), val=folder.split)
    by_name = {sample.image_id: sample.file_name for sample in open_dataset(data, "val").samples}
    found = groups(data, weather=EACH)["weather"]
    assert {by_name[each]: group for each, group in found.items()} == {"b.png": "fog", "a.png": "sun"}


@pytest.mark.parametrize(
    ("name", "edges", "says"),
    [
        ("wether", (), "wether; known are altitude_m, brightness, height, lit, num_boxes, weather, width"),
        ("tags", (), "no image of the validation split has the attribute tags"),
        ("weather", (0.5,), "its value 'fog' is not a number; leave out the edges"),
    ],
)
def test_what_the_images_lack_is_refused_with_what_they_have(
    coco: Coco, name: str, edges: tuple[float, ...], says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        groups(coco, **{name: ImageGroups(edges=edges)})


def test_many_numbers_need_edges_and_the_quartiles_help_to_choose_them() -> None:
    with pytest.raises(SpecError, match=r"brightness has 12 different values.*set its edges; its quartiles are 0\."):
        groups(Shapes(num_train=1, num_val=12), brightness=EACH)


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (Contents(classes=("circle", "squere")), "no class 'squere'; did you mean 'square'?"),
        (Contents(image_ids=(1, 5, 9)), "no image with the id 5, 9; its 2 images have ids from 1 to 2"),
    ],
)
def test_a_split_without_what_is_expected_is_refused(expected: Contents, said: str) -> None:
    dataset = open_dataset(Shapes(num_train=1, num_val=2), "val")
    check_contents(dataset, Contents(classes=("circle",), image_ids=(1, 2)))
    with pytest.raises(SpecError, match=re.escape(said)):
        check_contents(dataset, expected)
