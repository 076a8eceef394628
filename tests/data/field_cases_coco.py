"""Expected results for the cases that `coco.py` writes. Each case has four images of 64x48 px with one box each."""

from field_cases import Table, accepted, refused

_TWO_OF_EACH = {"cat": 2, "dog": 2}

COCO: Table = {
    "01_labelstudio_backslash": accepted(
        "`images\\0.jpg` means 0.jpg in the folder `images`; Windows writes it so",
        _TWO_OF_EACH,
        other_spelling="repaired",
    ),
    "02_prefix_images_folder": accepted(
        "`images/0.jpg` means 0.jpg in the folder `images`", _TWO_OF_EACH, other_spelling="repaired"
    ),
    "03_category_id_string": accepted('"1" means only one number', _TWO_OF_EACH, id_as_text="repaired"),
    "04_iscrowd_string_zero": accepted(
        'iscrowd "0" means no crowd: eight boxes count', {"cat": 4, "dog": 4}, number_as_text="repaired"
    ),
    "05_negative_width_height": refused(
        "[40, 30, -15, -12] may extend to the left of x or be a mistake; on_bad is refuse", negative_box_size="refused"
    ),
    "06_bbox_object_imglab": accepted(
        "the centre shows that x and y are the top left corner", _TWO_OF_EACH, box_as_object="repaired"
    ),
    "06b_bbox_strings": accepted('"5" means only one number', _TWO_OF_EACH, number_as_text="repaired"),
    "07_bbox_xyxy": refused(
        "`area` fits only corners; some boxes also extend past the border",
        boxes_as_corners="refused",
        box_past_border="clipped",
    ),
    "07b_bbox_xyxy_inside": refused("`area` fits only corners", boxes_as_corners="refused"),
    "10_no_bbox_with_polygon": accepted(
        "the box is the one around the polygon", _TWO_OF_EACH, annotation_without_bbox="repaired"
    ),
    "11_roboflow_supercategory_twin": accepted(
        "category 0 is the parent of the only class, not a class", {"fish": 4}, root_category="dropped"
    ),
    "11b_roboflow_supercategory_zero": accepted(
        "category 0 is the parent of the classes, not a class", {"trout": 4}, root_category="dropped"
    ),
    "12_ids_beyond_int64": accepted(
        "ids only need to be unique; images get new ids", _TWO_OF_EACH, id_beyond_64_bits="repaired"
    ),
    "12b_ids_beyond_2_53": accepted("JSON has integers of any size", _TWO_OF_EACH),
    "12c_float_ids": accepted("1.0 is 1", _TWO_OF_EACH),
    "12d_string_image_ids": accepted('"000001" means only one number', _TWO_OF_EACH, id_as_text="repaired"),
    "14_file_name_url": refused(
        "a file of that name may be another image: train/0.jpg is not val/0.jpg",
        file_under_other_path="refused",
    ),
    "14b_file_name_percent": accepted(
        "%20 is a space, and only one file matches", _TWO_OF_EACH, other_spelling="repaired"
    ),
    "15_category_name_number": accepted(
        "the name 0 is the text 0", {"0": 2, "1": 2}, category_name_as_number="repaired"
    ),
    "15b_category_name_missing_supercategory_only": refused(
        "a supercategory may contain many classes, so it is not the name of one", malformed_category="refused"
    ),
    "15c_category_names_differ_by_case": accepted(
        "they may be two classes, but rarely are: kept and reported",
        {"Car": 2, "car ": 2},
        similar_category_names="kept",
    ),
    "16_width_height_swapped": refused(
        "width and height are swapped, or the file was rotated after annotation; the boxes fit one of the two",
        size_transposed="refused",
    ),
    "16b_size_strings": accepted('"64" means only one number', _TWO_OF_EACH, number_as_text="repaired"),
    "17_results_list": refused("detections are not annotations", error="detections"),
    "18_5000_boxes": accepted(
        "valid, but evaluation counts only 100 of 5,000 objects",
        {"cat": 5001, "dog": 2},
        many_objects="kept",
    ),
    "19b_rle_size_swapped": accepted(
        "the boxes are valid; detectors with masks refuse run lengths of another size",
        _TWO_OF_EACH,
        mask_of_other_size="refused",
    ),
    "19c_polygon_nested_points": accepted(
        "a list of points is a polygon", _TWO_OF_EACH, segmentation_in_other_form="repaired"
    ),
    "19d_polygon_flat_not_nested": accepted(
        "x and y in turn are a polygon", _TWO_OF_EACH, segmentation_in_other_form="repaired"
    ),
    "20_json_nan": refused("NaN and Infinity are not coordinates", malformed_box="refused", malformed_area="repaired"),
    "21_coco_annotator_subfolder": accepted(
        "`path` gives the subfolder of the file", _TWO_OF_EACH, other_spelling="repaired"
    ),
    "22_json_utf16": accepted("JSON may be UTF-16", _TWO_OF_EACH),
    "23_cvat_rotation": refused("a rotated box is not [x, y, width, height]", rotated_box="refused"),
    "24_val_category_ids_shuffled": refused(
        "label 1 would mean a cat in one split and a dog in the other", error="different categories"
    ),
    "24b_val_fewer_categories": refused("both splits must have the same classes", error="different categories"),
}
