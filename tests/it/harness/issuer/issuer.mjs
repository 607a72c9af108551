// A real OpenID Connect provider (npm's oidc-provider) on a free port of loopback, for the tests of sign-in. Whoever types a
// name into its form is that person; its address is the first line that it prints.
//
// node issuer.mjs FOLDER_WITH_NODE_MODULES CLIENT_ID CLIENT_SECRET REDIRECT_URI
import http from "node:http";
import { pathToFileURL } from "node:url";

const [folder, client_id, client_secret, redirect_uri] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(`${folder}/node_modules/oidc-provider/lib/index.js`));

const server = http.createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id, client_secret, redirect_uris: [redirect_uri] }],
    pkce: { required: () => true },
    cookies: { keys: ["a key of the tests"] },
    scopes: ["openid", "groups"],
    claims: { openid: ["sub"], groups: ["groups"] },
    // What a person is called at the issuer is no name that Slowburn knows by itself.
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, groups: id.startsWith("ada") ? ["sre"] : [] }) }),
  });
  server.on("request", provider.callback());
  console.log(issuer);
});
