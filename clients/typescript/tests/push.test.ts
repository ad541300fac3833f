/** What the service pushes is read by a library of other people, and by Node's own cryptography it is known who sends it. */

import { createECDH, createPublicKey, randomBytes, verify } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";

// It brings no types.
// @ts-expect-error
import ece from "http_ece";
import { afterAll, beforeAll, expect, it } from "vitest";

import { startService, type Service } from "./service.js";

interface Pushed {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

const SECRET = "correct-horse-battery";
const base64url = (data: Buffer): string => data.toString("base64url");

let service: Service;
let pushService: Server;
let origin: string;
const pushes: Pushed[] = [];

beforeAll(async () => {
  pushService = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    pushes.push({ path: request.url ?? "", headers: request.headers, body: Buffer.concat(parts) });
    response.writeHead(201, { Location: "/message/1" }).end();
    pushService.emit("pushed");
  });
  pushService.listen(0, "127.0.0.1");
  await once(pushService, "listening");
  origin = `http://127.0.0.1:${(pushService.address() as AddressInfo).port}`;
  service = await startService("--push-contact", "mailto:me@example.org");
});
afterAll(async () => {
  await service.kill();
  pushService.close();
});

async function call(method: string, path: string, body?: object): Promise<never> {
  const how = body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  const answer = (await (await fetch(`${service.url}/api/${path}`, { method, ...how })).json()) as { data: never };
  return answer.data;
}

async function pushed(count: number): Promise<Pushed> {
  while (pushes.length < count) await once(pushService, "pushed");
  return pushes[count - 1]!;
}

it("asks, and says that it is settled, as RFC 8030, 8291 and 8292 want it", async () => {
  const browser = createECDH("prime256v1");
  const keys = { p256dh: base64url(browser.generateKeys()), auth: base64url(randomBytes(16)) };
  const { key } = (await call("GET", "push/key")) as { key: string };
  await call("POST", "push/subscriptions", { endpoint: `${origin}/push/one`, keys, language: "zh", label: "phone" });
  await call("POST", "sessions/s1", { title: "整理" });
  const asked = await service.ask("s1", { tool_name: "删除", parameters: { password: SECRET }, risk_level: "high" });
  const first = await pushed(1);
  await call("POST", "sse/permission-response/s1", { approved: true, request_id: asked.request_id });
  const second = await pushed(2);

  const read = (push: Pushed): Record<string, unknown> => {
    const given = { version: "aes128gcm", privateKey: browser, authSecret: keys.auth };
    return JSON.parse((ece.decrypt(push.body, given) as Buffer).toString()) as Record<string, unknown>;
  };
  expect(read(first)).toMatchObject({
    kind: "permission_request",
    session_id: "s1",
    request_id: asked.request_id,
    tool_name: "删除",
    risk_level: "high",
    summary: "删除 等待您的决定（高风险） · 整理",
    actions: ["open"],
  });
  expect(read(second)).toMatchObject({ kind: "settled", request_id: asked.request_id, status: "approved" });
  const other = createECDH("prime256v1");
  other.generateKeys();
  expect(() => ece.decrypt(first.body, { version: "aes128gcm", privateKey: other, authSecret: keys.auth })).toThrow();

  for (const push of [first, second]) {
    expect(push.path).toBe("/push/one");
    expect(push.body.length).toBeLessThanOrEqual(4096);
    expect(JSON.stringify(read(push))).not.toContain(SECRET);
    expect(push.headers).toMatchObject({ "content-encoding": "aes128gcm", topic: first.headers["topic"] });
    expect(push.headers["topic"]).toMatch(/^[A-Za-z0-9_-]{1,32}$/);
    const [, token, sender] = /^vapid t=([^,]+), k=(.+)$/.exec(push.headers.authorization ?? "") ?? [];
    expect(sender).toBe(key);
    const [head, claims, signature] = token!.split(".") as [string, string, string];
    const point = Buffer.from(key, "base64url");
    const [x, y] = [base64url(point.subarray(1, 33)), base64url(point.subarray(33))];
    const publicKey = createPublicKey({ format: "jwk", key: { kty: "EC", crv: "P-256", x, y } });
    const signed = { key: publicKey, dsaEncoding: "ieee-p1363" } as const;
    expect(verify("sha256", Buffer.from(`${head}.${claims}`), signed, Buffer.from(signature, "base64url"))).toBe(true);
    expect(JSON.parse(Buffer.from(head, "base64url").toString())).toEqual({ typ: "JWT", alg: "ES256" });
    const told = JSON.parse(Buffer.from(claims, "base64url").toString()) as { aud: string; exp: number; sub: string };
    expect([told.aud, told.sub]).toEqual([origin, "mailto:me@example.org"]);
    expect(told.exp - Date.now() / 1000).toBeLessThanOrEqual(24 * 3600);
    expect(told.exp - Date.now() / 1000).toBeGreaterThan(0);
  }
  expect([first.headers["urgency"], second.headers["urgency"]]).toEqual(["high", "normal"]);
  expect(Number(first.headers["ttl"])).toBeGreaterThan(290);
  expect(Number(first.headers["ttl"])).toBeLessThanOrEqual(300);
});
