// OpenAI's package for Node, directly against the server and through a proxy that loses responses. Prints JSON.
const assert = require("node:assert/strict");
const OpenAI = require("openai");

const [server, unreliable] = process.argv.slice(2);
const client = (url, more = {}) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "sk-anything", ...more });
const fast = { steps: 2 };

async function main() {
  const api = client(server);
  const pictures = [];
  let partial = 0;

  const link = await api.images.generate({ prompt: "apple", ...fast });
  const picture = await fetch(link.data[0].url, { headers: { authorization: "Bearer sk-anything" } });
  assert.equal(picture.headers.get("content-type"), "image/png");
  pictures.push(Buffer.from(await picture.arrayBuffer()).toString("base64"));

  const file = await api.images.generate({ prompt: "apple", model: "gpt-image-1", quality: "low", ...fast });
  assert.match(file.size, /^\d+x\d+$/);
  pictures.push(file.data[0].b64_json);

  const stream = await api.images.generate({
    prompt: "tiger", model: "gpt-image-1", stream: true, partial_images: 2, steps: 100, seed: 2,
  });
  const types = [];
  for await (const event of stream) {
    types.push(event.type);
    pictures.push(event.b64_json);
  }
  partial = types.filter((type) => type === "image_generation.partial_image").length;
  assert.equal(types.at(-1), "image_generation.completed");

  const models = await api.models.list();
  const model = await api.models.retrieve(models.data[0].id);
  assert.equal(model.object, "model");
  await assert.rejects(api.models.retrieve("gpt-5"), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.deepEqual([error.code, error.param], ["model_not_found", "model"]);
    return true;
  });
  await assert.rejects(api.images.generate({ prompt: "apple", n: 0 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.ok(error.requestID);
    return error.param === "n";
  });
  await assert.rejects(
    async () => {
      const failing = await api.images.generate({ prompt: "apple", stream: true, response_format: "url" });
      for await (const event of failing) assert.fail(event.type);
    },
    (error) => error instanceof OpenAI.BadRequestError,
  );

  const retrying = client(unreliable);
  for (const prompt of ["an apple of Node's", "another apple of Node's"]) {
    const made = await retrying.images.generate({ prompt, response_format: "b64_json", ...fast });
    assert.equal(made.cost.engine_seconds, 0);
    pictures.push(made.data[0].b64_json);
  }
  console.log(JSON.stringify({ pictures, partial, generations: 5 }));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
