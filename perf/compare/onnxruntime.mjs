// Times one network in ONNX Runtime: node onnxruntime.mjs MODEL.onnx [THREADS]. Prints one JSON object, milliseconds per forward pass.
import ort from 'onnxruntime-node';

const [model, threads = '2'] = process.argv.slice(2);
const warmUp = 10, passes = 60;
const session = await ort.InferenceSession.create(model, { intraOpNumThreads: Number(threads), interOpNumThreads: 1 });
const noise = Float32Array.from({ length: 3 * 32 * 32 }, (_, i) => Math.sin(i * 12.9898) * 1.7);
const inputs = { sample: new ort.Tensor('float32', noise, [1, 3, 32, 32]), timestep: new ort.Tensor('float32', [500], [1]) };

const times = [];
for (let i = 0; i < warmUp + passes; i++) {
  const start = performance.now();
  await session.run(inputs);
  if (i >= warmUp) times.push(performance.now() - start);
}

times.sort((a, b) => a - b);
console.log(JSON.stringify({ min: times[0], median: times[times.length >> 1] }));
