// What Grafana makes of tables: reads a list of panels from its input (targets, what Prometheus answered to each, the
// transformations of the dashboard) and prints a list of tables, each with its columns and rows. All that is done to an
// answer is done by Grafana's own packages: its Prometheus source turns answers into a table, and its data package joins,
// filters, orders and renames.
//
// Deliberately absent: the server's part, which turns each series of an answer into a frame. It is six lines here.
const { createRequire } = require("node:module");
const { join } = require("node:path");

const packages = process.argv[2];
const need = createRequire(join(packages, "package.json"));
const Module = require("node:module");
const load = Module._load;
// There is no page: its runtime is only asked for links, which nothing here has.
Module._load = (name, ...rest) => (name === "@grafana/runtime" ? {} : load(name, ...rest));

const grafana = need("@grafana/data");
const { transformV2 } = need("./result_transformer.cjs");

// Grafana looks at its window for a scene; packages that look for a browser are loaded by now.
globalThis.window = globalThis;

// The list has two names for the join.
const kinds = new Map(Object.values(grafana.standardTransformers).map((one) => [one.id, one]));
grafana.standardTransformersRegistry.setInit(() =>
  [...kinds.values()].map((one) => ({ id: one.id, aliasIds: one.aliasIds, name: one.name, transformation: async () => one })));

const number = (text) => ({ "+Inf": Infinity, "-Inf": -Infinity })[text] ?? Number(text);

// JSON has no word for what is no finite number.
const cell = (value) => (typeof value === "number" && !Number.isFinite(value) ? String(value) : value ?? null);

function frames(refId, answer) {
  return answer.data.result.map(({ metric, value: [at, value] }) => ({
    ...grafana.toDataFrame({
      refId,
      meta: { type: "numeric-multi", custom: { resultType: "vector" } },
      fields: [
        { name: "Time", type: "time", config: {}, values: [at * 1000] },
        { name: "Value", type: "number", labels: metric, config: {}, values: [number(value)] },
      ],
    }),
  }));
}

async function table({ targets, answers, transformations }) {
  const data = targets.flatMap(({ refId }) => frames(refId, answers[refId]));
  const tables = transformV2({ data }, { targets }, {}).data;
  const context = { interpolate: (text) => text };
  const done = await new Promise((resolve, reject) =>
    grafana.transformDataFrame(transformations, tables, context).subscribe({ next: resolve, error: reject }));
  return done.map((frame) => ({
    columns: frame.fields.map((field) => grafana.getFieldDisplayName(field, frame, done)),
    rows: Array.from({ length: frame.length }, (_, row) => frame.fields.map((field) => cell(field.values[row]))),
  }));
}

let input = "";
process.stdin.setEncoding("utf8").on("data", (text) => (input += text)).on("end", async () => {
  process.stdout.write(JSON.stringify(await Promise.all(JSON.parse(input).map(table))));
});
