"""Expected results for the cases that `yolo.py` writes. Each split has three images of 64x48 px."""

from field_cases import Table, accepted, refused

_THREE_OF_EACH = {"cat": 3, "dog": 3}

YOLO: Table = {
    "30_yolo_capital_folders": accepted("`Labels` replaces `Images` as `labels` replaces `images`", _THREE_OF_EACH),
    "32_yolo_labels_beside_in_images": accepted(
        "the label files are beside their images", _THREE_OF_EACH, labels_beside_images="repaired"
    ),
    "33_yolo_jfif": accepted(".jfif is a suffix of JPEG", _THREE_OF_EACH),
    "33b_yolo_jfif_background": accepted(
        "an image without a label file among labelled images is background",
        _THREE_OF_EACH,
        missing_label_file="kept",
    ),
    "34_yolo_appledouble": accepted("`._0.jpg` is a file of macOS, not an image", _THREE_OF_EACH),
    "36_yolo_names_yaml_booleans": accepted("the author named the classes `yes` and `no`", {"yes": 3, "no": 3}),
    "36b_yolo_names_on_off_null": accepted("the author named the classes `NO` and `1.5`", {"NO": 3, "1.5": 3}),
    "36c_yolo_names_string_keys": accepted("'0' means only one index", _THREE_OF_EACH),
    "36d_yolo_names_octal_date": accepted(
        "the author named the classes `010` and `2024-01-01`", {"010": 3, "2024-01-01": 3}
    ),
    "37_yolo_pose_without_kpt_shape": refused(
        "eight numbers may be a box with two keypoints or four corners",
        keypoints_or_polygon="refused",
        error="kpt_shape",
    ),
    "37c_yolo_conf": refused("a box with a confidence is a prediction", label_with_extra_number="refused"),
    "38_yolo_percent": refused("fractions lie between 0 and 1", not_normalised="refused", error="percent"),
    "38b_yolo_negative_size": refused("a width of -0.004 may have any cause", negative_box_size="refused"),
    "39_yolo_path_parent": refused("`path` leads out of the folder of the file", error="set data.root"),
    "39b_yolo_path_abs": refused("`path` leads out of the folder of the file", error="set data.root"),
    "40_cvat_ultralytics_list": accepted("CVAT calls the folder `data/`", _THREE_OF_EACH),
    "40b_list_backslashes_crlf": accepted("backslashes are slashes on Windows", _THREE_OF_EACH),
    "41_yolo_valid_entry": accepted("Roboflow calls the split `valid`", _THREE_OF_EACH),
    "42_yolo_uppercase_ext": accepted(".JPG is .jpg", _THREE_OF_EACH),
    "43_yolo_class_name_in_label": accepted(
        "`cat` names one class only", {"cat": 3, "dog": 0}, class_name_in_label="repaired"
    ),
    "43b_yolo_one_based_class": refused(
        "of two classes no label is 0 and one is 2, so they count from 1", shifted_category_ids="refused"
    ),
    "44_yolo_images_twice": accepted("`labels` replaces the last `images` of a path", _THREE_OF_EACH),
    "45_yolo_label_utf16": accepted("text may be UTF-16", _THREE_OF_EACH),
    "46_yolo_box_polygon_mixed": accepted(
        "the four corners are a rectangle; detectors with masks refuse the boxes without a polygon",
        _THREE_OF_EACH,
        missing_mask="refused",
    ),
    "47_yolo_comma_decimal": accepted(
        "`0,5` among such numbers means 0.5", {"cat": 3, "dog": 0}, comma_in_label="repaired"
    ),
    "48_yolo_names_case_twins": accepted(
        "they may be two classes, but rarely are: kept and reported",
        {"0": 3, "Person": 3, "person": 0},
        similar_category_names="kept",
    ),
}
