// The openai package of npm: node use_openai.mjs URL MODEL PROMPT
import { createRequire } from "node:module";

const OpenAI = createRequire(process.cwd() + "/")("openai");
const [url, model, prompt] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const options = { model, messages: [{ role: "user", content: prompt }], temperature: 0, max_tokens: 48 };

const whole = await client.chat.completions.create(options);
let text = "";
let usage = null;
const stream = await client.chat.completions.create({
  ...options,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
const helper = client.chat.completions.stream(options);
const gathered = await helper.finalContent();
const completion = await client.completions.create({ model, prompt: "a", max_tokens: 4, logprobs: 1 });
const responses = { model, input: prompt, temperature: 0, max_output_tokens: 48 };
const response = await client.responses.create(responses);
const last = await client.responses.stream(responses).finalResponse();
const models = [];
for await (const each of client.models.list()) models.push(each.id);
let error = "none";
try {
  await client.chat.completions.create({ ...options, model: "no-such-adapter" });
} catch (fault) {
  error = fault.constructor.name + " " + fault.param;
}
console.log(
  JSON.stringify({
    whole: whole.choices[0].message.content,
    usage: [whole.usage.completion_tokens, usage.completion_tokens],
    stream: text,
    gathered,
    responses: [response.output_text, last.output_text],
    logprobs: completion.choices[0].logprobs.tokens.length,
    models,
    error,
  }),
);
