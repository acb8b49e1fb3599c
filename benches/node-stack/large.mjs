// Nanoseconds that JSON.parse and a compiled ajv validator take for the text and schema in the arguments.
import Ajv from 'ajv/dist/2020.js';

const [text, schema] = process.argv.slice(2);
const validate = new Ajv({ allErrors: false, strict: false }).compile(JSON.parse(schema));
let valid = true;
const turn = (count) => {
  const started = process.hrtime.bigint();
  for (let i = 0; i < count; i += 1) valid &&= validate(JSON.parse(text));
  return Number(process.hrtime.bigint() - started) / count;
};
turn(20_000);
let best = Infinity;
for (let i = 0; i < 7; i += 1) best = Math.min(best, turn(2_000));
if (!valid) throw new Error('the message of the measurement is not valid');
console.log(best.toFixed(0));
