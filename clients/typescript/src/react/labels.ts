import type { NotifierError } from "../errors.js";
import type { PermissionRecord } from "../wire.js";

type Status = PermissionRecord["status"];

/** Every text of the dialog. What comes from the agent or from people is put in as it is shown, never as markup. */
export interface PermissionLabels {
  /** Before the name of the tool. */
  title: string;
  /** Between the name of the tool and that of the MCP server that has it. */
  server: string;
  position: (position: number, total: number) => string;
  risk: Record<PermissionRecord["risk_level"], string>;
  /** Before what the call does and where, as far as the service can tell. */
  does: string;
  /** By the names of the wire: `deletes`, … */
  deeds: Readonly<Record<string, string>>;
  /** By the names of the wire: `network`, … */
  places: Readonly<Record<string, string>>;
  isFinal: string;
  isReversible: string;
  riskReasons: string;
  /** The same where whoever asks rates its own call. */
  producersReasons: string;
  /** Before the commands that run, where the call holds them. */
  runs: string;
  /** How many more there are. */
  moreRuns: (count: number) => string;
  /** What of a command only a shell can tell, in the service's English words. */
  unknownRuns: (why: string) => string;
  description: string;
  parameters: string;
  noParameters: string;
  /** What shows them as JSON in which every character is one of ASCII. */
  exact: string;
  /** Beside what the agent says among the parameters. */
  agentsWords: string;
  removed: string;
  added: string;
  /** What these characters are folded into, and shows. */
  showAll: (characters: number) => string;
  /** Beside what answers, as long as so many are folded. */
  hidden: (characters: number) => string;
  /** Characters that are shown as escapes, by their English names. */
  unseen: (names: readonly string[]) => string;
  /** Letters that only look like others, which are shown as escapes. */
  posing: (letters: readonly string[]) => string;
  unshowable: string;
  inexact: string;
  /** Parameters that no event can hold are on their way. */
  reading: (bytes: number) => string;
  unread: (bytes: number, problem: string) => string;
  readAgain: string;
  expiresIn: (minutesAndSeconds: string) => string;
  reason: string;
  approve: string;
  /** What approving waits for. */
  readFirst: string;
  /** What approving takes then. */
  twice: string;
  /** Now all is shown, which is all that the press did. */
  nowAll: string;
  /** What approving says after its first press, when the risk is high. */
  again: string;
  /** Before the rule that is allowed from then on. */
  approveFor: Record<"session" | "always", string>;
  /** Before the name of the tool, where no rule is suggested. */
  everyCall: string;
  reject: string;
  rejectForSession: string;
  edit: string;
  /** Above the field of all parameters. */
  edited: string;
  editing: {
    /** Turns the fields into one of JSON. */
    asJson: string;
    /** Above what is changed. */
    changes: string;
    same: string;
    /** What the browser says of JSON that is none, and on which line. */
    problem(line: number | null, message: string): string;
  };
  approveEdited: string;
  notAnObject: string;
  respond: string;
  response: string;
  sendResponse: string;
  back: string;
  later: string;
  waiting: (count: number) => string;
  sending: string;
  notConnected: string;
  /** How a request ended; `by` is who decided, if that is known. */
  over: (status: Status, by: string | null) => string;
  next: string;
  close: string;
  /** Where something is asked instead of a call. */
  questions: QuestionLabels;
  /** What the keys do. */
  keys: string;
  /** And for who may only look on. */
  keysLooking: string;
  /** In the place of what answers, where the token may not. */
  onlyLook: string;
  /** A proxy changed what the service is asked as: why it refuses, and the line that mends it. */
  originChanged: (origin: string, host: string) => string;
  /** What to say for an error instead of the service's own English words, by its code. */
  errors: Readonly<Record<string, string>>;
}

/** What stands beside questions that a person is to answer. */
export interface QuestionLabels {
  title: string;
  send: string;
  own: string;
  optional: string;
  several: string;
  open: string;
  yes: string;
  no: string;
  /** How many more options there are than are shown. */
  more: (count: number) => string;
}

const STATUS_IN_ENGLISH: Record<Status, string> = {
  pending: "This request is not pending any more",
  approved: "Already approved",
  rejected: "Already rejected",
  expired: "Nobody answered in time; the call was denied",
  cancelled: "The request was withdrawn",
};

