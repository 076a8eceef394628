// @ts-check
// Runs once for all windows of a session that have the same version of the page.
import { Hub } from "./hub.js";

const hub = new Hub();
addEventListener("connect", (event) => hub.serve(/** @type {MessageEvent} */ (event).ports[0]));
