/** Round trips that the statistics look back on. */
const SAMPLES = 16;

/** How long a ping took to be answered, in milliseconds. */
export interface Rtt {
  last: number;
  /** The median of the last 16. */
  median: number;
  /** The mean difference of one to the next. */
  jitter: number;
}

/** Takes the next round trip into `samples` and says how the connection is. */
export function measure(samples: number[], ms: number): Rtt {
  if (samples.push(ms) > SAMPLES) samples.shift();
  const sorted = [...samples].sort((a, b) => a - b);
  const steps = samples.slice(1).map((sample, at) => Math.abs(sample - samples[at]!));
  return {
    last: ms,
    median: sorted[sorted.length >> 1]!,
    jitter: steps.reduce((sum, step) => sum + step, 0) / (steps.length || 1),
  };
}