export const ENGLISH: PermissionLabels = {
  title: "The agent asks to run",
  server: "of the MCP server",
  position: (position, total) => `${position} of ${total}`,
  risk: { low: "Low risk", medium: "Medium risk", high: "High risk" },
  does: "What it does:",
  deeds: {
    reads: "reads",
    writes: "writes",
    deletes: "deletes",
    runs: "runs a program",
    sends: "sends something out",
    spends: "spends money",
  },
  places: {
    workspace: "in the workspace",
    home: "in a home folder",
    system: "in the system’s folders",
    elsewhere: "outside of the workspace",
    network: "over the network",
  },
  isFinal: "This cannot be taken back.",
  isReversible: "This can be taken back.",
  riskReasons: "Why it asks",
  producersReasons: "Why it asks (words of who asks, not verified)",
  runs: "It runs",
  moreRuns: (count) => `and ${count} more, which the parameters tell`,
  unknownRuns: (why) => `Nobody but a shell can tell what it runs: ${why}`,
  description: "The agent says (not verified)",
  parameters: "Parameters",
  noParameters: "No parameters.",
  exact: "Exactly",
  agentsWords: "the agent’s own words, not verified",
  removed: "removed",
  added: "added",
  showAll: (characters) => `${characters.toLocaleString("en")} characters hidden – show all`,
  hidden: (characters) =>
    `${characters.toLocaleString("en")} characters of the parameters are not shown. Approving shows them first.`,
  unseen: (names) => `Contains characters that cannot be seen, shown as escapes: ${names.join(", ")}.`,
  posing: (letters) => `Letters that only look like others are shown as escapes: ${letters.join(", ")}.`,
  unshowable: "These parameters cannot be shown here, so they cannot be approved here.",
  inexact: "This browser cannot show numbers of so many digits exactly.",
  reading: (bytes) => `These parameters have ${bytes.toLocaleString("en")} bytes; all of them are being read…`,
  unread: (bytes, problem) =>
    `These parameters have ${bytes.toLocaleString("en")} bytes, and could not be read: ${problem} Without them nobody can ` +
    "approve here.",
  readAgain: "Read them again",
  expiresIn: (time) => `Denied in ${time} unless somebody answers`,
  reason: "Reason, told to the agent (optional)",
  approve: "Approve",
  readFirst: "Read it to the end first: not all of it was on the screen yet.",
  twice: "All of it was on the screen. Approving takes two presses.",
  nowAll: "Now all of it is shown. Look at it, then decide.",
  again: "Press again",
  approveFor: { session: "Approve in this session:", always: "Always approve:" },
  everyCall: "every call of",
  reject: "Reject",
  rejectForSession: "Reject in this session:",
  edit: "Edit…",
  edited: "Parameters to run with, as JSON",
  editing: {
    asJson: "As JSON",
    changes: "What you change",
    same: "Nothing is changed yet.",
    problem: (line, message) => (line === null ? `Not JSON: ${message}` : `Line ${line}: ${message}`),
  },
  approveEdited: "Approve as edited",
  notAnObject: "This is not a JSON object.",
  respond: "Respond…",
  response: "Answer in the tool’s place; the tool does not run",
  sendResponse: "Send response",
  back: "Back",
  later: "Later",
  waiting: (count) => (count === 1 ? "1 request waits for an answer" : `${count} requests wait for an answer`),
  sending: "Sending…",
  notConnected: "Not connected: what is shown may be out of date.",
  over: (status, by) => `${STATUS_IN_ENGLISH[status]}${by === null ? "" : ` by ${by}`}.`,
  next: "Next",
  close: "Close",
  questions: {
    title: "The agent asks",
    send: "Send answer",
    own: "In your own words",
    optional: "(optional)",
    several: "(choose one or more)",
    open: "This is not answered yet.",
    yes: "Yes",
    no: "No",
    more: (count) => `and ${count} more, which the parameters tell`,
  },
  keys: "A approve · S for the session · R reject · E edit · P respond · J next · K previous · X exactly · ? keys · Esc later",
  keysLooking: "J next · K previous · X exactly · ? keys · Esc later",
  onlyLook: "Your token may watch, but not decide.",
  originChanged: (origin, host) =>
    `A proxy is the cause: this page is of ${origin}, and the service was asked as ${host}. The proxy must pass Host on ` +
    "unchanged. nginx: proxy_set_header Host $http_host; Apache: ProxyPreserveHost On – Vite: changeOrigin: false – " +
    `or start the service with --allowed-origins ${origin}`,
  errors: {},
};

const STATUS_IN_CHINESE: Record<Status, string> = {
  pending: "此请求已不再等待处理",
  approved: "已批准",
  rejected: "已拒绝",
  expired: "无人及时答复，调用已被拒绝",
  cancelled: "请求已撤回",
};

