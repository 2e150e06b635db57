// Fabric's official client against a devnet. Arguments: a JSON object with
//   address, tlsRoot (PEM file), mspId, certificate, key (PEM files), channel, chaincode.
// Prints one JSON object with what happened; any failure ends with a stack and exit code 1.
import * as crypto from "node:crypto";
import * as fs from "node:fs/promises";
import * as grpc from "@grpc/grpc-js";
import { connect, EndorseError, CommitError, hash, signers } from "@hyperledger/fabric-gateway";

const options = JSON.parse(process.argv[2]);
const text = new TextDecoder();

const client = new grpc.Client(
  options.address,
  grpc.credentials.createSsl(await fs.readFile(options.tlsRoot)),
);
const gateway = connect({
  client,
  identity: { mspId: options.mspId, credentials: await fs.readFile(options.certificate) },
  signer: signers.newPrivateKeySigner(crypto.createPrivateKey(await fs.readFile(options.key))),
  hash: hash.sha256,
  evaluateOptions: () => ({ deadline: Date.now() + 10000 }),
  endorseOptions: () => ({ deadline: Date.now() + 15000 }),
  submitOptions: () => ({ deadline: Date.now() + 10000 }),
  commitStatusOptions: () => ({ deadline: Date.now() + 30000 }),
});

const report = {};
try {
  const network = gateway.getNetwork(options.channel);
  const contract = network.getContract(options.chaincode);

  // Submit in the steps an application can take, then in one call.
  const proposal = contract.newProposal("emit", { arguments: ["node", "first", "Named"] });
  report.transactionId = proposal.getTransactionId();
  const transaction = await proposal.endorse();
  report.result = text.decode(transaction.getResult());
  const commit = await transaction.submit();
  const status = await commit.getStatus();
  report.status = { code: status.code, successful: status.successful, block: Number(status.blockNumber) };
  report.submitted = text.decode(await contract.submitTransaction("emit", "node", "second", "Other"));
  report.evaluated = text.decode(await contract.evaluateTransaction("get", "node"));

  // What happened before, read again from the first block on.
  const events = await network.getChaincodeEvents(options.chaincode, {
    startBlock: status.blockNumber,
  });
  report.events = [];
  try {
    for await (const event of events) {
      report.events.push({
        name: event.eventName,
        chaincode: event.chaincodeName,
        transactionId: event.transactionId,
        block: Number(event.blockNumber),
        payload: text.decode(event.payload),
      });
      if (report.events.length === 2) break;
    }
  } finally {
    events.close();
  }

  // Full and filtered blocks through the Deliver service.
  const blocks = await network.getBlockEvents({ startBlock: 0n });
  try {
    for await (const block of blocks) {
      report.firstBlock = {
        number: block.getHeader().getNumber(),
        transactions: block.getData().getDataList().length,
        metadata: block.getMetadata().getMetadataList().length,
      };
      break;
    }
  } finally {
    blocks.close();
  }
  const filtered = await network.getFilteredBlockEvents({ startBlock: status.blockNumber });
  try {
    for await (const block of filtered) {
      report.filtered = block.getFilteredTransactionsList().map((tx) => ({
        transactionId: tx.getTxid(),
        code: tx.getTxValidationCode(),
      }));
      break;
    }
  } finally {
    filtered.close();
  }

  // Refusals arrive as the client's own error types, with the node's words.
  try {
    await contract.submitTransaction("fail", "409", "ROUND_CLOSED: too late");
  } catch (error) {
    report.refusal = {
      endorseError: error instanceof EndorseError,
      code: error.code,
      details: error.details.map((detail) => ({ mspId: detail.mspId, message: detail.message })),
    };
  }

  // Two transactions endorsed on the same state: one commits, the other conflicts.
  const rivals = await Promise.all(
    ["1", "2"].map(async (amount) => {
      const rival = await contract.newProposal("add", { arguments: ["counter", amount] }).endorse();
      return rival;
    }),
  );
  const commits = [];
  for (const rival of rivals) commits.push(await rival.submit());
  report.rivals = (await Promise.all(commits.map((one) => one.getStatus()))).map((one) => one.code);

  try {
    await contract.submitTransaction("dice", "dice");
  } catch (error) {
    report.disagreement = {
      endorseError: error instanceof EndorseError,
      committed: error instanceof CommitError,
      details: error.details.map((detail) => detail.message),
    };
  }
} finally {
  gateway.close();
  client.close();
}
console.log(JSON.stringify(report));
