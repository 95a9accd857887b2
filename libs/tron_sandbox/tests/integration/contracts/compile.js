// npm install solc@0.8.28 && node compile.js    writes own.json: {contract: {abi, bytecode}}, for the newest EVM
const solc = require('solc'), fs = require('fs');
const out = JSON.parse(solc.compile(JSON.stringify({
  language: 'Solidity',
  sources: { 'own.sol': { content: fs.readFileSync('own.sol', 'utf8') } },
  settings: { optimizer: { enabled: true, runs: 200 },
    outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } } },
})));
for (const e of out.errors || []) console.error(e.formattedMessage);
const c = out.contracts['own.sol'].Own;
fs.writeFileSync('own.json', JSON.stringify({ Own: { abi: c.abi, bytecode: c.evm.bytecode.object } }) + '\n');
