"""Expected results for the cases that `voc_and_images.py` writes: two images with two objects, or one image for each
kind of file."""

from field_cases import Table, accepted, refused

_TWO_OF_EACH = {"cat": 2, "dog": 2}

VOC_AND_IMAGES: Table = {
    "50_voc_names_with_spaces": accepted("`my cat 1` is the name of a file", _TWO_OF_EACH),
    "51_voc_set_with_extension": accepted("`a1.jpg` is the image a1", _TWO_OF_EACH),
    "52_voc_flat_roboflow": refused(
        "the folder does not say which images are for training", error="as Roboflow exports them"
    ),
    "54_voc_swapped_corners": refused("swapped corners may have any cause", negative_box_size="refused"),
    "55_voc_size_zero": accepted("the image file gives the size", _TWO_OF_EACH, image_without_size="repaired"),
    "55b_voc_size_missing": accepted("the image file gives the size", _TWO_OF_EACH, image_without_size="repaired"),
    "55c_voc_size_transposed": refused(
        "width and height are swapped, or the file was rotated after annotation", size_transposed="refused"
    ),
    "56_voc_utf16_xml": accepted("XML may be UTF-16", {"cat": 2}),
    "56b_voc_gbk_xml": accepted("XML may have any encoding that it declares", {"猫": 2}),
    "56c_voc_bom": accepted("XML may start with a byte order mark", {"cat": 2}),
    "56d_voc_ampersand": accepted("an ampersand in a file name is an ampersand", {"cat": 2}, other_file_name="kept"),
    "57_voc_difficult_True": refused(
        "`True` and ` 1 ` mark difficult objects, and all objects are difficult", error="data.difficult: keep"
    ),
    "58_voc_class_names_case_space": accepted(
        "they may be two classes, but rarely are: kept and reported",
        {"Cat": 2, "cat": 2},
        similar_category_names="kept",
    ),
    "59_voc_jfif": accepted(".jfif is a suffix of JPEG", _TWO_OF_EACH),
    "59b_voc_upper_JPG": accepted(".JPG is .jpg", _TWO_OF_EACH),
    "59c_voc_upper_XML": accepted(".XML is .xml", _TWO_OF_EACH),
    "59d_voc_dotted_name": accepted(".rgb is part of the name", _TWO_OF_EACH),
    "59e_voc_nested_unicode": accepted("names may contain folders and letters of any script", _TWO_OF_EACH),
    "60_voc_polygon_only_object": accepted(
        "the box is the one around the polygon", _TWO_OF_EACH, box_from_polygon="repaired"
    ),
    "61_voc_empty_lines_in_set": accepted("empty lines are ignored", _TWO_OF_EACH),
    "62_voc_cvat_subset_prefixed": accepted("names may contain folders", _TWO_OF_EACH),
    "70_image_kinds": accepted("Pillow reads all of them", {"cat": 16, "dog": 0}),
    "71_broken_files": refused(
        "each file is reported with its kind",
        missing_image="refused",
        empty_image_file="refused",
        git_lfs_pointer="refused",
        web_page_as_image="refused",
        unread_pixel_format="refused",
    ),
    "72_huge_20k": refused(
        "400 million pixels are above the limit", image_too_large="refused", error="400,000,000 pixels, limit"
    ),
    "72b_big_108MP": accepted("108 million pixels are below the limit", {"cat": 2, "dog": 0}),
    "73_12bit_in_16bit_png": accepted(
        "the correct brightness is uncertain: kept and reported",
        {"cat": 3, "dog": 0},
        dark_16_bit_image="kept",
    ),
    "74_avif": accepted("Pillow reads AVIF", {"cat": 2, "dog": 0}),
    "75_exif_wrong_dims": accepted(
        "the annotated size shows whether the boxes fit the rotated image",
        {"cat": 2, "dog": 0},
        rotated_by_exif="repaired",
        exif_ignored="kept",
    ),
}
