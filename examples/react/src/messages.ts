// What is said in both directions, checked and typed. Any Standard Schema would do in place of these two lines of code.
import { schemas, type StandardSchema } from '@wsguard/client/schema';

function schema<T>(test: (value: any) => boolean): StandardSchema<T> {
  return {
    '~standard': {
      version: 1,
      vendor: 'example',
      validate: (value) => (test(value) ? { value: value as T } : { issues: [{ message: 'not the expected form' }] }),
    },
  };
}

export interface Line {
  from: string;
  room: string;
  message: string;
  at: number;
}

export const incoming = schemas({
  incoming: { chat: schema<Line>((it) => typeof it?.from === 'string' && typeof it.message === 'string' && it.at > 0) },
});
