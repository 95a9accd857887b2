// npm install solc@0.8.28 && node compile.js    writes sandbox.json: {contract: {abi, bytecode}}
const solc = require('solc'), fs = require('fs');
const out = JSON.parse(solc.compile(JSON.stringify({
  language: 'Solidity',
  sources: { 'sandbox.sol': { content: fs.readFileSync('sandbox.sol', 'utf8') } },
  settings: { evmVersion: 'byzantium', viaIR: true, optimizer: { enabled: true, runs: 100000 },
    outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } } },
})));
for (const e of out.errors || []) console.error(e.formattedMessage);
const found = {};
for (const name of ['UsdtLike', 'Payout', 'TrxPayout']) {
  const c = out.contracts['sandbox.sol'][name];
  found[name] = { abi: c.abi, bytecode: c.evm.bytecode.object };
}
fs.writeFileSync('sandbox.json', JSON.stringify(found) + '\n');
