// Calls of tools through the TypeScript SDK: the plan is argv[2], the answers go to stdout, both as JSON.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const plan = JSON.parse(process.argv[2]);
const [command, ...args] = plan.command;
const transport = plan.url
  ? new StreamableHTTPClientTransport(new URL(plan.url))
  : new StdioClientTransport({ command, args, env: plan.env, cwd: plan.cwd });
const client = new Client({ name: "typescript", version: "1.0.0" });
await client.connect(transport);
const { tools } = await client.listTools();
const answers = [];
for (const [name, given] of plan.calls) {
  const answer = await client.callTool({ name, arguments: given });
  if (answer.isError) throw new Error(answer.content[0].text);
  answers.push(answer.content.map((block) => block.text).join("\n"));
}
await client.close();
console.log(JSON.stringify({ tools: tools.map((tool) => tool.name).sort(), answers }));
