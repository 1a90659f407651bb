// The functions of the contract in general.
import type { Client } from './gen/client/types.gen.js';

/** A function of the contract, such as `listSensors`. */
export type Operation<Data = unknown> = (
  options: never,
) => Promise<{ data: Data | undefined; request: Request; response: Response }>;

/** The options that an operation takes. */
export type OptionsOf<Op extends Operation> = NonNullable<Parameters<Op>[0]>;

/** The data that an operation returns. */
export type DataOf<Op extends Operation> = Exclude<Awaited<ReturnType<Op>>['data'], undefined>;

/** Calls an operation with its options and some more. */
export async function call<Op extends Operation>(
  operation: Op,
  options: OptionsOf<Op>,
  more: object = {},
): Promise<{ data: DataOf<Op>; request: Request; response: Response }> {
  const all = { ...(options as object), ...more, throwOnError: true };
  const { data, request, response } = await operation(all as never);
  return { data: data as DataOf<Op>, request, response };
}

/** A request, before its address is made up. */
export interface Description {
  /** HTTP method, in lower case. */
  method: string;
  /** Path of the operation in the contract, such as `/api/sensors/{id}`. */
  url: string;
  path?: Record<string, unknown>;
  query?: Record<string, unknown>;
}

/** Returns what an operation would request, without doing so. Independent of function names. */
export function describe(operation: Operation, options: object): Description {
  return operation({ ...options, client: recorder } as never) as unknown as Description;
}

// A client whose methods return what they are called with.
const recorder = new Proxy({} as Client, {
  get: (_, method) => (request: object) => ({ ...request, method }),
});