export const CHINESE: PermissionLabels = {
  title: "智能体请求运行",
  server: "，所属 MCP 服务器：",
  position: (position, total) => `第 ${position} 项，共 ${total} 项`,
  risk: { low: "低风险", medium: "中风险", high: "高风险" },
  does: "此调用：",
  deeds: { reads: "读取", writes: "写入", deletes: "删除", runs: "运行程序", sends: "向外发送", spends: "花费金钱" },
  places: {
    workspace: "在工作区内",
    home: "在主目录中",
    system: "在系统目录中",
    elsewhere: "在工作区之外",
    network: "通过网络",
  },
  isFinal: "无法撤销。",
  isReversible: "可以撤销。",
  riskReasons: "为何询问",
  producersReasons: "为何询问（请求方的说法，未经核实）",
  runs: "运行",
  moreRuns: (count) => `另有 ${count} 条命令，见参数`,
  unknownRuns: (why) => `无法预知运行什么：${why}`,
  description: "智能体的说明（未经核实）",
  parameters: "参数",
  noParameters: "无参数。",
  exact: "原样",
  agentsWords: "智能体自己的说法，未经核实",
  removed: "删除",
  added: "新增",
  showAll: (characters) => `已隐藏 ${characters.toLocaleString("zh")} 个字符 – 全部显示`,
  hidden: (characters) => `参数中还有 ${characters.toLocaleString("zh")} 个字符未显示，批准前会先全部显示。`,
  unseen: (names) => `包含不可见字符，已显示为转义：${names.join("、")}。`,
  posing: (letters) => `外形相似、容易混淆的字母已显示为转义：${letters.join("、")}。`,
  unshowable: "无法在此显示这些参数，因此不能在此批准。",
  inexact: "此浏览器无法精确显示位数这么多的数字。",
  reading: (bytes) => `参数共 ${bytes.toLocaleString("zh")} 字节，正在读取全部内容…`,
  unread: (bytes, problem) =>
    `参数共 ${bytes.toLocaleString("zh")} 字节，读取失败：${problem}未读取全部参数前无法在此批准。`,
  readAgain: "重新读取",
  expiresIn: (time) => `若无人答复，将在 ${time} 后拒绝`,
  reason: "理由，将告知智能体（可选）",
  approve: "批准",
  readFirst: "请先看完：尚有内容未在屏幕上显示过。",
  twice: "内容已全部显示过。批准需按两次。",
  nowAll: "已全部显示，请查看后再决定。",
  again: "再按一次",
  approveFor: { session: "在此会话中批准：", always: "始终批准：" },
  everyCall: "所有调用",
  reject: "拒绝",
  rejectForSession: "在本会话中拒绝：",
  edit: "编辑…",
  edited: "运行所用的参数（JSON）",
  editing: {
    asJson: "以 JSON 修改",
    changes: "您的改动",
    same: "尚未改动。",
    problem: (line, message) => (line === null ? `不是有效的 JSON：${message}` : `第 ${line} 行：${message}`),
  },
  approveEdited: "按修改批准",
  notAnObject: "这不是 JSON 对象。",
  respond: "代答…",
  response: "代替工具作答；工具不会运行",
  sendResponse: "发送答复",
  back: "返回",
  later: "稍后",
  waiting: (count) => `${count} 个请求等待答复`,
  sending: "正在发送…",
  notConnected: "未连接：显示的内容可能已过时。",
  over: (status, by) => `${STATUS_IN_CHINESE[status]}${by === null ? "" : `（${by}）`}。`,
  next: "下一项",
  close: "关闭",
  questions: {
    title: "智能体提问",
    send: "发送回答",
    own: "用您自己的话回答",
    optional: "（可选）",
    several: "（可多选）",
    open: "此项尚未回答。",
    yes: "是",
    no: "否",
    more: (count) => `另有 ${count} 个选项，见参数`,
  },
  keys: "A 批准 · S 在本会话中批准 · R 拒绝 · E 编辑 · P 代答 · J 下一项 · K 上一项 · X 精确显示 · ? 按键 · Esc 稍后",
  keysLooking: "J 下一项 · K 上一项 · X 精确显示 · ? 按键 · Esc 稍后",
  onlyLook: "您的令牌可以观看，但无权决定。",
  originChanged: (origin, host) =>
    `原因在代理：本页面来自 ${origin}，而服务收到的主机名是 ${host}。代理必须原样传递 Host。` +
    "nginx：proxy_set_header Host $http_host; Apache：ProxyPreserveHost On；Vite：changeOrigin: false；" +
    `或以 --allowed-origins ${origin} 启动服务`,
  errors: {
    unreachable: "服务没有响应。",
    unauthenticated: "令牌缺失、无效或已过期。",
    forbidden: "您无权这样做。",
    edit_denied: "策略不允许以这些参数运行。",
    self_approval: "此请求是以您的名义或您的令牌提出的，须由他人批准；您可以拒绝。",
    decision_not_offered: "此请求不接受这种答复。",
    parameters_changed: "参数已不是所显示的参数。",
    too_large: "答复过大。",
    limit_reached: "请求过多，请稍后再试。",
    shutting_down: "服务正在关闭。",
  },
};

/** What a refusal says: of a proxy that changed the page's origin, what mends it; else the words for its code. */
export function inWords({ code, message, details }: NotifierError, labels: PermissionLabels): string {
  const { cause, origin, host } = details;
  if (code === "forbidden" && cause === "origin") return labels.originChanged(String(origin), String(host));
  return labels.errors[code] ?? message;
}
