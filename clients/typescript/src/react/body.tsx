import { Fragment, type Key, type ReactNode } from "react";

import type { Body, DiffPart, FilePart, ListPart, Segment, StepsPart, TablePart, ValuePart } from "../bodies/index.js";
import { jsonPieces } from "../text.js";
import { blocksOf, endsOf, foldOf, linesOf, type Block, type Fold, type ValuesBlock } from "./folds.js";
import type { PermissionLabels } from "./labels.js";
import { Pieces, Text } from "./text.js";

interface Drawing {
  labels: PermissionLabels;
  /** Nothing is folded. */
  showsAll: boolean;
  onShowAll: () => void;
}

interface DrawnProps extends Drawing {
  body: Pick<Body, "parts">;
}

/** How many characters of a body are folded at first. */
export function hiddenOf({ parts }: Pick<Body, "parts">): number {
  return blocksOf(parts).reduce((sum, block) => sum + foldOf(block).hidden, 0);
}

/** The parameters in the shape that they have, every character of them. */
export function Drawn({ body, ...drawing }: DrawnProps): ReactNode {
  return blocksOf(body.parts).map((block, index) => <Part key={index} block={block} {...drawing} />);
}

function Part({ block, ...drawing }: Drawing & { block: Block }): ReactNode {
  const { labels } = drawing;
  if (block.kind === "steps") return <Steps part={block} labels={labels} />;
  const isAgents = (block.kind === "values" || block.kind === "text") && block.isAgents;
  const name = block.kind === "values" ? "" : block.name;
  return (
    <div className="notifier-part" data-said={isAgents || undefined}>
      {(name !== "" || isAgents) && (
        <h4>
          {name !== "" && <Name>{name}</Name>} {isAgents && <span>{labels.agentsWords}</span>}
        </h4>
      )}
      <Content block={block} {...drawing} />
    </div>
  );
}

function Content({ block, ...drawing }: Drawing & { block: Exclude<Block, StepsPart> }): ReactNode {
  switch (block.kind) {
    case "values":
      return <Values block={block} {...drawing} />;
    case "text":
      return <Flow block={block} lines={linesOf(block.segments)} kind={block.role} {...drawing} />;
    case "list":
      return <Flow block={block} lines={block.items.map((text) => [{ text }])} kind="list" {...drawing} />;
    case "json":
      return <Flow block={block} lines={block.text.split("\n").map((text) => [{ text }])} kind="json" {...drawing} />;
    case "file":
      return <File block={block} {...drawing} />;
    case "diff":
      return <Diff block={block} {...drawing} />;
    case "table":
      return <Table block={block} {...drawing} />;
  }
}

function Values({ block, ...drawing }: Drawing & { block: ValuesBlock }): ReactNode {
  const draw = (value: ValuePart | ListPart, key: Key): ReactNode => (
    <div key={key}>
      <dt><Name>{value.name}</Name></dt>
      {value.kind === "list"
        ? value.items.map((item, index) => <dd key={index} className="notifier-item"><Text>{item}</Text></dd>)
        : <dd><Line segments={value.segments} {...drawing} /></dd>}
    </div>
  );
  const more = (button: ReactNode): ReactNode => <div key="more"><dd>{button}</dd></div>;
  return <dl className="notifier-values"><Rows of={block} rows={block.values} draw={draw} more={more} {...drawing} /></dl>;
}

interface FlowProps extends Drawing {
  block: Block;
  lines: readonly (readonly Segment[])[];
  kind: string;
}

/** Lines of text. Their line feeds are those of the text, so a copy of it is the text. */
function Flow({ block, lines, kind, ...drawing }: FlowProps): ReactNode {
  const draw = (segments: readonly Segment[], key: number): ReactNode => (
    <Fragment key={key}>
      <Line segments={segments} isJson={kind === "json"} {...drawing} />
      {key < lines.length - 1 && "\n"}
    </Fragment>
  );
  return (
    <pre className="notifier-block" data-kind={kind}>
      <Rows of={block} rows={lines} draw={draw} {...drawing} />
    </pre>
  );
}

function File({ block, ...drawing }: Drawing & { block: FilePart }): ReactNode {
  const digits = String(block.lines.length).length;
  const draw = (text: string, key: number): ReactNode => (
    <span key={key} className="notifier-row">
      <Number value={key + 1} digits={digits} />
      <Line segments={[{ text }]} {...drawing} />
    </span>
  );
  return (
    <div className="notifier-block" data-kind="file">
      <Rows of={block} rows={block.lines} draw={draw} {...drawing} />
    </div>
  );
}

const TAGS = { same: "span", note: "span", gone: "del", new: "ins" } as const;
const SIGNS = { same: "", note: "", gone: "−", new: "+" } as const;

function Diff({ block, ...drawing }: Drawing & { block: DiffPart }): ReactNode {
  const highest = block.lines.reduce((most, line) => Math.max(most, line.old ?? 0, line.new ?? 0), 0);
  const digits = String(highest).length;
  const draw = (line: DiffPart["lines"][number], key: number): ReactNode => {
    const Tag = TAGS[line.kind];
    const { labels } = drawing;
    const said = line.kind === "gone" ? labels.removed : line.kind === "new" ? labels.added : undefined;
    return (
      <Tag key={key} className="notifier-row" data-line={line.kind}>
        {highest > 0 && <><Number value={line.old} digits={digits} /><Number value={line.new} digits={digits} /></>}
        <i className="notifier-sign" data-sign={SIGNS[line.kind]} {...(said && { role: "img", "aria-label": said })} />
        <Line segments={line.segments} {...drawing} />
      </Tag>
    );
  };
  return (
    <div className="notifier-block" data-kind="diff">
      <Rows of={block} rows={block.lines} draw={draw} {...drawing} />
    </div>
  );
}

