// Load with Fabric's official client, for tests/benchmarks/bench_node.py. Arguments: a JSON object
//   address, tlsRoot (PEM file), mspId, certificate, key (PEM files), channel,
//   loads: [{kind: "query" | "put", count, rate}].
// Each call is sent at its instant whatever the others do. Prints a line of JSON per load.
import * as crypto from "node:crypto";
import * as fs from "node:fs/promises";
import * as grpc from "@grpc/grpc-js";
import { connect, hash, signers } from "@hyperledger/fabric-gateway";

const options = JSON.parse(process.argv[2]);
const client = new grpc.Client(
  options.address,
  grpc.credentials.createSsl(await fs.readFile(options.tlsRoot)),
);
const gateway = connect({
  client,
  identity: { mspId: options.mspId, credentials: await fs.readFile(options.certificate) },
  signer: signers.newPrivateKeySigner(crypto.createPrivateKey(await fs.readFile(options.key))),
  hash: hash.sha256,
  evaluateOptions: () => ({ deadline: Date.now() + 30000 }),
  endorseOptions: () => ({ deadline: Date.now() + 30000 }),
  submitOptions: () => ({ deadline: Date.now() + 30000 }),
  commitStatusOptions: () => ({ deadline: Date.now() + 30000 }),
});
const contract = gateway.getNetwork(options.channel).getContract("kv");
const calls = {
  query: () => contract.evaluateTransaction("get", "bench"),
  put: (i) => contract.submitTransaction("put", `bench-${i}`, "value"),
};

async function paced(kind, count, rate) {
  const latencies = [];
  let failed = 0;
  const cpu = process.cpuUsage();
  const start = performance.now() + 50;
  const one = async (i) => {
    const due = start + (i / rate) * 1000;
    try {
      await calls[kind](i);
      latencies.push(performance.now() - due);
    } catch {
      failed += 1;
    }
  };
  const all = [];
  for (let i = 0; i < count; i++) {
    const wait = start + (i / rate) * 1000 - performance.now();
    if (wait > 0) await new Promise((done) => setTimeout(done, wait));
    all.push(one(i));
  }
  await Promise.all(all);
  const used = process.cpuUsage(cpu);
  return { latencies, failed, cpu_ms: (used.user + used.system) / 1000 / count };
}

try {
  await contract.submitTransaction("put", "bench", "value");
  await paced("query", 100, 100); // connections, caches
  for (const load of options.loads) {
    console.log(JSON.stringify(await paced(load.kind, load.count, load.rate)));
  }
} finally {
  gateway.close();
  client.close();
}
