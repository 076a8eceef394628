"""Lists every problem that a data set can have: its name, the answer to it, its meaning and its cure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Answer: TypeAlias = Literal["always refused", "refused or dropped", "dropped", "clipped", "repaired", "kept"]
"""`refused or dropped`: `on_bad` of the spec decides."""


@dataclass(frozen=True)
class Problem:
    """Describes one kind of problem."""

    answer: Answer
    meaning: str
    """What is wrong and, unless it is obvious, the cure; a part of a sentence that follows examples."""


_MEANINGS: Mapping[Answer, Mapping[str, str]] = {
    "always refused": {
        "malformed_category": "a category needs an integer `id` and a text `name`",
        "duplicate_category_id": "two categories have the same id, so labels are ambiguous; give them different ids",
        "duplicate_category_name": "two categories have the same name; merge or rename them",
        "duplicate_key": "an object contains the same key twice with different values; remove one of them",
        "malformed_keypoint_names": "the `keypoints` of a category are not a list of different names",
        "differing_keypoint_names": "categories have different `keypoints`; a detector learns one list of keypoints, "
        "so give all categories that have keypoints the same list",
        "shifted_category_ids": "labels count the classes from 1 and the list of classes counts from 0, "
        "or the reverse, so every label means the class beside it; subtract 1 from each label, or add 1",
        "boxes_as_corners": "the `area`, the polygon or the image border shows that boxes are [left, top, right, "
        "bottom]; write [left, top, width, height]",
        "all_boxes_within_one_pixel": "no box is wider or higher than one pixel; "
        "if the numbers are fractions of the image's sides, multiply them by the image size",
        "labels_as_corners": "labels contain the right and bottom edge in place of width and height: "
        "read as width and height, many boxes would leave the image; write `class x_centre y_centre width height`",
        "corners_between_pixels": "many corners are not integers, so the tool that wrote them did not count pixels "
        "from 1; set data.one_based to false, and all corners are read as edges counted from 0",
    },
    "refused or dropped": {
        "malformed_image": "an image needs an integer `id` and a text `file_name`",
        "duplicate_image_id": "several images have the same id, so it is unknown which image a box belongs to",
        "image_outside_folder": "a `file_name` leads out of the images folder; "
        "set the images folder to one that contains all images",
        "file_under_other_path": "no file exists at this path, but the images folder contains a file of the same name "
        "elsewhere, which may be a different image; "
        "correct `file_name`, or set the images folder to the one that `file_name` is relative to",
        "missing_image": "the images folder does not contain this file",
        "empty_image_file": "the file is empty; copy it again",
        "git_lfs_pointer": "the file is a Git LFS pointer, not the content; fetch the content with git lfs pull",
        "web_page_as_image": "the file is a web page or a server's error message; download the image again",
        "unread_image_format": "fgd does not read this image format; convert to JPEG or PNG",
        "unread_pixel_format": "pixels are neither 8-bit nor 16-bit grey, so their brightness range is unknown; "
        "convert the image to 8 bits",
        "pool_image_in_val": "an image of the pool is also in the validation split, so scores would be too high; "
        "take it out of the pool's folder",
        "image_too_large": "the image has more pixels than the limit, and could fill the memory; "
        "shrink it or cut it into tiles",
        "unreadable_image": "the file is not an image, or of an unknown format",
        "truncated_image": "the file ends before the image is complete, or is damaged; copy it again",
        "size_mismatch": "the file and its annotation have different sizes; correct the annotation or the file",
        "size_transposed": "the annotation has width and height swapped, or the file was rotated after annotation; "
        "check which of the two the boxes fit, and correct the annotation or the file",
        "malformed_annotation": "an annotation needs an `image_id`, a `category_id`, and a `bbox` or a segmentation",
        "unknown_image": "an annotation refers to an image that the file does not list",
        "unknown_category": "an annotation refers to a category that the data set does not list",
        "malformed_box": "a box is not four finite numbers [left, top, width, height]; "
        "a fifth number is a score or an angle, and an object with only `x` and `y` may mean a corner or the centre",
        "negative_box_size": "a box has a negative width or height: its corners are swapped; "
        "write the top left corner first",
        "normalised_box": "a box lies within the top left pixel; if its numbers are fractions, "
        "multiply them by the image size",
        "rotated_box": "a box is rotated by its `rotation`, or is a `robndbox`; "
        "write the upright box around the object",
        "box_off_its_polygon": "a box and its own polygon do not touch; "
        "check whether one of them counts y from the bottom edge",
        "box_off_its_mask": "a box and its own mask do not touch; "
        "check whether one of them counts y from the bottom edge",
        "malformed_iscrowd": "an `iscrowd` is neither 0 nor 1",
        "malformed_mask": "a segmentation is neither a list of polygons with at least three corners nor complete run "
        "lengths",
        "mask_of_other_size": "run lengths are for an image of a different size",
        "missing_mask": "an object has no segmentation, but other objects have one",
        "malformed_keypoints": "the `keypoints` of an annotation are not three finite numbers for each keypoint of its "
        "category: x, y, and visibility, which is 0 (not labelled), 1 (hidden) or 2 (visible)",
        "bad_name": "an image set contains a path that leads out of the folder, not the name of an image",
        "missing_annotation_file": "an image in the image set has no XML file; "
        "add one, or remove the image from the set",
        "malformed_xml": "the file is not a valid XML annotation, or declares a document type",
        "undecodable_xml": "a class name is not in the encoding that the file declares (UTF-8 if it declares none); "
        "save it as UTF-8",
        "malformed_object": "an object needs a `name` and exactly one `bndbox`",
        "unclear_difficult": "the `difficult` of an object is neither yes nor no; write 1 or 0",
        "ambiguous_image_file": "several files match the name of the image, and the annotation names none of them",
        "labels_in_doubt": "the images of this folder have no label files where YOLO looks (`images` in the path "
        "replaced by `labels`, or beside the image); other folders contain files of the same names, "
        "but it is unclear whether these are the labels; move the correct files to `labels`",
        "labels_in_two_places": "an image has two label files with different content; delete the wrong one",
        "unreadable_label_file": "the label file cannot be read as text in UTF-8, UTF-16 or UTF-32; save it as UTF-8",
        "malformed_label": "a label must be `class x_centre y_centre width height`, "
        "or `class` and the corners of a polygon",
        "label_with_extra_number": "a label has extra numbers after its box or polygon, as predictions have: "
        "a confidence, a track id, or an angle; export the annotations, not predictions, or delete the extra numbers",
        "other_num_keypoints": "a label has a different number of keypoints than `kpt_shape` in data.yaml; "
        "correct one of them",
        "keypoints_or_polygon": "a label may be a box with keypoints or a polygon; write `task: "
        "segment` into data.yaml for polygons, or `kpt_shape: [number of keypoints, 2 or 3]` for keypoints",
        "not_normalised": "a label has numbers outside of 0 to 1, or is in a split where at least half of the labels "
        "have; divide pixels by the image size, percent by 100",
        "shared_label_file": "images whose names differ only in the suffix share one label file; rename one of them",
        "label_without_image": "a label file has no image; add the image, or delete the label file",
    },
    "dropped": {
        "root_category": "the category is a parent of the classes, as Roboflow writes it, and no annotation uses it, "
        "so it is no class",
        "box_without_area": "a box has no width or no height",
        "box_outside_image": "a box lies completely outside its image",
        "empty_mask": "a segmentation covers no pixel of its image",
        "keypoint_outside_image": "a labelled keypoint lies outside its image; fgd reads it as not labelled",
        "repeated_annotation": "an annotation is repeated",
        "repeated_image": "an image is listed twice",
        "pool_image_in_train": "an image of the pool is also in the training split, which has its labels",
    },
    "clipped": {
        "box_past_border": "a box extends past the border of its image",
        "mask_past_border": "a segmentation extends past the border of its image",
    },
    "repaired": {
        "annotation_id_zero": "an annotation has id 0, which COCO evaluation treats as `no match`; "
        "all annotations get new ids",
        "duplicate_annotation_id": "two annotations have the same id; all annotations get new ids",
        "annotation_without_id": "an annotation has no id; all annotations get new ids",
        "number_as_text": "a number is written as text; fgd reads the number",
        "id_as_text": "an id is written as text; fgd reads the number in the text, "
        "or gives all ids of that kind new numbers",
        "id_beyond_64_bits": "an id does not fit 64 bits; all images get new ids",
        "file_name_from_url": "an image has no `file_name`, as in LVIS; "
        "fgd uses the last folder and the file name of its `coco_url`",
        "category_name_as_number": "a category's name is a number; fgd uses its digits as the name",
        "other_spelling": "a `file_name` is spelled differently from its file (slashes, %20, capitals, Unicode form, "
        "or with the images folder in front); fgd uses the only file that matches",
        "malformed_size": "a width or height is not an integer above 0; fgd uses the size of the image file",
        "box_as_object": "a box is a JSON object with unambiguous names; fgd reads it by these names",
        "annotation_without_bbox": "an annotation has no `bbox`; fgd uses the bounding box of its segmentation",
        "segmentation_in_other_form": "a segmentation is one flat list of numbers, a list of points, "
        "or run lengths as Python bytes; fgd converts it",
        "other_num_labelled_keypoints": "`num_keypoints` is not the number of keypoints with visibility 1 or 2; "
        "fgd counts these keypoints",
        "malformed_area": "an `area` is not a number above 0; fgd uses the area of the box",
        "annotation_without_area": "an annotation has no `area`; fgd uses the area of the box",
        "annotation_without_iscrowd": "an annotation has no `iscrowd`; fgd uses 0",
        "labels_elsewhere": "the images of this folder have no label files where YOLO looks (`images` in the path "
        "replaced by `labels`, or beside the image); "
        "fgd uses the files of the same names in the only other folder that fits",
        "labels_beside_images": "a label file lies beside its image, not in `labels`; fgd reads it there",
        "image_by_file_name": "no image has the name of its annotation; "
        "fgd uses the image that the annotation's `filename` names",
        "box_from_polygon": "an object has a polygon and no `bndbox`; fgd uses the bounding box of the polygon",
        "class_name_in_label": "a label contains the name of its class in place of the index; fgd uses that class",
        "comma_in_label": "a label has decimal commas, or commas or semicolons between its numbers; "
        "fgd reads the numbers",
        "image_without_size": "an annotation gives no width and height; fgd uses the size of the image file",
        "rotated_by_exif": "the file stores the image rotated, with an EXIF orientation; fgd rotates it upright",
    },
    "kept": {
        "dark_16_bit_image": "no 16-bit image uses the upper bits, so all are nearly black in 8 bits; "
        "scale the pixels to the full 16 bits",
        "exif_ignored": "the file has an EXIF orientation, but the boxes fit the image as stored; "
        "fgd does not rotate it",
        "duplicate_file_name": "a file is listed as two images",
        "similar_category_names": "names of categories differ only by case, spaces or Unicode form; "
        "if they are one class, give them one name",
        "box_unlike_its_polygon": "a box and the bounding box of its own polygon have an intersection over union below "
        "0.5",
        "annotation_without_keypoints": "an annotation has no `keypoints`, and its category has; fgd reads all of its "
        "keypoints as not labelled",
        "keypoints_without_names": "an annotation has `keypoints`, and its category names none; fgd ignores them; "
        "list the names in the category's `keypoints`",
        "malformed_skeleton": "the `skeleton` of a category is not a list of pairs of keypoints, counted from 1; "
        "fgd does not use it",
        "box_below_one_pixel": "a box is narrower and lower than one pixel",
        "many_objects": "an image has more than 100 objects: AP counts at most 100 detections per class and image, "
        "and a detector keeps 100 detections per image unless its `max_detections` is higher",
        "fractional_corner": "a corner is not an integer, but nearly all others are; "
        "fgd reads it like the others, as counted from 1",
        "corner_zero": "a corner is 0, but pixels count from 1; "
        "if the tool that wrote the file counts from 0, set data.one_based to false",
        "other_file_name": "an annotation's `filename` names a different image; "
        "fgd uses the image with the annotation's own name",
        "in_both_splits": "an image is in both splits with the same boxes, so scores will be too high",
        "missing_label_file": "an image has no label file; fgd treats it as an image without objects",
        "keypoints_left_out": "the numbers after the boxes can only be keypoints, though data.yaml has no `kpt_shape`; "
        "fgd reads only the boxes",
    },
}

PROBLEMS: Mapping[str, Problem] = {
    name: Problem(answer, meaning) for answer, meanings in _MEANINGS.items() for name, meaning in meanings.items()
}
"""In the order in which reports show them."""
