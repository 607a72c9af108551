// What in an object the Prometheus operator would refuse, or drop without a word: one line for each fault, nothing where it takes
// all of it. Reads a JSON list of objects from stdin; the folder of the packages is its argument.
//
// The validators of the package are made from the operator's own Go types, and they let unknown fields pass as the API server
// does, which drops them. So each object is held against them behind a proxy: a field that no validator has read is one that the
// type does not have.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const schemas = join(process.argv[2], "node_modules/@kubernetes-models/prometheus-operator/_schemas");
const validators = new Map();
for (const kind of ["PrometheusRule", "ServiceMonitor"]) {
  const file = join(schemas, `ComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoringV1${kind}.js`);
  validators.set(kind, (await import(pathToFileURL(file))).validate);
}

// A copy of a value that notes which fields are read, and what of it was not.
function watched(value, path = "") {
  if (value === null || typeof value !== "object") return { value, unread: () => [] };
  const read = new Set(), inner = new Map();
  for (const [key, field] of Object.entries(value)) inner.set(key, watched(field, `${path}/${key}`));
  const proxy = new Proxy(value, {
    get(target, key) {
      if (typeof key === "symbol" || !inner.has(key)) return Reflect.get(target, key);
      read.add(key);
      return inner.get(key).value;
    },
  });
  const unread = () => [...inner].flatMap(([key, field]) => (read.has(key) ? field.unread() : [`${path}/${key}: there is no such field`]));
  return { value: proxy, unread };
}

for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const validate = validators.get(object.kind);
  if (!validate) {
    console.log(`/kind: the operator has no ${object.kind}`);
    continue;
  }
  const { value, unread } = watched(object);
  validate(value);
  for (const fault of validate.errors ?? []) console.log(`${fault.instancePath}: ${fault.keyword} ${JSON.stringify(fault.params)}`);
  for (const fault of unread()) console.log(fault);
}
