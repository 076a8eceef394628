"""What has to be answered to the cases that `yolo.py` makes. Each split has three images of 64 x 48 pixels."""

from field_cases import Table, read, refused

_THREE_OF_EACH = {"cat": 3, "dog": 3}

YOLO: Table = {
    "30_yolo_capital_folders": read("`Labels` stands for `Images` as `labels` does for `images`", _THREE_OF_EACH),
    "32_yolo_labels_beside_in_images": read(
        "the label files are there, beside their images", _THREE_OF_EACH, labels_beside_images="repaired"
    ),
    "33_yolo_jfif": read(".jfif is a suffix of JPEG", _THREE_OF_EACH),
    "33b_yolo_jfif_background": read(
        "an image without a label file among labelled ones is background, whatever its suffix",
        _THREE_OF_EACH,
        missing_label_file="kept",
    ),
    "34_yolo_appledouble": read("`._0.jpg` is a file of macOS, not an image", _THREE_OF_EACH),
    "36_yolo_names_yaml_booleans": read("the author named the classes `yes` and `no`", {"yes": 3, "no": 3}),
    "36b_yolo_names_on_off_null": read("the author named the classes `NO` and `1.5`", {"NO": 3, "1.5": 3}),
    "36c_yolo_names_string_keys": read("'0' spells one index only", _THREE_OF_EACH),
    "36d_yolo_names_octal_date": read(
        "the author named the classes `010` and `2024-01-01`", {"010": 3, "2024-01-01": 3}
    ),
    "37_yolo_pose_without_kpt_shape": refused(
        "eight numbers may be a box with two keypoints or four corners",
        keypoints_or_polygon="refused",
        says="kpt_shape",
    ),
    "37c_yolo_conf": refused("a box with a confidence is a prediction", label_with_extra_number="refused"),
    "38_yolo_percent": refused("fractions lie between 0 and 1", not_normalised="refused", says="percent"),
    "38b_yolo_negative_size": refused("a width of -0.004 may be a slip of any kind", negative_box_size="refused"),
    "39_yolo_path_parent": refused("`path` leads out of the folder of the file", says="set data.root"),
    "39b_yolo_path_abs": refused("`path` leads out of the folder of the file", says="set data.root"),
    "40_cvat_ultralytics_list": read("`data/` is CVAT's name of the folder", _THREE_OF_EACH),
    "40b_list_backslashes_crlf": read("backslashes are slashes on Windows", _THREE_OF_EACH),
    "41_yolo_valid_entry": read("Roboflow calls the split `valid`", _THREE_OF_EACH),
    "42_yolo_uppercase_ext": read(".JPG is .jpg", _THREE_OF_EACH),
    "43_yolo_class_name_in_label": read(
        "`cat` names one class only", {"cat": 3, "dog": 0}, class_name_in_label="repaired"
    ),
    "43b_yolo_one_based_class": refused(
        "no class is 0 and one is 2 of two: they are counted from 1", shifted_category_ids="refused"
    ),
    "44_yolo_images_twice": read("the last `images` of a path stands for `labels`", _THREE_OF_EACH),
    "45_yolo_label_utf16": read("text may be UTF-16", _THREE_OF_EACH),
    "46_yolo_box_polygon_mixed": read(
        "the four corners are a rectangle; detectors with masks refuse the boxes beside it",
        _THREE_OF_EACH,
        missing_mask="refused",
    ),
    "47_yolo_comma_decimal": read("`0,5` among such numbers is 0.5", {"cat": 3, "dog": 0}, comma_in_label="repaired"),
    "48_yolo_names_case_twins": read(
        "they may be two classes, but seldom are: kept and reported",
        {"0": 3, "Person": 3, "person": 0},
        similar_category_names="kept",
    ),
}
