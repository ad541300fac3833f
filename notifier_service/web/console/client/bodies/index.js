/** Parameters as people read them: which shape they have, and the parts to draw. Pure functions. */
export { bodyOf } from "./shapes.js";
export { editChanges, editedOf, editingJson, editingOf, firstToEdit, isJsonEditing, } from "./editing.js";
export { inAscii, readableJson } from "./json.js";
export { lineChanges } from "./lines.js";
export { answerTo, isQuestion, questionsOf } from "./questions.js";
