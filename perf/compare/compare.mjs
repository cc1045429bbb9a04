// ONNX Runtime against lbd on the DDPM CIFAR-10 UNet in INT8, batch 1: separate processes in turn, A B A B, so that what disturbs the machine disturbs both.
//   npm install --ignore-scripts && node compare.mjs MODEL.onnx [ROUNDS] [THREADS]
// MODEL.onnx is google/ddpm-cifar10-32 quantized by onnxruntime's quantize_static (QDQ, Conv + MatMul + Gemm, per-channel INT8 weights, UINT8 activations), inputs sample and timestep.
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const [model, rounds = '5', threads = '2'] = process.argv.slice(2);
const lbd = join(here, '../../src/LowBitDiffusion.Cli/bin/Release/net10.0/lbd.dll');

const runs = [
  ['ONNX Runtime INT8', () => JSON.parse(execFileSync('node', [join(here, 'onnxruntime.mjs'), model, threads], { encoding: 'utf8' }))],
  ['lbd w8a8', () => {
    const out = execFileSync('dotnet', [lbd, 'bench', '--architecture', 'ddpm-cifar10', '--weights', 'w8a8', '--attention', 'int8', '--steps', '60', '--threads', threads, '--json'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    const result = JSON.parse(out);
    return { min: result.step_minimum_seconds * 1e3, median: result.step_p50_seconds * 1e3 };
  }],
];

const results = runs.map(() => []);
for (let round = 0; round < Number(rounds); round++) runs.forEach(([, run], i) => results[i].push(run()));

for (const key of ['min', 'median']) {
  runs.forEach(([name], i) => console.log(`${name}, ${key} of each process, ms: ${results[i].map(r => r[key].toFixed(2)).join(' ')}`));
  const ratios = results[0].map((r, i) => r[key] / results[1][i][key]).sort((a, b) => a - b);
  console.log(`ratio ${runs[0][0]} / ${runs[1][0]}, ${key}: ${ratios[ratios.length >> 1].toFixed(2)} (${ratios[0].toFixed(2)} to ${ratios[ratios.length - 1].toFixed(2)})`);
}
