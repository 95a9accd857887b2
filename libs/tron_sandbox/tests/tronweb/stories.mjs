// Unmodified tronweb against a sandbox node: node stories.mjs URL. Prints {story: null or what went wrong}.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { TronWeb, utils } from 'tronweb';

const url = process.argv[2];
const USDT = 'TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t';
const TRX = 1_000_000;
const own = JSON.parse(readFileSync(new URL('../integration/contracts/own.json', import.meta.url))).Own;

async function admin(name, body) {
  const answer = await fetch(`${url}/admin/${name}`, { method: 'POST', body: JSON.stringify(body) });
  assert.equal(answer.status, 200, await answer.clone().text());
  return answer.json();
}

const mine = (blocks = 1) => admin('mine', { blocks });
const settle = () => mine(4);

// A person with money and a tronweb of their own.
async function person({ trx = '1000', usdt } = {}) {
  const { privateKey, address } = utils.accounts.generateAccount();
  await admin('faucet', { address: address.base58, trx, ...(usdt && { usdt }) });
  return { tron: new TronWeb({ fullHost: url, privateKey }), address: address.base58, hex: address.hex };
}

const stranger = () => utils.accounts.generateAccount().address.base58;
const text = (hex) => TronWeb.toUtf8(hex);

async function done(tron, sent) {
  assert.equal(sent.result, true, JSON.stringify(sent));
  const txid = sent.txid ?? sent.transaction.txID;
  await mine();
  const info = await tron.trx.getUnconfirmedTransactionInfo(txid);
  assert.equal(info.id, txid);
  return info;
}

