import { IDLE, Link } from "./connection.js";
import { NotifierError } from "./errors.js";
import { Follower } from "./follower.js";
import { readerOptions, timingOf } from "./options.js";
import { isLate, watchPage } from "./page.js";
import { tellWhetherVisible } from "./presence.js";
import { Reader } from "./reader.js";
import { canShare, Tabs } from "./tabs.js";
/** Reads what the service tells, and comes back whatever happens; one tab of a browser reads for all of them. */
export class Live {
    link = new Link(() => this.#source.changed());
    #http;
    #options;
    #source;
    #reader = null;
    #tabs = null;
    #follower = null;
    #work = null;
    constructor(http, options, source) {
        this.#http = http;
        this.#options = options;
        this.#source = source;
    }
    /** Begin to read; what is heard already stays known. Without effect while it reads. */
    connect() {
        if (this.#work !== null)
            return;
        const work = new AbortController();
        this.#work = work;
        this.link.report({ ...IDLE, phase: "connecting" });
        this.#watchPage(work.signal);
        if (this.#options.tellPresence === true)
            tellWhetherVisible(this.#http, this.#source.sessionId, work.signal);
        this.#run(work.signal).then(() => undefined, (error) => this.#end(new NotifierError("unexpected", String(error))));
    }
    /** Stop reading. `connect` goes on where this ended. */
    disconnect() {
        this.#stop();
        this.link.report(IDLE);
    }
    /** Try now, and do not wait for the next attempt; also after it ended. */
    reconnect() {
        if (this.#work === null)
            this.connect();
        else if (this.#reader !== null)
            this.#reader.restart();
        else
            this.#tabs?.ask("restart");
    }
    /** Ask now for what was missed. */
    async refresh() {
        await this.#source.ask(this.#work?.signal ?? new AbortController().signal, 0);
    }
    async #run(signal) {
        if (!(this.#options.shareTabs ?? true) || !canShare())
            return this.#read(signal);
        const follower = new Follower(this.#reading(), this.link, {
            steal: () => this.#tabs?.steal(),
            end: (reason) => this.#end(reason),
        });
        const tabs = new Tabs(`notifier ${this.#http.identity} ${this.#source.name}`, {
            lead: (until) => this.#read(until),
            follow: (until) => void follower.follow(until),
            told: (message) => follower.told(message, signal),
            asked: (kind) => {
                if (kind === "restart")
                    this.#reader?.restart();
                this.#tellConnection();
            },
        });
        this.#tabs = tabs;
        this.#follower = follower;
        try {
            await tabs.run(signal);
        }
        finally {
            if (this.#tabs === tabs)
                this.#tabs = this.#follower = null;
        }
    }
    /** Read in this tab, and tell the others. */
    async #read(signal) {
        const reading = this.#reading();
        const { transports, ...options } = readerOptions(this.#options, reading.EventSource !== undefined);
        const possible = transports.filter((transport) => this.#source.isHeld || transport !== "long-poll");
        const reader = new Reader(reading, { ...options, transports: possible }, (change) => {
            this.link.report(change);
            this.#tellConnection();
        });
        this.#reader = reader;
        try {
            const reason = await reader.run(signal);
            if (reason === null)
                return;
            if (reason.code === "session_closed")
                this.#tabs?.tell({ kind: "ended", code: reason.code, message: reason.message });
            this.#end(reason);
        }
        finally {
            if (this.#reader === reader)
                this.#reader = null;
        }
    }
    #tellConnection() {
        const { now: connection, heartbeatSeconds, mayApprove } = this.link;
        this.#tabs?.tell({ kind: "connection", connection, heartbeatSeconds, mayApprove });
    }
    #reading() {
        const options = this.#options;
        const { paths, feed, begin, ask } = this.#source;
        return {
            http: this.#http,
            paths,
            feed,
            begin,
            ask,
            EventSource: options.EventSource ?? globalThis.EventSource,
            timing: timingOf(options),
            heard: (said) => {
                this.link.heard();
                this.#tabs?.tell(said === null ? { kind: "alive" } : { kind: "said", text: said() });
            },
            opened: () => this.#source.opened(),
        };
    }
    #watchPage(signal) {
        watchPage(signal, {
            isLate: () => isLate(this.link),
            reconnect: () => this.reconnect(),
            seen: () => {
                if (this.#reader === null)
                    void this.#follower?.catchUp(signal);
            },
            offline: () => {
                // It may be only half the truth: what is open goes on being heard where the service is on this machine.
                if (this.#reader !== null)
                    this.#source.ask(signal, 0).catch(() => this.#reader?.restart());
            },
            leave: () => this.#stop(),
            comeBack: () => this.connect(),
        });
    }
    #end(reason) {
        this.#stop();
        this.link.report({ ...IDLE, phase: "ended", error: reason });
        this.#source.ended(reason);
    }
    #stop() {
        this.#work?.abort();
        this.#work = null;
    }
}
