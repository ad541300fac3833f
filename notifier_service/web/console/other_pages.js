// The pages beside the inbox and a session: one file, which is loaded when the first of them is opened.

export { DevicesPage } from "./devices_page.js";
export { HistoryPage } from "./history_page.js";
export { PairPage } from "./pair_page.js";
export { RulesPage } from "./rules_page.js";
