// A real OpenID Connect provider (npm oidc-provider) on loopback, with its own login form, for one client.
// stdin: one JSON line with the settings. stdout: "ready". Below /-/ a test says who there is, and what is to go wrong.
import { createInterface } from "node:readline";
import { exportJWK, generateKeyPair, importJWK, SignJWT, decodeJwt, base64url } from "jose";
import { Provider } from "oidc-provider";

const settings = JSON.parse(await new Promise((resolve) => createInterface({ input: process.stdin }).once("line", resolve)));
const issuer = `http://127.0.0.1:${settings.port}`;
let people = {};
let fault = null;
const counts = {};

async function makeKey(kid) {
  const { privateKey } = await generateKeyPair("RS256", { extractable: true });
  return { ...(await exportJWK(privateKey)), kid, use: "sig", alg: "RS256" };
}
const key = await makeKey(`key ${process.pid}`);
const foreign = await makeKey(key.kid);

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "leoflow",
      ...(settings.secret ? { client_secret: settings.secret } : { token_endpoint_auth_method: "none" }),
      redirect_uris: [`${settings.app}auth/oidc/callback`],
      post_logout_redirect_uris: [`${settings.app}auth/oidc/logged-out`],
      backchannel_logout_uri: `${settings.app}auth/oidc/backchannel-logout`,
      backchannel_logout_session_required: true,
    },
  ],
  jwks: { keys: [key] },
  claims: { openid: ["sub"], profile: ["preferred_username", "name"], email: ["email", "email_verified"], groups: ["groups"] },
  scopes: ["openid", "profile", "email", "groups"],
  pkce: { required: () => true },
  features: { backchannelLogout: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  // the application is on loopback, which the provider's own wall against that would refuse
  fetch: (url, { dispatcher, signal, ...options }) => fetch(url, options),
  findAccount: (ctx, id) => people[id] && { accountId: id, claims: () => ({ sub: id, ...people[id] }) },
  // nobody is asked for his consent to an application of the house
  loadExistingGrant: async (ctx) => {
    const had = ctx.oidc.session.grantIdFor(ctx.oidc.client.clientId);
    if (had) return ctx.oidc.provider.Grant.find(had);
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope("openid profile email groups");
    await grant.save();
    return grant;
  },
});
for (const event of ["server_error", "backchannel.error"]) provider.on(event, (ctx, error) => console.error(event, error));

async function broken(token) {
  const claims = { ...decodeJwt(token), ...fault.claims };
  if (fault.alg === "none") {
    const part = (value) => base64url.encode(JSON.stringify(value));
    return `${part({ alg: "none" })}.${part(claims)}.`;
  }
  if (fault.alg === "HS256") {
    return new SignJWT(claims).setProtectedHeader({ alg: "HS256", kid: key.kid }).sign(new TextEncoder().encode(settings.secret));
  }
  const signing = await importJWK(fault.key === "foreign" ? foreign : key, "RS256");
  return new SignJWT(claims).setProtectedHeader({ alg: "RS256", kid: fault.kid ?? key.kid }).sign(signing);
}

async function said(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString() || "null");
}

provider.use(async (ctx, next) => {
  counts[ctx.path] = (counts[ctx.path] ?? 0) + 1;
  if (ctx.path === "/-/people") people = await said(ctx.req);
  else if (ctx.path === "/-/fault") fault = await said(ctx.req);
  else if (ctx.path === "/-/sign") ctx.body = { token: await sign(await said(ctx.req)) };
  else if (ctx.path === "/-/counts") { ctx.body = counts; return; }
  else {
    await next();
    if (fault && ctx.path === "/token" && ctx.body?.id_token) ctx.body.id_token = await broken(ctx.body.id_token);
    return;
  }
  ctx.status = 200;
  ctx.body ??= {};
});

// A token of the test's own making, signed by the provider's key: for logouts that no provider sends.
async function sign(claims) {
  return new SignJWT(claims).setProtectedHeader({ alg: "RS256", kid: key.kid, typ: "logout+jwt" }).sign(await importJWK(key, "RS256"));
}

provider.listen(settings.port, "127.0.0.1", () => console.log("ready"));
