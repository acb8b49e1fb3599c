/**
 * Message types from schemas: any Standard Schema, so zod, valibot, arktype and others.
 *
 * @example
 * const socket = new SecureWebSocket({
 *   url: 'wss://example.com/ws',
 *   authToken,
 *   ...schemas({
 *     incoming: { chat: z.object({ from: z.string(), message: z.string() }) },
 *     outgoing: { chat: z.object({ message: z.string().min(1) }) },
 *   }),
 *   onMessage: ({ type, payload }) => console.log(type, payload.from),
 * });
 * await socket.send({ type: 'chat', payload: { message: 'Hello, world!' } });
 *
 * @module
 */
import type { IncomingMessage, OutgoingMessage } from './options.js';

/** The part of Standard Schema version 1 that is used here; see https://standardschema.dev. */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

/** What a schema makes of a payload: its value, or why it is none. */
export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: ReadonlyArray<Issue> };

/** What a schema has to say about a payload. */
export interface Issue {
  readonly message: string;
  readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined;
}

/** The schema of the payload of each message type. */
export type Schemas = Readonly<Record<string, StandardSchema<any, any>>>;

/** The types of a schema: before it was applied, and after. */
export type SchemaTypes<S> = S extends StandardSchema ? NonNullable<S['~standard']['types']> : never;
/** The member `payload`, which may be left out where it may be undefined. */
export type PayloadMember<P> = undefined extends P ? { payload?: P } : { payload: P };

/** The messages that the schemas of the server's side describe. */
export type Incoming<S extends Schemas | undefined> = S extends Schemas
  ? { [T in keyof S & string]: Omit<IncomingMessage, 'type' | 'payload'> & { type: T; payload: SchemaTypes<S[T]>['output'] } }[keyof S & string]
  : IncomingMessage;

/** The messages that the schemas of this side describe. */
export type Outgoing<S extends Schemas | undefined> = S extends Schemas
  ? { [T in keyof S & string]: { type: T } & PayloadMember<SchemaTypes<S[T]>['input']> }[keyof S & string]
  : OutgoingMessage;

/** A payload that is not what its schema says, or a type without a schema. */
export class SchemaError extends Error {
  override readonly name = 'SchemaError';
  readonly issues: ReadonlyArray<Issue>;

  constructor(type: string, issues: ReadonlyArray<Issue>) {
    super(`${type}: ${issues.map(({ message }) => message).join('; ')}`);
    this.issues = issues;
  }
}

/**
 * Options that check every message of a direction and give it its type. A direction without schemas is not checked.
 *
 * Where schemas are given, they know every type: another one is refused. Schemas must answer at once, without a promise.
 */
export function schemas<I extends Schemas | undefined = undefined, O extends Schemas | undefined = undefined>(
  directions: { incoming?: I; outgoing?: O },
): {
  incoming: ((message: IncomingMessage) => Incoming<I>) | undefined;
  outgoing: ((message: Outgoing<O>) => OutgoingMessage) | undefined;
} {
  return {
    incoming: checker(directions.incoming) as ((message: IncomingMessage) => Incoming<I>) | undefined,
    outgoing: checker(directions.outgoing) as ((message: Outgoing<O>) => OutgoingMessage) | undefined,
  };
}

function checker(all: Schemas | undefined) {
  return (
    all &&
    (<M extends OutgoingMessage>(message: M): M => {
      const { type, payload } = message;
      const schema = Object.hasOwn(all, type) ? all[type] : undefined;
      if (!schema) throw new SchemaError(type, [{ message: 'there is no schema for this type' }]);
      const result = schema['~standard'].validate(payload);
      if (result instanceof Promise) throw new TypeError(`the schema of ${type} answers with a promise`);
      if (result.issues) throw new SchemaError(type, result.issues);
      return { ...message, payload: result.value };
    })
  );
}
