// An agent by the official TypeScript SDK: connects to the gate's MCP server, uses every tool, does what it should not, and
// prints as JSON what it was told. Arguments: the folder of the packages, the address, a token, the number of its service,
// and whose client it is: `sdk` (version 1 of the SDK, which begins with `initialize`) or `client` (version 2, stateless).
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [packages, url, token, service, whose] = process.argv.slice(2);
const need = createRequire(join(packages, "package.json"));
const load = (name) => import(pathToFileURL(need.resolve(name)));
const { Client, StreamableHTTPClientTransport } = whose === "sdk"
  ? { ...(await load("@modelcontextprotocol/sdk/client/index.js")), ...(await load("@modelcontextprotocol/sdk/client/streamableHttp.js")) }
  : await load("@modelcontextprotocol/client");

async function connected(headers) {
  const client = new Client({ name: "agent", version: "1" }, { versionNegotiation: { mode: { pin: "2026-07-28" } } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
  return client;
}
const refused = (headers) => connected(headers).then(() => "connected", (fault) => String(fault));

const client = await connected({ authorization: "Bearer " + token });
const call = (name, args) => client.callTool({ name, arguments: args }).then(
  ({ isError, structuredContent, content }) => ({ isError: !!isError, said: structuredContent ?? null, text: content[0].text }),
  (fault) => ({ fault: String(fault) }));
const act = (action, more) => ({ service, action, resource: "deployment/" + service, reason: "as planned", ...more });

const seen = { tools: (await client.listTools()).tools.map((tool) => tool.name) };
seen.explained = await call("explain", act("deploy", { to_version: "v43" }));
seen.allowed = await call("request_action", act("deploy", { to_version: "v43", begin: true }));
seen.reported = await call("report_outcome", { permit: seen.allowed.said?.permit?.id ?? "none", applied: false, note: "not needed" });
seen.asked = await call("request_action", act("rollback", { from_version: "v42", to_version: "v41" }));
seen.denied = await call("request_action", act("restart", {}));
seen.state = await call("service_state", { service });
seen.records = await call("search_audit", { service, limit: 20 });
seen.lacking = await call("request_action", { service, action: "deploy" });
seen.unknown = await call("explain", { ...act("deploy", { to_version: "v43" }), approved: true });
seen.strange = await call("approve", { id: "any" });
seen.stranger = await refused({ authorization: "Bearer wrong" });
seen.nobody = await refused({});
seen.elsewhere = await refused({ authorization: "Bearer " + token, origin: "https://evil.example" });
await client.close();
process.stdout.write(JSON.stringify(seen));