const stories = {
  async 'TRX transfers'() {
    const { tron, address } = await person();
    const to = stranger();
    const info = await done(tron, await tron.trx.sendTransaction(to, 5 * TRX));
    assert.equal(info.fee, 1_100_000);
    assert.equal(await tron.trx.getUnconfirmedBalance(to), 5 * TRX);
    assert.equal(await tron.trx.getBalance(to), 0);
    await settle();
    assert.equal(await tron.trx.getBalance(to), 5 * TRX);
    assert.equal((await tron.trx.getTransactionInfo(info.id)).blockNumber, info.blockNumber);
    const found = await tron.trx.getConfirmedTransaction(info.id);
    assert.equal(found.ret[0].contractRet, 'SUCCESS');
    assert.equal(found.raw_data.contract[0].parameter.value.owner_address, TronWeb.address.toHex(address));
  },

  async 'USDT transfers'() {
    const { tron, address } = await person({ usdt: '100' });
    const to = stranger();
    const usdt = await tron.contract().at(USDT);
    assert.equal(await usdt.symbol().call(), 'USDT');
    assert.equal(BigInt(await usdt.balanceOf(address).call()), 100_000_000n);
    const txid = await usdt.transfer(to, 5_000_000).send({ feeLimit: 50 * TRX });
    await mine();
    const info = await tron.trx.getUnconfirmedTransactionInfo(txid);
    assert.equal(info.receipt.result, 'SUCCESS');
    assert.equal(info.receipt.energy_usage_total, 130_284);
    assert.equal(info.log[0].topics[0], TronWeb.sha3('Transfer(address,address,uint256)', false));
    assert.equal(BigInt(await usdt.balanceOf(to).call()), 5_000_000n);
    const approved = await usdt.approve(to, 7).send({ feeLimit: 50 * TRX, shouldPollResponse: false });
    await mine();
    assert.equal((await tron.trx.getUnconfirmedTransactionInfo(approved)).receipt.result, 'SUCCESS');
    assert.equal(BigInt(await usdt.allowance(address, to).call()), 7n);
  },

  async 'constant calls and estimates'() {
    const { tron, address } = await person({ usdt: '100' });
    const parameters = [{ type: 'address', value: stranger() }, { type: 'uint256', value: 1 }];
    const call = [USDT, 'transfer(address,uint256)', {}, parameters, address];
    const constant = await tron.transactionBuilder.triggerConstantContract(...call);
    const estimate = await tron.transactionBuilder.estimateEnergy(...call);
    await settle();
    const solid = await tron.transactionBuilder.triggerConfirmedConstantContract(...call);
    assert.deepEqual([constant.energy_used, estimate.energy_required, solid.energy_used], [130_284, 130_284, 130_284]);
    assert.equal(constant.energy_penalty > 90_000, true);
    const much = [{ ...parameters[0] }, { type: 'uint256', value: 10 ** 12 }];
    await assert.rejects(
      tron.transactionBuilder.triggerConstantContract(USDT, 'transfer(address,uint256)', {}, much, address),
      /REVERT opcode executed/,
    );
    const unsigned = await tron.transactionBuilder.triggerSmartContract(USDT, 'approve(address,uint256)', {}, parameters);
    assert.equal(unsigned.result.result, true);
  },

  async 'freezing and its return'() {
    const { tron, address } = await person({ trx: '20000' });
    const build = tron.transactionBuilder;
    const play = async (tx) => done(tron, await tron.trx.sendRawTransaction(await tron.trx.sign(await tx)));
    const head = { confirmed: false };
    await play(build.freezeBalanceV2(15_000 * TRX, 'ENERGY'));
    await play(build.freezeBalanceV2(100 * TRX, 'BANDWIDTH'));
    assert.equal((await tron.trx.getAccountResources(address)).EnergyLimit, 142_105);
    await play(build.unfreezeBalanceV2(500 * TRX, 'ENERGY'));
    assert.equal((await tron.trx.getAvailableUnfreezeCount(address, head)).count, 31);
    await play(build.cancelUnfreezeBalanceV2());
    await play(build.unfreezeBalanceV2(700 * TRX, 'ENERGY'));
    await admin('clock', { advance: 14 * 86_400 });
    const later = Date.now() + 3_650 * 86_400_000; // other tests may have put the clock far ahead
    assert.equal((await tron.trx.getCanWithdrawUnfreezeAmount(address, later, head)).amount, 700 * TRX);
    await play(build.withdrawExpireUnfreeze());
    assert.equal((await tron.trx.getUnconfirmedAccount(address)).frozenV2[1].amount, 14_300 * TRX);
  },

  async 'delegation and its return'() {
    const { tron, address } = await person({ trx: '20000' });
    const other = await person({ trx: '1' });
    const build = tron.transactionBuilder;
    const play = async (tx) => done(tron, await tron.trx.sendRawTransaction(await tron.trx.sign(await tx)));
    const head = { confirmed: false };
    await play(build.freezeBalanceV2(15_000 * TRX, 'ENERGY'));
    await play(build.delegateResource(8_000 * TRX, other.address, 'ENERGY'));
    const lent = await tron.trx.getDelegatedResourceV2(address, other.address, head);
    assert.equal(lent.delegatedResource[0].frozen_balance_for_energy, 8_000 * TRX);
    const index = await tron.trx.getDelegatedResourceAccountIndexV2(other.address, head);
    assert.deepEqual(index.fromAccounts, [TronWeb.address.toHex(address)]);
    const most = await tron.trx.getCanDelegatedMaxSize(address, 'ENERGY', head);
    assert.equal(most.max_size, 7_000 * TRX);
    await play(build.undelegateResource(8_000 * TRX, other.address, 'ENERGY'));
    assert.equal((await tron.trx.getUnconfirmedAccount(address)).frozenV2[1].amount, 15_000 * TRX);
  },

  async 'accounts and resources'() {
    const { tron, address } = await person({ trx: '7' });
    await settle();
    const account = await tron.trx.getAccount(address);
    assert.equal(account.balance, 7 * TRX);
    assert.equal(account.owner_permission.keys[0].address, TronWeb.address.toHex(address));
    assert.equal(await tron.trx.getBandwidth(address), 600);
    assert.deepEqual(await tron.trx.getAccount(stranger()), {});
    const created = await tron.transactionBuilder.createAccount(stranger());
    await done(tron, await tron.trx.sendRawTransaction(await tron.trx.sign(created)));
    const parameters = await tron.trx.getChainParameters();
    assert.equal(parameters.find((one) => one.key === 'getEnergyFee').value, 100);
    assert.equal(await tron.trx.getEnergyPrices(), '0:100');
    assert.equal(await tron.trx.getBandwidthPrices(), '0:1000');
    assert.equal((await tron.trx.listSuperRepresentatives()).length, 27);
    assert.equal((await tron.trx.timeUntilNextVoteCycle()) > 0, true);
    assert.deepEqual(await tron.trx.listNodes(), []);
    assert.match((await tron.trx.getNodeInfo()).solidityBlock, /^Num:\d+,ID:[0-9a-f]{64}$/);
    assert.equal(await tron.fullNode.isConnected(), true);
    assert.equal(await tron.solidityNode.isConnected(), true);
  },

  async 'blocks and ranges'() {
    const { tron } = await person();
    const info = await done(tron, await tron.trx.sendTransaction(stranger(), 1));
    const head = await tron.trx.getCurrentBlock();
    const number = head.block_header.raw_data.number;
    assert.equal(number, info.blockNumber);
    assert.equal((await tron.trx.getConfirmedCurrentBlock()).block_header.raw_data.number, number - 3);
    assert.deepEqual(await tron.trx.getBlock(number), head);
    assert.deepEqual(await tron.trx.getBlock('latest'), head);
    assert.deepEqual(await tron.trx.getBlockByHash(head.blockID), head);
    const range = await tron.trx.getBlockRange(number - 2, number);
    const found = (range.block ?? range).map((block) => block.block_header.raw_data.number);
    assert.deepEqual(found, [number - 2, number - 1, number]);
    assert.equal(await tron.trx.getBlockTransactionCount(number), 1);
    assert.equal((await tron.trx.getTransactionFromBlock(number, 0)).txID, info.id);
    assert.equal((await tron.trx.getTransaction(info.id)).txID, info.id);
    await assert.rejects(tron.trx.getBlock(10 ** 9), /Block not found/);
    await assert.rejects(tron.trx.getTransaction('00'.repeat(32)), /Transaction not found/);
  },

  async 'signed messages'() {
    const { tron, address } = await person();
    const signature = await tron.trx.signMessageV2('hello');
    assert.equal(await tron.trx.verifyMessageV2('hello', signature), address);
    const hex = TronWeb.sha3('hello').slice(2);
    assert.equal(await tron.trx.verifyMessage(hex, await tron.trx.sign(hex), address), true);
  },

  async 'one\'s own contract'() {
    const { tron, address } = await person({ trx: '5000' });
    const options = { abi: own.abi, bytecode: own.bytecode, feeLimit: 1_000 * TRX, parameters: [41], name: 'Own', callValue: 3 };
    const unsigned = await tron.transactionBuilder.createSmartContract(options, address);
    const info = await done(tron, await tron.trx.sendRawTransaction(await tron.trx.sign(unsigned)));
    assert.equal(info.contract_address, unsigned.contract_address);
    const contract = tron.contract(own.abi, unsigned.contract_address);
    assert.equal(await contract.value().call(), 41n);
    const txid = await contract.store(42, 'noted').send({ feeLimit: 100 * TRX, callValue: 5 });
    await mine();
    const stored = await tron.trx.getUnconfirmedTransactionInfo(txid);
    assert.equal(stored.receipt.result, 'SUCCESS');
    const [left, right] = await contract.pair().call();
    assert.deepEqual([left, right], [42n, 'kept']);
    assert.equal(await tron.trx.getUnconfirmedBalance(unsigned.contract_address), 8);
    assert.equal((await tron.trx.getContract(unsigned.contract_address)).name, 'Own');
    const code = (await tron.trx.getContractInfo(unsigned.contract_address)).runtimecode;
    assert.equal(code, info.contractResult[0]);
    const estimate = await tron.transactionBuilder.deployConstantContract({
      input: own.bytecode + '29'.padStart(64, '0'), ownerAddress: address,
    });
    assert.equal(estimate.energy_required, info.receipt.energy_usage_total);
  },

  async 'memos, expirations and sign weights'() {
    const { tron, address } = await person();
    const other = await person({ trx: '1' });
    const plain = await tron.transactionBuilder.sendTrx(other.address, 1, address);
    const noted = await tron.transactionBuilder.addUpdateData(plain, 'thank you', 'utf8');
    const extended = await tron.transactionBuilder.extendExpiration(noted, 300);
    const signed = await tron.trx.sign(extended);
    assert.deepEqual((await tron.trx.getApprovedList(signed)).approved_list, [TronWeb.address.toHex(address)]);
    assert.equal((await tron.trx.getSignWeight(signed)).current_weight, 1);
    const info = await done(tron, await tron.trx.sendRawTransaction(signed));
    assert.equal(info.fee, 1_000_000);
    const found = await tron.trx.getTransaction(info.id);
    assert.equal(text(found.raw_data.data), 'thank you');
  },

  async 'what broadcast refuses'() {
    const { tron, address } = await person({ trx: '10' });
    const other = await person({ trx: '1' });
    const build = tron.transactionBuilder;
    const refused = async (tx, code, pattern) => {
      const answer = await tron.trx.sendRawTransaction(tx).catch((error) => error);
      assert.equal(answer.code, code, JSON.stringify(answer));
      assert.match(text(answer.message), pattern);
    };
    const plain = await build.sendTrx(other.address, 1, address);
    const signed = await tron.trx.sign(plain);
    await done(tron, await tron.trx.sendRawTransaction(signed));
    await refused(signed, 'DUP_TRANSACTION_ERROR', /^Dup transaction\.$/);
    const next = await build.sendTrx(other.address, 2, address);
    const foreign = { ...next, signature: (await other.tron.trx.sign({ ...plain })
      .catch(() => ({ signature: ['11'.repeat(64) + '1b'] }))).signature };
    await refused(foreign, 'SIGERROR', /^Validate signature error: /);
    const references = await tron.trx.getCurrentRefBlockParams();
    const bent = (changes) => build.sendTrx(other.address, 3, address, { blockHeader: { ...references, ...changes } });
    const wrong = await tron.trx.sign(await bent({ ref_block_hash: '00'.repeat(8) }));
    await refused(wrong, 'TAPOS_ERROR', /^Tapos check error\.$/);
    const late = await tron.trx.sign(await bent({ expiration: Date.now() - 100_000 }));
    await refused(late, 'TRANSACTION_EXPIRATION_ERROR', /^Transaction expiration, transaction expiration time is \d+/);
    const much = await tron.trx.sign(await build.sendTrx(other.address, 10 ** 9, address));
    await refused(much, 'CONTRACT_VALIDATE_ERROR', /balance is not sufficient\.$/);
    const large = await tron.trx.sign(await build.addUpdateData(next, 'x'.repeat(600_000), 'utf8'));
    await refused(large, 'TOO_BIG_TRANSACTION_ERROR', /^Transaction size is too big\.$/);
    const poor = await person({ trx: '0.000002' });
    await admin('resources', { address: poor.address, free_bandwidth: 0 });
    const unpaid = await poor.tron.trx.sign(await poor.tron.transactionBuilder.sendTrx(address, 1, poor.address));
    await refused(unpaid, 'BANDWITH_ERROR', /^Account resource insufficient error\.$/);
  },
};

const outcome = {};
for (const [name, story] of Object.entries(stories)) {
  try {
    await story();
    outcome[name] = null;
  } catch (error) {
    outcome[name] = error.stack ?? JSON.stringify(error);
  }
}
console.log(JSON.stringify(outcome));
