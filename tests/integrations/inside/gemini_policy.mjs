// What Gemini CLI's policy engine says of calls: [{toml, calls: [{tool, parameters, server}]}] in, decisions out.
import { writeFileSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { loadPoliciesFromToml } from "@google/gemini-cli-core/dist/src/policy/toml-loader.js";
import { PolicyEngine } from "@google/gemini-cli-core/dist/src/policy/policy-engine.js";

// It tells on standard output what it looks at.
console.debug = console.log = console.warn = () => {};
const folder = mkdtempSync(join(tmpdir(), "policies-"));
const answers = [];
for (const { toml, calls } of await json(process.stdin)) {
  const file = join(folder, "policy.toml");
  writeFileSync(file, toml);
  const { rules, errors } = await loadPoliciesFromToml([file], () => 4);
  const engine = new PolicyEngine({ rules, nonInteractive: false });
  const decisions = [];
  for (const { tool, parameters, server } of calls) {
    const { decision } = await engine.check({ name: tool, args: parameters }, server ?? undefined);
    decisions.push(decision);
  }
  answers.push({ decisions, errors: errors.filter((error) => error.severity !== "warning").map((error) => error.message) });
}
process.stdout.write(JSON.stringify(answers), () => process.exit(0));
