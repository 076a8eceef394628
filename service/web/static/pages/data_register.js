// @ts-check
import { change } from "../core/api.js";
import { go } from "../core/router.js";
import { missingRole, session } from "../core/session.js";
import { ask } from "../ui/dialog.js";

/** @typedef {import("../ui/dialog.js").Field} Field */
/** @typedef {import("../ui/menu.js").Entry} Entry */
/** A layout of files. `data` makes of what a user has entered what the API expects. @typedef {{ label: string, text: string, fields: Field[], data: (values: import("../ui/dialog.js").Values) => unknown }} Layout */

const needed = { required: true };

/** @type {Layout[]} */
const LAYOUTS = [
  {
    label: "COCO", text: "Images in a folder, and one JSON file with the boxes, for each split.",
    fields: [
      { name: "data.train.images", label: "Folder of the training images", limits: { ...needed, placeholder: "/data/street/train" } },
      { name: "data.train.annotations", label: "Annotations for training", limits: { ...needed, placeholder: "/data/street/train.json" } },
      { name: "data.val.images", label: "Folder of the validation images", limits: { ...needed, placeholder: "/data/street/val" } },
      { name: "data.val.annotations", label: "Annotations for validation", limits: { ...needed, placeholder: "/data/street/val.json" } },
    ],
    data: (values) => ({ type: "coco", train: splitOf(values, "train"), val: splitOf(values, "val") }),
  },
  {
    label: "Pascal VOC", text: "A folder with Annotations, JPEGImages and ImageSets, or an export of Roboflow with XML files.",
    fields: [
      { name: "data.folder", label: "Folder", limits: { ...needed, placeholder: "/data/VOCdevkit/VOC2007" } },
      { name: "data.train", label: "Image set for training", value: "train", limits: needed },
      { name: "data.val", label: "Image set for validation", value: "val", limits: needed },
    ],
    data: (values) => ({ type: "voc", folder: values["data.folder"], train: values["data.train"], val: values["data.val"] }),
  },
  {
    label: "YOLO", text: "A data.yaml that names the classes and the folders of images, with a text file of labels for each image.",
    fields: [{ name: "data.data_yaml", label: "data.yaml", limits: { ...needed, placeholder: "/data/street/data.yaml" } }],
    data: (values) => ({ type: "yolo", data_yaml: values["data.data_yaml"] }),
  },
];

/** What can be registered: an entry of a menu for each layout of files. @param {AbortSignal} life @returns {Entry[]} */
export function registerEntries(life) {
  return LAYOUTS.map((layout) => ({ label: `${layout.label}…`, act: () => register(layout, life), why: missingRole("submit") }));
}

/** @param {Layout} layout @param {AbortSignal} life */
function register({ label, text, fields, data }, life) {
  ask({
    title: `Register ${label} data`, text: `${text} The paths are those on the machines that run the jobs.`,
    fields: [
      { name: "name", label: "Name", help: "Jobs name the data set so.", limits: { ...needed, maxLength: 100, placeholder: "street" } },
      ...fields,
      { name: "project", label: "Project", value: session.value?.project ?? "default", limits: needed },
      { name: "check", label: "Check it at once", type: "checkbox", value: true, help: "A job counts images and boxes, looks for faults and draws samples." },
    ],
    action: "Register",
    send: async (values) => {
      const { name, project, check } = values;
      const { dataset_id: id } = await change("POST", "/v1/datasets", { name, project, data: data(values) });
      // The data set is registered whether or not its check can start; its page has a button for it.
      if (check) await change("POST", `/v1/datasets/${id}/check`).catch(() => undefined);
      go(`/data/${encodeURIComponent(id)}`);
    },
  }, life);
}

/** @param {import("../ui/dialog.js").Values} values @param {string} split */
function splitOf(values, split) {
  return { images: values[`data.${split}.images`], annotations: values[`data.${split}.annotations`] };
}
