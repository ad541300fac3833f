// @vitest-environment jsdom
/** The dialog, as a person meets it; what is answered, a real service takes. */

import { act, configure, fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";

import { CHINESE, PermissionDialog, useSession, type PermissionLabels, type RenderBody } from "../../src/react/index.js";
import { SessionClient, type PermissionRecord } from "../../src/index.js";
import { startService, type Service } from "../service.js";
import { EventSource, screenOfTest, scrollToTheEnd } from "./page.js";

/** A card listens after half a second, and the machine may be busy. */
configure({ asyncUtilTimeout: 5_000 });

let service: Service;
let sessions = 0;

beforeAll(async () => {
  service = await startService("--allowed-origins", location.origin);
});
afterAll(() => service.kill());
afterEach(() => {
  vi.useRealTimers();
});

type Change = (request: PermissionRecord) => PermissionRecord;

interface PageProps {
  session: string;
  labels?: PermissionLabels;
  /** Makes of what the service asks what another service may ask. */
  change?: Change;
  fetch?: typeof globalThis.fetch;
  from?: "now" | "earliest";
  renderBody?: RenderBody;
}

const asIs: Change = (request) => request;

function Page({ session: id, labels, change = asIs, fetch = globalThis.fetch, from = "now", ...look }: PageProps) {
  const session = useSession(id, { baseUrl: service.url, EventSource, fetch, from });
  const asked = { ...session, pending: session.pending.map(change) };
  return <PermissionDialog session={asked} {...(labels === undefined ? {} : { labels })} {...look} />;
}

/** Somebody at a page that shows the session; the dialog has opened when this resolves. */
async function sitDown(props: Omit<PageProps, "session"> = {}, ...asked: Parameters<Service["ask"]>[1][]) {
  sessions += 1;
  const session = `d${sessions}`;
  const requests: PermissionRecord[] = [];
  for (const request of asked) requests.push(await service.ask(session, request));
  const page = render(<Page session={session} {...props} />);
  const dialog = page.container.querySelector("dialog")!;
  await waitFor(() => expect(dialog.open).toBe(true));

  return {
    ...page,
    session,
    dialog,
    requests,
    listens,
    /** Press a button, as soon as the card listens. */
    async press(action: string): Promise<void> {
      await listens();
      fireEvent.click(button(action));
    },
    fill: (field: string, value: string) =>
      fireEvent.change(dialog.querySelector(`[data-field=${field}]`)!, { target: { value } }),
    role: (role: string) => dialog.querySelector(`[data-role=${role}]`)?.textContent ?? null,
    button,
    actions: () => [...dialog.querySelectorAll<HTMLElement>("[data-action]")].map((one) => one.dataset["action"]),
  };

  function listens(): Promise<void> {
    return waitFor(() => expect(dialog.querySelector("[data-ready]")).not.toBeNull());
  }

  function button(action: string): HTMLElement {
    return dialog.querySelector<HTMLElement>(`[data-action=${action}]`)!;
  }
}

async function record({ request_id }: PermissionRecord, session: string): Promise<PermissionRecord> {
  const response = await fetch(`${service.url}/api/permissions/${session}/${request_id}`);
  return ((await response.json()) as { data: PermissionRecord }).data;
}

/** Somebody else answers. */
function decide({ request_id }: PermissionRecord, session: string, approved: boolean): Promise<Response> {
  return fetch(`${service.url}/api/sse/permission-response/${session}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ approved, request_id }),
  });
}

const WRITE = { tool_name: "write_file", parameters: { path: "a.txt", text: "hello" } };

it("offers no answer to who may only look on", async () => {
  const rights = vi.spyOn(SessionClient.prototype, "mayApprove", "get").mockReturnValue(false);
  const { dialog, actions, role, listens } = await sitDown({}, { ...WRITE, risk_level: "high" });
  await listens();
  for (const key of ["a", "r", "e", "?"]) fireEvent.keyDown(document.body, { key });

  expect(role("only-look")).toBe("Your token may watch, but not decide.");
  expect(role("keys")).toBe("J next · K previous · X exactly · ? keys · Esc later");
  expect(actions()).toEqual(["exact", "later"]);
  expect(dialog.querySelector("input, textarea")).toBeNull();
  rights.mockRestore();
});

describe("a question", () => {
  const BRANCH = { question: "Which branch?", header: "Branch", options: [{ label: "main" }, { label: "dev" }] };
  const TESTS = { question: "Which \u202etests?", options: [{ label: "unit" }, { label: "load" }], multiSelect: true };
  const ASKED = { tool_name: "AskUserQuestion", parameters: { questions: [BRANCH, TESTS] } };
  const asks: Change = (request) => ({
    ...request,
    reasons: [{ code: "agent_question", text: "the agent asks" }],
    allowed_decisions: ["edit", "reject"],
    scopes: ["once"],
  });

  it("is answered by its options, and not before each has an answer", async () => {
    const { dialog, actions, press, requests, session } = await sitDown({ change: asks }, ASKED);
    const inside = within(dialog);
    expect(inside.getByRole("heading", { level: 2 }).textContent).toBe("The agent asks AskUserQuestion");
    expect(actions()).toEqual(["exact", "answer", "reject", "later"]);
    expect(inside.getByRole("group", { name: /tests/ }).textContent).toContain("\\u202e");
    fireEvent.click(inside.getByRole("radio", { name: "dev" }));
    await press("answer");
    expect(inside.getByText("This is not answered yet.")).toBeTruthy();
    for (const name of ["load", "unit"]) fireEvent.click(inside.getByRole("checkbox", { name }));
    await press("answer");

    await waitFor(() => expect(dialog.open).toBe(false));
    const answers = { "Which branch?": "dev", "Which \u202etests?": "unit, load" };
    expect(await record(requests[0]!, session)).toMatchObject({
      decision: "edit",
      parameters: { ...ASKED.parameters, answers },
    });
  });

  it("is answered in own words, and in Chinese", async () => {
    const { dialog, press, requests, session } = await sitDown({ change: asks, labels: CHINESE }, ASKED);
    const inside = within(dialog);
    const [branch, tests] = inside.getAllByRole("textbox", { name: "用您自己的话回答" });
    fireEvent.click(inside.getByRole("radio", { name: "main" }));
    fireEvent.change(branch!, { target: { value: "a new one" } });
    fireEvent.change(tests!, { target: { value: "the slow ones" } });
    expect(inside.getByRole<HTMLInputElement>("radio", { name: "main" }).checked).toBe(false);
    await press("answer");

    await waitFor(() => expect(dialog.open).toBe(false));
    const { parameters } = await record(requests[0]!, session);
    expect(parameters["answers"]).toEqual({ "Which branch?": "a new one", "Which \u202etests?": "the slow ones" });
  });
});

describe("an answer", () => {
  it("approves what is shown, and the dialog closes", async () => {
    const { dialog, press, requests, session } = await sitDown({}, WRITE);
    expect(within(dialog).getByRole("heading", { level: 2 }).textContent).toBe("The agent asks to run write_file");

    await press("approve");

    await waitFor(() => expect(dialog.open).toBe(false));
    expect(await record(requests[0]!, session)).toMatchObject({ decision: "approve", reason: null, scope: "once" });
  });

  it("rejects with the reason that was written", async () => {
    const { dialog, fill, press, requests, session } = await sitDown({}, WRITE);
    fill("reason", "not this file");
    await press("reject");

    await waitFor(() => expect(dialog.open).toBe(false));
    expect(await record(requests[0]!, session)).toMatchObject({ decision: "reject", reason: "not this file" });
  });

  it("edits the parameters that run, and says what is no JSON object", async () => {
    const { dialog, fill, press, requests, session } = await sitDown({}, WRITE);
    await press("edit");
    await press("edit-json");
    for (const wrong of ["{", "[1]", "12345678901234567890"]) {
      fill("edit", wrong);
      await press("approve-edited");
      expect(within(dialog).getByRole("alert").textContent).toBe("This is not a JSON object.");
    }
    fill("edit", '{"path": "b.txt", "text": "hello"}');
    await press("approve-edited");

    await waitFor(() => expect(dialog.open).toBe(false));
    const edited = { decision: "edit", parameters: { path: "b.txt", text: "hello" } };
    expect(await record(requests[0]!, session)).toMatchObject(edited);
  });

  it("is edited field by field, and says what is changed", async () => {
    const parameters = { path: "a.txt", text: "one\ntwo\nthree", mode: 8.50, deep: { keep: [1] } };
    const { dialog, actions, press, requests, role, session } = await sitDown({}, { tool_name: "write", parameters });
    await press("edit");
    const inside = within(dialog);
    const field = (name: string) => inside.getByLabelText<HTMLTextAreaElement>(name);
    expect(document.activeElement).toBe(field("text"));
    expect(["path", "text", "mode JSON", "deep JSON"].map((name) => field(name).value)).toEqual([
      "a.txt", "one\ntwo\nthree", "8.5", '{\n  "keep": [\n    1\n  ]\n}',
    ]);
    expect(role("changes")).toBe("Nothing is changed yet.");
    expect(actions()).toEqual(["exact", "edit-json", "approve-edited", "back", "later"]);

    fireEvent.change(field("mode JSON"), { target: { value: "{" } });
    await waitFor(() => expect(role("problem")).toMatch(/^mode: Line 1: /));
    expect(field("mode JSON").getAttribute("aria-describedby")).toBe(dialog.querySelector("[data-role=problem]")!.id);
    await press("approve-edited");
    expect(inside.getByRole("alert").textContent).toMatch(/^mode: Line 1: /);
    for (const injected of ['1, "path": "/etc/passwd"', "1}, {"]) {
      fireEvent.change(field("mode JSON"), { target: { value: injected } });
      await press("approve-edited");
    }
    expect((await record(requests[0]!, session)).status).toBe("pending");

    fireEvent.change(field("mode JSON"), { target: { value: "9.00" } });
    fireEvent.change(field("text"), { target: { value: "one\n\"2\"\nthree" } });
    await waitFor(() => expect(role("problem")).toBe(""));
    const changes = [...dialog.querySelectorAll("[data-role=changes] [data-line]")];
    expect(changes.map(({ textContent }) => textContent)).toEqual(["one", "two", '"2"', "three", "8.5", "9.00"]);
    await press("edit-json");
    expect(JSON.parse(dialog.querySelector<HTMLTextAreaElement>("[data-field=edit]")!.value)).toMatchObject({ mode: 9 });
    await press("back");
    await press("edit");
    fireEvent.keyDown(dialog.querySelector("[data-field=edit]")!, { key: "Enter", ctrlKey: true });

    await waitFor(() => expect(dialog.open).toBe(false));
    expect(await record(requests[0]!, session)).toMatchObject({
      decision: "edit",
      parameters: { path: "a.txt", text: 'one\n"2"\nthree', mode: 9, deep: { keep: [1] } },
    });
  });

  it.each([
    ["nothing", {}],
    ["what nobody sees", { text: "a\u202eb", path: "x" }],
  ])("with %s in them are edited as JSON", async (_what, parameters) => {
    const { actions, dialog, press } = await sitDown({}, { tool_name: "write", parameters });
    await press("edit");

    expect([...dialog.querySelectorAll("textarea")].map(({ dataset }) => dataset["field"])).toEqual(["edit"]);
    expect(actions()).not.toContain("edit-json");
  });

  it("are edited exactly where they are shown exactly, and not approved before they were seen", async () => {
    const { dialog, fill, press, requests, session } = await sitDown({}, WRITE);
    screenOfTest.isShown = false;
    await press("exact");
    await press("edit");
    fill("edit", '{"path": "b.txt"}');
    await press("approve-edited");

    expect(dialog.querySelector("[data-read]")).toBeNull();
    expect((await record(requests[0]!, session)).status).toBe("pending");
  });

  it("keeps characters that cannot be seen, as escapes, through an edit", async () => {
    const parameters = { text: "a\u202eb\u{e0041}c\u0007" };
    const { dialog, press, requests, session } = await sitDown({}, { tool_name: "write", parameters });
    await press("edit");
    const field = dialog.querySelector<HTMLTextAreaElement>("[data-field=edit]")!;
    expect(field.value).toBe('{\n  "text": "a\\u202eb\\udb40\\udc41c\\u0007"\n}');
    await press("approve-edited");

    await waitFor(() => expect(dialog.open).toBe(false));
    expect(await record(requests[0]!, session)).toMatchObject({ parameters });
  });

  it("responds in the tool's place", async () => {
    const { dialog, fill, press, requests, session } = await sitDown({}, WRITE);
    await press("respond");
    fill("respond", "it is there already");
    await press("send-response");

    await waitFor(() => expect(dialog.open).toBe(false));
    const responded = { decision: "respond", response: "it is there already" };
    expect(await record(requests[0]!, session)).toMatchObject(responded);
  });

  it("for the session says what it allows", async () => {
    const { button, dialog, press, requests, session } = await sitDown({}, WRITE);
    expect(button("approve-session").textContent).toMatch(
      /^Approve in this session: every call of "write_file", asked by "local", at risk \w+ or less$/,
    );
    await press("approve-session");

    await waitFor(() => expect(dialog.open).toBe(false));
    expect(await record(requests[0]!, session)).toMatchObject({ decision: "approve", scope: "session" });
  });

  it("rejects for the session, and says what", async () => {
    const { button, dialog, press, requests, session } = await sitDown({}, WRITE);
    expect(button("reject-session").textContent).toMatch(/^Reject in this session: every call of "write_file"/);
    await press("reject-session");

    await waitFor(() => expect(dialog.open).toBe(false));
    expect(await record(requests[0]!, session)).toMatchObject({ decision: "reject", scope: "session" });
  });

  it("is offered only as the request allows it", async () => {
    const few: Change = (request) => ({ ...request, allowed_decisions: ["approve", "reject"], scopes: ["once"] });
    const { actions } = await sitDown({ change: few }, WRITE);

    expect(actions()).toEqual(["exact", "approve", "reject", "later"]);
  });

  it("for good shows the exact rule, and is not offered without one", async () => {
    const change: Change = ({ suggested_rule: _, ...request }) => ({
      ...request,
      scopes: ["once", "always"],
      ...(request.tool_name === "write_file" ? { suggested_rule: "write_file(path: a*)" } : {}),
    });
    const { actions, button, press } = await sitDown({ change }, WRITE, { tool_name: "other" });
    expect(button("approve-always").textContent).toBe("Always approve: write_file(path: a*)");
    await press("approve");
    await screen.findByRole("heading", { name: /other/ });

    expect(actions()).not.toContain("approve-always");
  });

  it("to a click that was meant for another request is not taken", async () => {
    const { button, press, requests, session, dialog } = await sitDown({}, WRITE, { tool_name: "second" });
    await press("approve");
    await screen.findByRole("heading", { name: /second/ });
    fireEvent.click(button("approve"));
    expect(button("approve").getAttribute("aria-disabled")).toBe("true");

    await waitFor(() => expect(dialog.querySelector("[data-ready]")).not.toBeNull());
    expect((await record(requests[0]!, session)).status).toBe("approved");
    expect((await record(requests[1]!, session)).status).toBe("pending");
  });

  it("that is on its way is said, and sent once", async () => {
    let posts = 0;
    let arrive = (): void => undefined;
    const slow: typeof fetch = async (url, init) => {
      if (String(url).includes("permission-response")) {
        posts += 1;
        await new Promise<void>((resolve) => (arrive = resolve));
      }
      return fetch(url, init);
    };
    const { button, dialog, press } = await sitDown({ fetch: slow }, WRITE);
    await press("approve");
    expect(within(dialog).getByText("Sending…")).toBeTruthy();
    fireEvent.click(button("approve"));
    fireEvent.click(button("reject"));
    arrive();

    await waitFor(() => expect(dialog.open).toBe(false));
    expect(posts).toBe(1);
  });

  it("that does not arrive is said, and can be given again", async () => {
    let isDown = true;
    const broken: typeof fetch = async (url, init) => {
      if (isDown && String(url).includes("permission-response")) throw new TypeError("network is down");
      return fetch(url, init);
    };
    const { dialog, press, requests, session } = await sitDown({ fetch: broken }, WRITE);
    await press("approve");
    await waitFor(() => expect(within(dialog).getByRole("alert").textContent).toMatch(/does not answer/));
    isDown = false;
    await press("approve");

    await waitFor(() => expect(dialog.open).toBe(false));
    expect((await record(requests[0]!, session)).status).toBe("approved");
  });
});

describe("a refusal", () => {
  it.each([
    ["origin", { origin: "http://desk:5173", host: "127.0.0.1:8000" }, /A proxy is the cause.*http:\/\/desk:5173.*Host/],
    [undefined, {}, /may not do that/],
  ])("for the cause %s says what mends it", async (cause, details, said) => {
    const refusing: typeof fetch = async (url, init) => {
      if (!String(url).includes("permission-response")) return fetch(url, init);
      const error = { code: "forbidden", message: "You may not do that.", cause, ...details };
      return Response.json({ success: false, error }, { status: 403 });
    };
    const { dialog, press } = await sitDown({ fetch: refusing }, WRITE);
    await press("approve");

    await waitFor(() => expect(within(dialog).getByRole("alert").textContent).toMatch(said));
  });
});

describe("a request that ended otherwise", () => {
  it("stays, says so, and takes no answer", async () => {
    const { button, dialog, press, requests, session } = await sitDown({}, WRITE);
    await decide(requests[0]!, session, false);
    await waitFor(() => expect(within(dialog).getAllByRole("status")[0]!.textContent).toMatch(/^Already rejected/));

    expect(dialog.open).toBe(true);
    expect(button("approve").getAttribute("aria-disabled")).toBe("true");
    await press("next");
    await waitFor(() => expect(dialog.open).toBe(false));
  });

  it("leaves what somebody has written, also while another one is looked at", async () => {
    const { dialog, fill, listens, press, requests, session } = await sitDown({}, WRITE, { tool_name: "second" });
    await press("edit");
    await press("edit-json");
    fill("edit", '{"path": "mine"}');
    fill("reason", "as I said");
    await listens();
    fireEvent.keyDown(dialog.querySelector("h2")!, { key: "j" });
    await screen.findByRole("heading", { name: /second/ });
    await listens();
    fireEvent.keyDown(dialog.querySelector("h2")!, { key: "k" });
    await screen.findByRole("heading", { name: /write_file/ });
    await decide(requests[0]!, session, false);
    await waitFor(() => expect(within(dialog).getAllByRole("status")[0]!.textContent).toMatch(/^Already rejected/));

    expect(dialog.querySelector<HTMLTextAreaElement>("[data-field=edit]")!.value).toBe('{"path": "mine"}');
    expect(dialog.querySelector<HTMLInputElement>("[data-field=reason]")!.value).toBe("as I said");
  });

  it("says who won when two answer at once", async () => {
    const late: typeof fetch = async (url, init) => {
      if (String(url).includes("permission-response")) await decide(asked, session, false);
      return fetch(url, init);
    };
    const { dialog, press, requests, session } = await sitDown({ fetch: late }, WRITE);
    const asked = requests[0]!;
    await press("approve");

    await waitFor(() => expect(within(dialog).getAllByRole("status")[0]!.textContent).toMatch(/^Already rejected/));
  });

  it.each([
    ["expired", { timeout_seconds: 1 }, /^Nobody answered in time/],
    ["cancelled", {}, /^The request was withdrawn/],
  ])("says that it was %s", async (status, how, said) => {
    const { dialog, requests, session } = await sitDown({}, { ...WRITE, ...how });
    const path = `${service.url}/api/permissions/${session}/${requests[0]!.request_id}`;
    if (status === "cancelled") await fetch(path, { method: "DELETE" });

    const told = (): string => within(dialog).getAllByRole("status")[0]!.textContent;
    await waitFor(() => expect(told()).toMatch(said), { timeout: 5_000 });
  });
});

describe("what is shown", () => {
  it("is exactly what runs: nothing invisible, no markup", async () => {
    const parameters = { path: "<img src=x onerror=alert(1)>", name: "evil\u202egpj.exe" };
    const { container, role } = await sitDown({}, { tool_name: "r\u200bun", parameters, description: "<b>safe</b>" });

    expect(role("parameters")).toBe(
      '{\n  "path": "<img src=x onerror=alert(1)>",\n  "name": "evil\\u202egpj.exe"\n}',
    );
    expect(role("flags")).toBe("Contains characters that cannot be seen, shown as escapes: right-to-left override.");
    expect(role("description")).toBe("<b>safe</b>");
    expect(container.querySelector("h2")!.textContent).toContain("r\\u200bun");
    expect(container.querySelector("img, b")).toBeNull();
  });

  it("is never cut without a word", async () => {
    const parameters = { text: "x".repeat(9_000) + "\u202e" };
    const { button, press, role } = await sitDown({}, { tool_name: "write", parameters });
    const shown = role("parameters")!.length - button("show-all").textContent.length;
    expect(role("hidden")).toContain(`${(9_022 - shown).toLocaleString("en")} characters of the parameters are not shown.`);
    expect(role("flags")).toMatch("right-to-left override");

    await press("show-all");

    expect(role("parameters")).toHaveLength(9_022);
    expect(role("hidden")).toBeNull();
  });

  it("names the MCP server beside the tool, and whose word the risk is", async () => {
    const server = "mail\u202e";
    const { dialog, role } = await sitDown({}, { ...WRITE, server, risk_reasons: ["trust me"] });

    expect(role("server")).toBe("mail\\u202e");
    expect(within(dialog).getByRole("heading", { level: 2 }).textContent).toMatch(/write_file of the MCP server mail/);
    expect(dialog.textContent).toContain("words of who asks, not verified");
  });

  it("says risk, reasons, whose words the description is, and how long is left", async () => {
    const change: Change = (request) => ({
      ...request,
      reasons: [{ code: "deeds", text: "said already" }, { code: "policy", text: "it deletes" }],
      deeds: { does: ["deletes"], where: ["home"], paths: ["~/a"], reversible: false },
    });
    const request = { ...WRITE, risk_level: "high", description: "harmless", timeout_seconds: 125 };
    const { dialog, role } = await sitDown({ change }, request);

    expect(dialog.textContent).toContain("High risk");
    expect(dialog.textContent).toContain("it deletes");
    expect(dialog.textContent).not.toContain("said already");
    expect(role("deeds")).toBe("What it does: deletes, in a home folder: ~/a This cannot be taken back.");
    expect(dialog.textContent).toContain("The agent says (not verified)harmless");
    expect(role("countdown")).toMatch(/^Denied in 2:0\d unless somebody answers$/);
  });

  it("says which commands run, and what of them nobody can tell", async () => {
    const command = "timeout 5 rm 'a b'; ls; sudo x";
    const { dialog, role } = await sitDown({}, { tool_name: "Bash", parameters: { command } });
    const lines = [...dialog.querySelectorAll("[data-role=command] li")].map((line) => line.textContent);

    expect(lines).toEqual(["timeout 5 rm 'a b'", "→ rm 'a b'", "ls ", "sudo x"]);
    expect(role("unknown")).toBe("Nobody but a shell can tell what it runs: sudo runs what it is given");
  });

  it("does not change when more is asked", async () => {
    const { dialog, role, session } = await sitDown({}, WRITE);
    const card = dialog.querySelector("article");
    expect(role("position")).toBeNull();
    await service.ask(session, { tool_name: "second" });
    await service.ask(session, { tool_name: "third" });

    await waitFor(() => expect(role("position")).toBe("1 of 3"));
    expect(dialog.querySelector("article")).toBe(card);
  });

  it("is not what was answered before anybody could read it", async () => {
    sessions += 1;
    const session = `d${sessions}`;
    const asked = await service.ask(session, WRITE);
    await decide(asked, session, true);
    const opened = vi.spyOn(HTMLDialogElement.prototype, "showModal");
    // The whole log is told: that it was asked, and that it was answered.
    const { container } = render(<Page session={session} from="earliest" />);
    await service.ask(session, { tool_name: "second" });
    await waitFor(() => expect(container.querySelector("h2")?.textContent).toContain("second"));

    expect(opened).toHaveBeenCalledTimes(1);
    opened.mockRestore();
  });

  it("is Chinese where that is wanted", async () => {
    const { button, dialog } = await sitDown({ labels: CHINESE }, WRITE);

    expect(button("approve").textContent).toBe("批准");
    expect(dialog.textContent).toContain("中风险");
  });
});

describe("parameters", () => {
  it("are exact by one key or button, in letters that everybody can tell apart, and back", async () => {
    const { button, dialog, listens, press, role } = await sitDown({}, { tool_name: "say", parameters: { text: "naïve" } });
    expect(role("parameters")).toBe("textnaïve");
    await press("exact");
    expect(role("parameters")).toBe('{\n  "text": "na\\u00efve"\n}');
    expect(button("exact").getAttribute("aria-pressed")).toBe("true");
    await listens();
    fireEvent.keyDown(document.activeElement!, { key: "x" });

    expect(dialog.querySelector("[data-role=parameters]")!.getAttribute("data-shape")).toBe("fields");
  });

  it("are drawn by the application where it wants, but for what would not be seen", async () => {
    const renderBody: RenderBody = ({ shape }, { tool_name }) => (tool_name === "other" ? undefined : <p>my {shape}</p>);
    const hostile = { tool_name: "hostile", parameters: { path: "a\u202eb", text: "c" } };
    const { press, role } = await sitDown({ renderBody }, WRITE, { ...WRITE, tool_name: "other" }, hostile);
    expect(role("parameters")).toBe("my file");
    await press("exact");
    expect(role("parameters")).toContain('"path": "a.txt"');
    await press("approve");
    await screen.findByRole("heading", { name: /other/ });
    expect(role("parameters")).toContain("hello");
    await press("approve");
    await screen.findByRole("heading", { name: /hostile/ });

    expect(role("parameters")).toContain("a\\u202eb");
  });

  it("that cannot be shown cannot be approved", async () => {
    let deep: unknown = [];
    for (let depth = 0; depth < 20_000; depth += 1) deep = [deep];
    const change: Change = (request) => ({ ...request, parameters: { deep } });
    const { actions, role } = await sitDown({ change }, WRITE);

    expect(role("parameters")).toContain("cannot be approved here");
    expect(actions()).toEqual(["reject-session", "reject", "respond", "later"]);
  });
});

describe("what has not been on the screen", () => {
  it.each(["approve", "approve-session"])("is not approved at a high risk: %s", async (action) => {
    screenOfTest.isShown = false;
    const { button, dialog, listens, press, requests, role, session } = await sitDown({}, { ...WRITE, risk_level: "high" });
    for (let presses = 0; presses < 3; presses += 1) await press(action);
    expect(dialog.querySelector("[data-armed]")).toBeNull();
    expect(dialog.querySelector("[data-role=reading] :not([data-replaced])")!.textContent).toMatch(/^Read it to the end/);
    scrollToTheEnd();
    expect(role("reading")).toContain("two presses");
    await press(action);
    expect(button(action).textContent).toContain("Press again");
    expect((await record(requests[0]!, session)).status).toBe("pending");
    await listens();
    await press(action);

    await waitFor(() => expect(dialog.open).toBe(false));
    expect((await record(requests[0]!, session)).status).toBe("approved");
  });

  it("is shown by the press that would approve, which does no more: what was folded", async () => {
    const content = Array.from({ length: 500 }, (_, line) => `line ${line}`).join("\n");
    const { button, press, requests, role, session } = await sitDown({}, { tool_name: "write", parameters: { path: "a", content } });
    expect(button("show-all").textContent).toMatch(/characters hidden/);
    expect(role("parameters")).not.toContain("line 250");
    await press("approve");

    expect(role("parameters")).toContain("line 250");
    expect(role("hidden")).toBeNull();
    expect((await record(requests[0]!, session)).status).toBe("pending");
  });

  it("is not approved at a lower risk either, and then by one press", async () => {
    screenOfTest.isShown = false;
    const { dialog, press, requests, role, session } = await sitDown({}, { ...WRITE, risk_level: "medium" });
    await press("approve");
    expect(role("reading")).toMatch(/^Read it to the end/);
    expect((await record(requests[0]!, session)).status).toBe("pending");
    scrollToTheEnd();
    expect(role("reading")).toBeNull();
    await press("approve");

    await waitFor(() => expect(dialog.open).toBe(false));
    expect((await record(requests[0]!, session)).status).toBe("approved");
  });

  it("has to be seen again when it is drawn anew", async () => {
    const { dialog, press } = await sitDown({}, { ...WRITE, risk_level: "high" });
    await waitFor(() => expect(dialog.querySelector("[data-read]")).not.toBeNull());
    screenOfTest.isShown = false;
    await press("exact");

    expect(dialog.querySelector("[data-read]")).toBeNull();
  });

  it("is not run as edited either, at a high risk without two presses", async () => {
    const { button, dialog, fill, press, requests, session } = await sitDown({}, { ...WRITE, risk_level: "high" });
    await press("edit");
    await press("edit-json");
    fill("edit", '{"path": "b.txt"}');
    await press("approve-edited");
    expect(button("approve-edited").textContent).toContain("Press again");
    expect((await record(requests[0]!, session)).status).toBe("pending");
    await press("approve-edited");

    await waitFor(() => expect(dialog.open).toBe(false));
    expect(await record(requests[0]!, session)).toMatchObject({ decision: "edit", parameters: { path: "b.txt" } });
  });
});

describe("the keyboard", () => {
  it.each([
    ["high", "BUTTON"],
    ["medium", "H2"],
  ])("begins where nothing happens by mistake, with risk %s", async (risk_level, element) => {
    const { dialog } = await sitDown({}, { ...WRITE, risk_level });
    const focused = document.activeElement as HTMLElement;

    expect(dialog.contains(focused)).toBe(true);
    expect(focused.tagName).toBe(element);
    if (risk_level === "high") expect(focused.dataset["action"]).toBe("reject");
  });

  it("answers by the letters of the console and the terminal", async () => {
    const { dialog, listens, requests, session } = await sitDown({}, WRITE, { tool_name: "second" }, { tool_name: "third" });
    await listens();
    fireEvent.keyDown(document.activeElement!, { key: "j" });
    await screen.findByRole("heading", { name: /second/ });
    await listens();
    fireEvent.keyDown(document.activeElement!, { key: "a" });
    await screen.findByRole("heading", { name: /write_file/ });
    await listens();
    fireEvent.keyDown(document.activeElement!, { key: "r" });
    await screen.findByRole("heading", { name: /third/ });
    await listens();
    fireEvent.keyDown(document.activeElement!, { key: "p" });

    expect(dialog.querySelector("[data-field=respond]")).toBe(document.activeElement);
    const statuses = await Promise.all(requests.map(async (one) => (await record(one, session)).status));
    expect(statuses).toEqual(["rejected", "approved", "pending"]);
  });

  it("answers nothing while somebody goes on with what they were writing when the card came", async () => {
    const { dialog, listens, requests, session } = await sitDown({}, { ...WRITE, risk_level: "high" });
    for (const key of ["d", "e", "a", "r"]) fireEvent.keyDown(document.activeElement!, { key });
    await listens();
    for (const key of ["a", "A", "r", "s"]) fireEvent.keyDown(document.activeElement!, { key, shiftKey: key === "A" });
    fireEvent.click(document.activeElement!); // what Enter makes of it

    expect(dialog.open).toBe(true);
    expect((await record(requests[0]!, session)).status).toBe("pending");
  });

  it.each(["approve", "approve-session"])("and the pointer take two presses for %s at a high risk", async (action) => {
    const { button, dialog, listens, press, requests, session } = await sitDown({}, { ...WRITE, risk_level: "high" });
    await press(action);
    fireEvent.click(button(action), { detail: 2 }); // a double click is one press
    expect(button(action).textContent).toContain("Press again");
    expect((await record(requests[0]!, session)).status).toBe("pending");
    await listens();
    fireEvent.click(button(action), { detail: 1 });

    await waitFor(() => expect(dialog.open).toBe(false));
    expect((await record(requests[0]!, session)).status).toBe("approved");
  });

  it("answers nothing by Escape: a button brings the dialog back", async () => {
    const { dialog, getByText, requests, session } = await sitDown({}, WRITE);
    act(() => dialog.close()); // what a browser makes of Escape
    fireEvent.click(await waitFor(() => getByText("1 request waits for an answer")));

    await waitFor(() => expect(dialog.open).toBe(true));
    expect((await record(requests[0]!, session)).status).toBe("pending");
  });

  it("gets the dialog back by itself when something new is asked", async () => {
    const { dialog, press, session } = await sitDown({}, WRITE);
    await press("later");
    await waitFor(() => expect(dialog.open).toBe(false));
    await service.ask(session, { tool_name: "second" });

    await waitFor(() => expect(dialog.open).toBe(true));
    expect(dialog.querySelector("h2")!.textContent).toContain("second");
  });
});

it("leaves no timer behind", async () => {
  const { requests } = await sitDown({}, WRITE);
  vi.useFakeTimers();
  function Alone() {
    const session = useSession("none", { baseUrl: service.url, EventSource: Silent, shareTabs: false });
    return <PermissionDialog session={{ ...session, pending: requests }} />;
  }
  const { container, unmount } = render(<Alone />);
  await act(() => vi.advanceTimersByTimeAsync(100));
  expect(container.querySelector("dialog")!.open).toBe(true);
  expect(vi.getTimerCount()).toBeGreaterThan(1);
  unmount();

  await act(() => vi.advanceTimersByTimeAsync(0));
  expect(vi.getTimerCount()).toBe(0);
});

/** A stream that never says anything. */
const Silent = class extends EventTarget {
  close(): void {}
} as unknown as typeof globalThis.EventSource;
