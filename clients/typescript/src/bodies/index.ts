/** Parameters as people read them: which shape they have, and the parts to draw. Pure functions. */

export { bodyOf, type Asked } from "./shapes.js";
export type * from "./body.js";
export {
  editChanges,
  editedOf,
  editingJson,
  editingOf,
  firstToEdit,
  isJsonEditing,
  type EditField,
  type EditProblem,
  type Edited,
  type Editing,
} from "./editing.js";
export { inAscii, readableJson } from "./json.js";
export { lineChanges } from "./lines.js";
export { answerTo, isQuestion, questionsOf, type Answer, type Given, type QuestionField, type Questions } from "./questions.js";