function Table({ block, ...drawing }: Drawing & { block: TablePart }): ReactNode {
  const draw = (row: readonly string[], key: number): ReactNode => (
    <tr key={key}>
      {row.map((cell, index) => (
        <td key={index} data-column={block.columns[index]}><Text>{cell}</Text></td>
      ))}
    </tr>
  );
  const more = (button: ReactNode): ReactNode => <tr key="more"><td colSpan={block.columns.length}>{button}</td></tr>;
  return (
    <table className="notifier-block">
      <thead>
        <tr>{block.columns.map((name, index) => <th key={index} scope="col"><Name>{name}</Name></th>)}</tr>
      </thead>
      <tbody><Rows of={block} rows={block.rows} draw={draw} more={more} {...drawing} /></tbody>
    </table>
  );
}

interface RowsProps<Row> extends Drawing {
  of: Block;
  rows: readonly Row[];
  draw: (row: Row, index: number) => ReactNode;
  /** Where the button stands that shows the middle. */
  more?: (button: ReactNode) => ReactNode;
}

function Rows<Row>({ of, rows, draw, more = (button) => button, ...drawing }: RowsProps<Row>): ReactNode {
  const { head, tail }: Fold = drawing.showsAll ? { head: rows.length, tail: rows.length, hidden: 0 } : foldOf(of);
  const from = (first: number, last: number): ReactNode[] =>
    rows.slice(first, last).map((row, index) => draw(row, first + index));
  return (
    <>
      {from(0, head)}
      {tail > head && more(<More count={foldOf(of).hidden} {...drawing} />)}
      {from(tail, rows.length)}
    </>
  );
}

function More({ count, labels, onShowAll }: Drawing & { count: number }): ReactNode {
  return (
    <button key="more" type="button" className="notifier-more" data-action="show-all" onClick={onShowAll}>
      {labels.showAll(count)}
    </button>
  );
}

interface LineProps extends Drawing {
  segments: readonly Segment[];
  isJson?: boolean;
}

function Line({ segments, isJson = false, ...drawing }: LineProps): ReactNode {
  const draw = (text: string): ReactNode => (isJson ? <Pieces>{jsonPieces(text)}</Pieces> : <Text>{text}</Text>);
  const ends = drawing.showsAll ? null : endsOf(segments);
  if (ends !== null) {
    // Its marks are not needed to find the ends.
    const hidden = segments.reduce((sum, { text }) => sum + text.length, 0) - ends[0].length - ends[1].length;
    return <span className="notifier-line">{draw(ends[0])}<More count={hidden} {...drawing} />{draw(ends[1])}</span>;
  }
  return (
    <span className="notifier-line">
      {segments.map(({ text, mark }, index) =>
        mark === undefined
          ? <Fragment key={index}>{draw(text)}</Fragment>
          : <mark key={index} data-mark={mark}>{draw(text)}</mark>,
      )}
    </span>
  );
}

/** It is no text of the tool's: it is not copied, and not read out. */
function Number({ value, digits }: { value: number | null; digits: number }): ReactNode {
  return <i className="notifier-number" data-number={value ?? ""} data-digits={Math.min(7, digits)} aria-hidden="true" />;
}

/** What a command runs, a part on each line, what a wrapper runs behind an arrow. */
function Steps({ part, labels }: { part: StepsPart; labels: PermissionLabels }): ReactNode {
  return (
    <div className="notifier-part">
      {part.steps.length > 0 && (
        <div data-role="command">
          <h4>{labels.runs}</h4>
          <ul>
            {part.steps.map(({ words: [program = "", ...others], depth, does, isRisky }, index) => (
              <li key={index}>
                <code>
                  {"→ ".repeat(depth)}
                  <b><Text>{quoted(program)}</Text></b> <Text>{others.map(quoted).join(" ")}</Text>
                </code>
                {isRisky && does !== null && <em className="notifier-deed" data-does={labels.deeds[does] ?? does} />}
              </li>
            ))}
          </ul>
          {part.leftOut > 0 && <p className="notifier-warning">{labels.moreRuns(part.leftOut)}</p>}
        </div>
      )}
      {part.notUnderstood !== null && (
        <p className="notifier-warning" data-role="unknown">
          <Text>{labels.unknownRuns(part.notUnderstood.text)}</Text>
        </p>
      )}
    </div>
  );
}

/** A word as one types it; one that ends early is no word to type. */
function quoted(word: string): string {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  const onOneLine = word.replaceAll("\n", "\\n").replaceAll("\t", "\\t");
  return word.endsWith("…") ? onOneLine : `'${onOneLine.replaceAll("'", `'"'"'`)}'`;
}

/** A name on one line: one that could be taken for something else is in quotes. */
function Name({ children }: { children: string }): ReactNode {
  const isPlain = /^[\p{L}\p{N}_$@./[\]→, -]+$/u.test(children);
  return <Text>{isPlain ? children : JSON.stringify(children)}</Text>;
}
