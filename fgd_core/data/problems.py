"""Everything that can be wrong with a data set, by name: what is done about it, what it means, and the cure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Problem:
    answer: Literal["always refused", "refused or dropped", "dropped", "clipped", "repaired", "kept"]
    """`refused or dropped` leaves the choice to `on_bad` of the spec."""
    meaning: str


PROBLEMS: Mapping[str, Problem] = {
    "malformed_category": Problem("always refused", "a category needs a whole number `id` and a text `name`"),
    "duplicate_category_id": Problem("always refused", "two categories share an id, so labels are ambiguous"),
    "duplicate_category_name": Problem("always refused", "two categories share a name; merge or rename them"),
    "duplicate_key": Problem("always refused", "a key stands twice in an object with other values; remove one of them"),
    "shifted_category_ids": Problem(
        "always refused",
        "labels count their classes from 1 where the list counts from 0, or the other way round, so each means its "
        "neighbour; subtract 1 from each label, or add 1",
    ),
    "boxes_as_corners": Problem(
        "always refused",
        "by their `area`, their polygon or the image's border, the boxes are [left, upper, right, lower]; write [left, "
        "upper, width, height]",
    ),
    "all_boxes_within_one_pixel": Problem(
        "always refused", "no box is wider or higher than a pixel; are they fractions of the image's sides?"
    ),
    "labels_as_corners": Problem(
        "always refused",
        "labels have the right and lower edge where width and height belong: as these, many would reach out "
        "of the image; write `class x_centre y_centre width height`",
    ),
    "corners_between_pixels": Problem(
        "always refused",
        "many corners are no whole numbers, so no tool wrote them that counts pixels from 1; set data.one_based to "
        "false, which reads all corners as edges counted from 0",
    ),
    "malformed_image": Problem("refused or dropped", "an image needs a whole number `id` and a text `file_name`"),
    "duplicate_image_id": Problem("refused or dropped", "images share an id, so their boxes cannot be told apart"),
    "image_outside_folder": Problem(
        "refused or dropped", "a `file_name` leads out of the images folder; name a folder that holds all of them"
    ),
    "file_under_other_path": Problem(
        "refused or dropped",
        "the images folder lacks the folders or the address in front of the name, yet holds a file of that name, which "
        "may be another image; correct `file_name`, or name the folder that it starts from",
    ),
    "missing_image": Problem("refused or dropped", "there is no such file in the images folder"),
    "empty_image_file": Problem("refused or dropped", "the file has no content at all; copy it again"),
    "git_lfs_pointer": Problem("refused or dropped", "the file is a pointer of Git LFS; fetch it with git lfs pull"),
    "web_page_as_image": Problem(
        "refused or dropped", "the file is a web page or a server's error, so its download failed; download it again"
    ),
    "unread_image_format": Problem(
        "refused or dropped", "the file is of a format that is not read; convert it to JPEG or PNG"
    ),
    "unread_pixel_format": Problem(
        "refused or dropped",
        "pixels are neither of 8 bits nor grey of 16 bits, so nothing says how bright they are; convert to 8 bits",
    ),
    "image_too_large": Problem(
        "refused or dropped",
        "the image has more pixels than is read, for it would fill the memory; make it smaller or cut it into tiles",
    ),
    "unreadable_image": Problem("refused or dropped", "the file is no image of a kind that can be read"),
    "truncated_image": Problem(
        "refused or dropped", "the file ends before the image does, or is damaged; copy it again"
    ),
    "size_mismatch": Problem("refused or dropped", "the file has another size than its annotation says"),
    "size_transposed": Problem(
        "refused or dropped",
        "width and height are exchanged, or the file was turned after it was annotated; see where the boxes fit and "
        "correct the annotation or the file",
    ),
    "malformed_annotation": Problem(
        "refused or dropped", "an annotation needs an `image_id`, a `category_id`, and a `bbox` or a segmentation"
    ),
    "unknown_image": Problem("refused or dropped", "an annotation belongs to an image that is not listed"),
    "unknown_category": Problem("refused or dropped", "an annotation has a category that is not listed"),
    "malformed_box": Problem(
        "refused or dropped",
        "a box is not four finite numbers [left, upper, width, height]; a fifth is a score or an angle, and an object "
        "with `x` and `y` alone does not say whether they are its corner or its centre",
    ),
    "negative_box_size": Problem(
        "refused or dropped",
        "a box has a negative width or height: its corners are exchanged, or it was drawn backwards; write the upper "
        "left corner first",
    ),
    "normalised_box": Problem(
        "refused or dropped",
        "a box lies within the upper left pixel: are its numbers fractions, which have to be multiplied by the size?",
    ),
    "rotated_box": Problem(
        "refused or dropped", "a box is turned by its `rotation` or a `robndbox`; write the upright box around it"
    ),
    "box_off_its_polygon": Problem(
        "refused or dropped", "a box does not meet its own polygon; is one of them counted from the lower edge?"
    ),
    "box_off_its_mask": Problem(
        "refused or dropped", "a box does not meet its own mask; is one of them counted from the lower edge?"
    ),
    "malformed_iscrowd": Problem("refused or dropped", "an `iscrowd` is neither 0 nor 1"),
    "malformed_mask": Problem(
        "refused or dropped", "a segmentation is neither polygons of three corners or more nor whole run lengths"
    ),
    "mask_of_other_size": Problem("refused or dropped", "run lengths are for an image of another size"),
    "missing_mask": Problem("refused or dropped", "an object has no segmentation, where others have one"),
    "bad_name": Problem("refused or dropped", "an image set names no file in the folder, but a path out of it"),
    "missing_annotation_file": Problem("refused or dropped", "a listed image has no XML file; copy or make one"),
    "malformed_xml": Problem("refused or dropped", "the file is no plain XML annotation, or declares a document type"),
    "undecodable_xml": Problem(
        "refused or dropped", "a class is not in the encoding that the file declares, UTF-8 if none; save it as UTF-8"
    ),
    "malformed_object": Problem("refused or dropped", "an object needs a `name` and one `bndbox`"),
    "unclear_difficult": Problem("refused or dropped", "`difficult` of an object is neither yes nor no; write 1 or 0"),
    "ambiguous_image_file": Problem(
        "refused or dropped", "several files have the image's name, and the annotation names none of them"
    ),
    "labels_in_doubt": Problem(
        "refused or dropped",
        "no image of the folder has a label file where `labels` stands for `images` in its path, nor beside it, but "
        "other folders hold files of these names; move the right ones there",
    ),
    "labels_in_two_places": Problem(
        "refused or dropped", "an image has two label files that say different things; delete the wrong one"
    ),
    "unreadable_label_file": Problem("refused or dropped", "the label file cannot be read as text in UTF-8 or UTF-16"),
    "malformed_label": Problem(
        "refused or dropped", "a label is `class x y width height`, or `class` and the corners of a polygon"
    ),
    "label_with_extra_number": Problem(
        "refused or dropped",
        "a label has numbers behind its box or polygon, as predictions have: a confidence, a track id, or an angle; "
        "export true labels, or delete these numbers",
    ),
    "other_num_keypoints": Problem(
        "refused or dropped", "a label has not as many keypoints as `kpt_shape` in data.yaml says; correct one of them"
    ),
    "keypoints_or_polygon": Problem(
        "refused or dropped",
        "a label can be a box with keypoints or a polygon; write `task: segment` into data.yaml for polygons, or "
        "`kpt_shape: [number of keypoints, 2 or 3]` for keypoints",
    ),
    "not_normalised": Problem(
        "refused or dropped",
        "a label has numbers outside of 0 to 1, or at least half of the split's labels have: pixels have to be divided "
        "by the image's size, percent by 100",
    ),
    "shared_label_file": Problem("refused or dropped", "images that differ in their ending alone share a label file"),
    "label_without_image": Problem("refused or dropped", "a label file has no image beside it; was one lost?"),
    "root_category": Problem(
        "dropped", "a category stands above the classes, as Roboflow writes it, and no annotation has it: no class"
    ),
    "box_without_area": Problem("dropped", "a box has no width or no height"),
    "box_outside_image": Problem("dropped", "a box lies wholly outside its image"),
    "empty_mask": Problem("dropped", "a segmentation covers no pixel of its image"),
    "repeated_annotation": Problem("dropped", "an annotation stands there twice"),
    "repeated_image": Problem("dropped", "an image is listed twice"),
    "box_past_border": Problem("clipped", "a box reaches past the border of its image"),
    "mask_past_border": Problem("clipped", "a segmentation reaches past the border of its image"),
    "annotation_id_zero": Problem("repaired", "an annotation has id 0, which COCO scoring reads as `no match`"),
    "duplicate_annotation_id": Problem("repaired", "two annotations share an id; all are numbered anew"),
    "annotation_without_id": Problem("repaired", "an annotation has no id; all are numbered anew"),
    "number_as_text": Problem("repaired", "a number is written as text; the number that it spells is taken"),
    "id_as_text": Problem(
        "repaired", "an id is written as text; the number that it spells counts, or the images are numbered anew"
    ),
    "id_beyond_64_bits": Problem("repaired", "an id is larger than 64 bits hold; all are numbered anew"),
    "file_name_from_url": Problem(
        "repaired", "an image has no `file_name`, as in LVIS; the last folder and the name in its `coco_url` are taken"
    ),
    "category_name_as_number": Problem("repaired", "a category's name is a number; its digits are the name"),
    "other_spelling": Problem(
        "repaired",
        "a `file_name` is spelled in another way than its file (slashes, %20, capitals, Unicode form, the images "
        "folder in front); the only file that it can mean is taken",
    ),
    "malformed_size": Problem("repaired", "a width or height is no whole number above 0; those of the file are taken"),
    "box_as_object": Problem("repaired", "a box is an object whose names leave no doubt; it is read by them"),
    "annotation_without_bbox": Problem("repaired", "an annotation has no `bbox`; that of its segmentation is taken"),
    "segmentation_in_other_form": Problem(
        "repaired", "a segmentation is one list of numbers or points, or has run lengths as bytes; it is read as meant"
    ),
    "malformed_area": Problem("repaired", "an `area` is no number above 0; that of its box is taken"),
    "annotation_without_area": Problem("repaired", "an annotation has no `area`; that of its box is taken"),
    "annotation_without_iscrowd": Problem("repaired", "an annotation has no `iscrowd`; 0 is taken"),
    "labels_elsewhere": Problem(
        "repaired",
        "no image of the folder has a label file where `labels` stands for `images` in its path, nor beside it; the "
        "files of these names in the one other folder that has them are taken",
    ),
    "labels_beside_images": Problem("repaired", "a label file lies beside its image, not in `labels`; it is taken"),
    "image_by_file_name": Problem(
        "repaired", "no image has the name of its annotation; the one that `filename` of the annotation names is taken"
    ),
    "box_from_polygon": Problem("repaired", "an object has a polygon and no `bndbox`; the box around it is taken"),
    "class_name_in_label": Problem("repaired", "a label names its class where the index belongs; that class is taken"),
    "comma_in_label": Problem("repaired", "a label has decimal commas, or commas or semicolons between its numbers"),
    "image_without_size": Problem("repaired", "an image has no width and height; those of its file are taken"),
    "rotated_by_exif": Problem("repaired", "the file stores the image turned; it is turned upright"),
    "dark_16_bit_image": Problem(
        "kept",
        "no 16-bit image uses its upper bits, so all are nearly black in 8 bits; scale their pixels to 16 bits first",
    ),
    "exif_ignored": Problem("kept", "the file asks to be turned, but the boxes belong to the image as stored"),
    "duplicate_file_name": Problem("kept", "a file is listed as two images"),
    "similar_category_names": Problem(
        "kept", "names of categories differ by case, spaces or Unicode form only; are they one class?"
    ),
    "box_unlike_its_polygon": Problem(
        "kept", "a box and the bounds of its own polygon share less than half of what they cover"
    ),
    "box_below_one_pixel": Problem("kept", "a box is narrower and lower than one pixel"),
    "many_objects": Problem(
        "kept",
        "an image has more than 100 objects: AP counts at most 100 detections of a class in an image, and a detector "
        "keeps 100 in all unless its `max_detections` says more",
    ),
    "fractional_corner": Problem(
        "kept", "a corner is no whole number, though nearly all others are; it is read as they are, counted from 1"
    ),
    "corner_zero": Problem(
        "kept", "a corner is 0 where pixels count from 1; if no tool wrote them so, set data.one_based to false"
    ),
    "other_file_name": Problem("kept", "an annotation names another image than the one it stands for; it counts there"),
    "in_both_splits": Problem("kept", "an image is in both splits, with the same boxes, so that scores flatter"),
    "missing_label_file": Problem("kept", "an image has no label file, and so no objects"),
    "keypoints_left_out": Problem(
        "kept", "the numbers behind the boxes can only be keypoints, though data.yaml has no kpt_shape; boxes are taken"
    ),
}
"""In the order in which they are shown."""
