import { useId, type ReactNode } from "react";

import type { Given, QuestionField, Questions } from "../bodies/index.js";
import type { PermissionLabels } from "./labels.js";
import { Text } from "./text.js";

/** Options that are shown of a question; who wants another one writes it. */
const MOST_OPTIONS = 200;
const MOST_TEXT = 2000;

interface QuestionsProps {
  questions: Questions;
  given: readonly Given[];
  /** The places of the questions that are still to be answered. */
  open: readonly number[];
  labels: PermissionLabels;
  isOver: boolean;
  onGiven: (index: number, given: Given) => void;
}

/** What is asked of a person, as something to fill in. */
export function QuestionForm({ questions, given, open, labels, isOver, onGiven }: QuestionsProps): ReactNode {
  return (
    <div className="notifier-questions" data-role="questions">
      {questions.message !== null && <p><Short>{questions.message}</Short></p>}
      {questions.fields.map((field, index) => (
        <Question
          key={field.name}
          field={field}
          given={given[index] ?? field.given}
          isOpen={open.includes(index)}
          labels={labels}
          isOver={isOver}
          onGiven={(next) => onGiven(index, next)}
        />
      ))}
    </div>
  );
}

interface QuestionProps {
  field: QuestionField;
  given: Given;
  isOpen: boolean;
  labels: PermissionLabels;
  isOver: boolean;
  onGiven: (given: Given) => void;
}

function Question({ field, given, isOpen, labels, isOver, onGiven }: QuestionProps): ReactNode {
  const id = useId();
  const { options, isMultiple, words } = field;
  const words_ = labels.questions;
  const choose = (index: number, isChosen: boolean): void => {
    const others = isMultiple ? given.chosen.filter((one) => one !== index) : [];
    const chosen = isChosen ? [...others, index].sort((one, other) => one - other) : others;
    onGiven({ chosen, words: isMultiple ? given.words : "" });
  };
  return (
    <fieldset data-question={field.name} data-open={isOpen || undefined} disabled={isOver} aria-describedby={`${id}-open`}>
      <legend>
        {field.header !== null && <span className="notifier-chip"><Short>{field.header}</Short></span>}{" "}
        <Short>{field.text}</Short> {isMultiple ? words_.several : field.isNeeded ? "" : words_.optional}
      </legend>
      {field.description !== null && <p><Short>{field.description}</Short></p>}
      {options.slice(0, MOST_OPTIONS).map(({ value, label, description, preview }, index) => (
        <label key={index} className="notifier-option">
          <input
            type={isMultiple ? "checkbox" : "radio"}
            name={id}
            checked={given.chosen.includes(index)}
            onChange={({ target }) => choose(index, target.checked)}
          />
          <span>
            <strong><Short>{typeof value === "boolean" ? words_[value ? "yes" : "no"] : label}</Short></strong>
            {description !== null && <span><Short>{description}</Short></span>}
            {preview !== null && <code><Short>{preview}</Short></code>}
          </span>
        </label>
      ))}
      {options.length > MOST_OPTIONS && <p>{words_.more(options.length - MOST_OPTIONS)}</p>}
      {words !== null && (
        <input
          type="text"
          data-field="words"
          aria-label={options.length > 0 ? words_.own : field.text.slice(0, MOST_TEXT)}
          placeholder={options.length > 0 ? words_.own : undefined}
          value={given.words}
          onChange={({ target }) => onGiven({ chosen: isMultiple ? given.chosen : [], words: target.value })}
        />
      )}
      <p id={`${id}-open`} role="alert" className="notifier-error">{isOpen && words_.open}</p>
    </fieldset>
  );
}

/** A text of which nobody waits for the end. */
function Short({ children }: { children: string }): ReactNode {
  const isLong = children.length > MOST_TEXT;
  return <Text>{isLong ? `${children.slice(0, MOST_TEXT)}…` : children}</Text>;
}
