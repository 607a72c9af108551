// Holds dashboards against Grafana's own types: each file is a literal that has to be of the type of a dashboard, so that
// what is missing, misspelt or not known is said by the compiler, with its line. Prints one line for each fault.
//
// Deliberately absent: what a panel or a source keeps to itself. Their options are any object to these types.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [packages, ...files] = process.argv.slice(2);
const ts = createRequire(join(packages, "package.json"))("typescript");
const types = join(packages, "node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen");

// Words stand for members of enumerations in JSON; and a source of annotations has its own question.
const head = `
import type { Dashboard, AnnotationQuery } from "${types}";
type Plain<T> = T extends string ? \`\${T}\` : T extends readonly (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type Marks = { annotations?: { list?: (Plain<AnnotationQuery> & { expr: string; step?: string; titleFormat?: string; textFormat?: string; tagKeys?: string; useValueForTime?: boolean | string })[] } };
export default `;
const texts = new Map(files.map((file) => [file + ".ts", head + readFileSync(file, "utf8").trim() + " satisfies Omit<Plain<Dashboard>, \"annotations\"> & Marks;\n"]));

const options = { strict: true, noEmit: true, skipLibCheck: true, types: [], module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler };
const host = ts.createCompilerHost(options);
for (const [name, own] of Object.entries({
  getSourceFile: (file, version) => ts.createSourceFile(file, texts.get(file), version),
  fileExists: () => true,
  readFile: (file) => texts.get(file),
})) {
  const of = host[name].bind(host);
  host[name] = (file, ...rest) => (texts.has(file) ? own(file, ...rest) : of(file, ...rest));
}
for (const fault of ts.getPreEmitDiagnostics(ts.createProgram([...texts.keys()], options, host))) {
  const line = fault.file ? fault.file.getLineAndCharacterOfPosition(fault.start).line + 1 - head.split("\n").length + 1 : 0;
  console.log(`${fault.file?.fileName.replace(/\.ts$/, "")}:${line}: ${ts.flattenDiagnosticMessageText(fault.messageText, " ").slice(0, 400)}`);
}
