"""What has to be answered to the cases that `voc_and_images.py` makes: two images with two objects, or one image a
kind of file."""

from field_cases import Table, read, refused

_TWO_OF_EACH = {"cat": 2, "dog": 2}

VOC_AND_IMAGES: Table = {
    "50_voc_names_with_spaces": read("`my cat 1` is the name of a file", _TWO_OF_EACH),
    "51_voc_set_with_extension": read("`a1.jpg` is the image a1", _TWO_OF_EACH),
    "52_voc_flat_roboflow": refused("nothing says which images are for training", says="as Roboflow exports them"),
    "54_voc_swapped_corners": refused("exchanged corners may be a slip of any kind", negative_box_size="refused"),
    "55_voc_size_zero": read("the file has its size", _TWO_OF_EACH, image_without_size="repaired"),
    "55b_voc_size_missing": read("the file has its size", _TWO_OF_EACH, image_without_size="repaired"),
    "55c_voc_size_transposed": refused(
        "the sizes are exchanged, or the file was turned after it was annotated", size_transposed="refused"
    ),
    "56_voc_utf16_xml": read("XML may be UTF-16", {"cat": 2}),
    "56b_voc_gbk_xml": read("XML may be in the encoding that it declares", {"猫": 2}),
    "56c_voc_bom": read("XML may begin with a byte order mark", {"cat": 2}),
    "56d_voc_ampersand": read("an ampersand in a file name is an ampersand", {"cat": 2}, other_file_name="kept"),
    "57_voc_difficult_True": refused(
        "`True` and ` 1 ` mark difficult objects, and there are no others", says="data.difficult: keep"
    ),
    "58_voc_class_names_case_space": read(
        "they may be two classes, but seldom are: kept and reported",
        {"Cat": 2, "cat": 2},
        similar_category_names="kept",
    ),
    "59_voc_jfif": read(".jfif is a suffix of JPEG", _TWO_OF_EACH),
    "59b_voc_upper_JPG": read(".JPG is .jpg", _TWO_OF_EACH),
    "59c_voc_upper_XML": read(".XML is .xml", _TWO_OF_EACH),
    "59d_voc_dotted_name": read(".rgb is a part of the name", _TWO_OF_EACH),
    "59e_voc_nested_unicode": read("names may have folders and letters of any script", _TWO_OF_EACH),
    "60_voc_polygon_only_object": read(
        "the box is the one around the polygon", _TWO_OF_EACH, box_from_polygon="repaired"
    ),
    "61_voc_empty_lines_in_set": read("empty lines name nothing", _TWO_OF_EACH),
    "62_voc_cvat_subset_prefixed": read("names may have folders", _TWO_OF_EACH),
    "70_image_kinds": read("Pillow reads every one of them", {"cat": 16, "dog": 0}),
    "71_broken_files": refused(
        "each file is called what it is",
        missing_image="refused",
        empty_image_file="refused",
        git_lfs_pointer="refused",
        web_page_as_image="refused",
        unread_pixel_format="refused",
    ),
    "72_huge_20k": refused(
        "400 million pixels are over the limit", image_too_large="refused", says="400,000,000 pixels, limit"
    ),
    "72b_big_108MP": read("108 million pixels are below the limit", {"cat": 2, "dog": 0}),
    "73_12bit_in_16bit_png": read(
        "nothing says for sure how bright they should be: kept and reported",
        {"cat": 3, "dog": 0},
        dark_16_bit_image="kept",
    ),
    "74_avif": read("Pillow reads AVIF", {"cat": 2, "dog": 0}),
    "75_exif_wrong_dims": read(
        "the annotated size says whether the boxes are of the turned image",
        {"cat": 2, "dog": 0},
        rotated_by_exif="repaired",
        exif_ignored="kept",
    ),
}
