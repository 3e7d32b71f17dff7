// Node's HTTP clients and OpenAI's package send bodies to a server that refuses the requests by their headers. Prints a
// JSON list of the calls that did not get the expected status. The argument is JSON: the cases and the number of calls.
const http = require("node:http");
const OpenAI = require("openai");

const { cases, calls } = JSON.parse(process.argv[2]);
const SIZES = [1_000, 20_000, 65_000, 300_000, 1_000_000, 3_000_000];
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });

const clients = {
  async fetch({ method, url, headers }, body) {
    const response = await fetch(url, { method, headers, body });
    await response.text();
    return response.status;
  },
  http: ({ method, url, headers }, body) =>
    new Promise((resolve, reject) => {
      const length = { "content-length": body.length };
      const request = http.request(url, { method, agent, headers: { ...headers, ...length } }, (response) => {
        response.on("error", reject).resume().on("end", () => resolve(response.statusCode));
      });
      request.on("error", reject).end(body);
    }),
};

// The cases that OpenAI's package can send: its path, and its content type.
async function openai({ url, headers }, body) {
  const client = new OpenAI({ baseURL: new URL("/v1", url).href, apiKey: headers["x-key"] ?? "sk-x", maxRetries: 0 });
  try {
    await client.images.generate({ prompt: "x".repeat(body.length) }, { headers });
    return 200;
  } catch (error) {
    if (error.status === undefined) throw error;
    return error.status;
  }
}

async function main() {
  const wrong = [];
  let count = 0;
  for (const test of cases) {
    const senders = test.openai ? { ...clients, openai } : clients;
    for (const [name, send] of Object.entries(senders)) {
      if (test.only && test.only !== name) continue;
      for (let call = 0; call < calls; call++) {
        const size = Math.min(Math.max(SIZES[call % SIZES.length], test.min ?? 0), test.max ?? Infinity);
        // White space may follow JSON.
        const body = Buffer.from('{"prompt":"x"}'.padEnd(size));
        count++;
        try {
          const status = await send(test, body);
          if (status !== test.status) wrong.push({ test: test.name, client: name, size, status });
        } catch (error) {
          const cause = error.cause?.cause ?? error.cause ?? error;
          wrong.push({ test: test.name, client: name, size, error: cause.code ?? String(cause) });
        }
      }
    }
  }
  agent.destroy();
  console.log(JSON.stringify({ count, wrong }));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
