// The types of the wire, made from the service's own schema:
//   notifier-service schema | node scripts/generate.mjs > src/wire.ts
import { readFileSync } from "node:fs";
import { compile } from "json-schema-to-typescript";

const { $defs, $schema, ...event } = JSON.parse(readFileSync(0, "utf8"));
const types = event.anyOf.map(({ $ref }) => $defs[$ref.split("/").at(-1)].properties.type.const);

const SAYS_WHAT = ["type", "anyOf", "$ref", "enum", "const"];

// A schema that admits anything is `unknown`; the compiler would take it for an object.
for (const definition of Object.values($defs)) {
  if (!SAYS_WHAT.some((key) => key in definition)) definition.tsType = "unknown";
  for (const property of Object.values(definition.properties ?? {})) {
    for (const part of [property, property.items ?? property]) {
      if (!SAYS_WHAT.some((key) => key in part)) part.tsType = "unknown";
    }
  }
}

// One object that refers to everything: the compiler writes what is referred to.
const names = Object.keys($defs);
const wire = {
  $schema,
  title: "Wire",
  description: "Everything that travels, by name.",
  type: "object",
  properties: {
    WireEvent: event,
    ...Object.fromEntries(names.map((name) => [name, { $ref: `#/$defs/${name}` }])),
  },
  required: ["WireEvent", ...names],
  additionalProperties: false,
  $defs,
};

const text = await compile(wire, "Wire", {
  bannerComment: "// Made by scripts/generate.mjs from the service's schema; `make client` makes it anew.",
  style: { printWidth: 120 },
});

process.stdout.write(`${text}
/** Every type of event that the service itself makes. */
export const EVENT_TYPES: ReadonlySet<string> = new Set<WireEvent["type"]>(${JSON.stringify(types, null, 2)});
`);
