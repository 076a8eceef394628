"""What has to be answered to the cases that `coco.py` makes. Each has four images of 64 x 48 pixels with a box each."""

from field_cases import Table, read, refused

_TWO_OF_EACH = {"cat": 2, "dog": 2}

COCO: Table = {
    "01_labelstudio_backslash": read(
        "`images\\0.jpg` is 0.jpg of the folder `images`, as Windows writes it",
        _TWO_OF_EACH,
        other_spelling="repaired",
    ),
    "02_prefix_images_folder": read(
        "`images/0.jpg` is 0.jpg of the folder `images`", _TWO_OF_EACH, other_spelling="repaired"
    ),
    "03_category_id_string": read('"1" spells one number only', _TWO_OF_EACH, id_as_text="repaired"),
    "04_iscrowd_string_zero": read(
        'iscrowd "0" is no crowd: eight boxes count', {"cat": 4, "dog": 4}, number_as_text="repaired"
    ),
    "05_negative_width_height": refused(
        "[40, 30, -15, -12] may reach left of x or be a slip; on_bad says refuse", negative_box_size="refused"
    ),
    "06_bbox_object_imglab": read(
        "the centre beside x and y says that these are the upper left corner", _TWO_OF_EACH, box_as_object="repaired"
    ),
    "06b_bbox_strings": read('"5" spells one number only', _TWO_OF_EACH, number_as_text="repaired"),
    "07_bbox_xyxy": refused(
        "`area` fits the boxes as corners only; some also reach past the border",
        boxes_as_corners="refused",
        box_past_border="clipped",
    ),
    "07b_bbox_xyxy_inside": refused("`area` fits the boxes as corners only", boxes_as_corners="refused"),
    "10_no_bbox_with_polygon": read(
        "the box is the one around the polygon", _TWO_OF_EACH, annotation_without_bbox="repaired"
    ),
    "11_roboflow_supercategory_twin": read(
        "category 0 is the root above the one class, not a class", {"fish": 4}, root_category="dropped"
    ),
    "11b_roboflow_supercategory_zero": read(
        "category 0 is the root above the classes, not a class", {"trout": 4}, root_category="dropped"
    ),
    "12_ids_beyond_int64": read(
        "ids only have to be told apart; images are numbered anew", _TWO_OF_EACH, id_beyond_64_bits="repaired"
    ),
    "12b_ids_beyond_2_53": read("JSON holds whole numbers of any size", _TWO_OF_EACH),
    "12c_float_ids": read("1.0 is 1", _TWO_OF_EACH),
    "12d_string_image_ids": read('"000001" spells one number only', _TWO_OF_EACH, id_as_text="repaired"),
    "14_file_name_url": refused(
        "a file of that name may be another image: train/0.jpg is not val/0.jpg",
        file_under_other_path="refused",
    ),
    "14b_file_name_percent": read(
        "%20 is a blank, and only one file is meant", _TWO_OF_EACH, other_spelling="repaired"
    ),
    "15_category_name_number": read("the name 0 is the text 0", {"0": 2, "1": 2}, category_name_as_number="repaired"),
    "15b_category_name_missing_supercategory_only": refused(
        "a supercategory may stand above many classes, so it names none", malformed_category="refused"
    ),
    "15c_category_names_differ_by_case": read(
        "they may be two classes, but seldom are: kept and reported",
        {"Car": 2, "car ": 2},
        similar_category_names="kept",
    ),
    "16_width_height_swapped": refused(
        "the sizes are exchanged, or the file was turned after it was annotated: the boxes fit one of the two",
        size_transposed="refused",
    ),
    "16b_size_strings": read('"64" spells one number only', _TWO_OF_EACH, number_as_text="repaired"),
    "17_results_list": refused("detections are no annotations", says="detections"),
    "18_5000_boxes": read(
        "nothing is wrong, but no detector can find 5,000 of which 100 are counted",
        {"cat": 5001, "dog": 2},
        many_objects="kept",
    ),
    "19b_rle_size_swapped": read(
        "the boxes are sound; detectors with masks refuse run lengths of another size",
        _TWO_OF_EACH,
        mask_of_other_size="refused",
    ),
    "19c_polygon_nested_points": read(
        "points in a list are a polygon", _TWO_OF_EACH, segmentation_in_other_form="repaired"
    ),
    "19d_polygon_flat_not_nested": read(
        "x and y in turn are a polygon", _TWO_OF_EACH, segmentation_in_other_form="repaired"
    ),
    "20_json_nan": refused("NaN and Infinity are no coordinates", malformed_box="refused", malformed_area="repaired"),
    "21_coco_annotator_subfolder": read(
        "`path` says in which subfolder the file lies", _TWO_OF_EACH, other_spelling="repaired"
    ),
    "22_json_utf16": read("JSON may be UTF-16", _TWO_OF_EACH),
    "23_cvat_rotation": refused("a turned box is no box [x, y, width, height]", rotated_box="refused"),
    "24_val_category_ids_shuffled": refused("label 1 would be a cat here and a dog there", says="different categories"),
    "24b_val_fewer_categories": refused("the splits have to number the same classes", says="different categories"),
}
