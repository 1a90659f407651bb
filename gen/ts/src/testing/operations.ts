import { operations as table } from '../gen/operations.gen.js';

type Sdk = typeof import('../gen/sdk.gen.js');

/** The name of an operation, which is that of its function: `listSensors`. */
export type OperationName = keyof Sdk;

type Input<N extends OperationName> = NonNullable<Parameters<Sdk[N]>[0]>;
type Member<T, K extends string> = T extends { [key in K]?: infer V } ? NonNullable<V> : never;

/** The data of an operation's successful answer. */
export type Data<N extends OperationName> = Exclude<Awaited<ReturnType<Sdk[N]>>['data'], undefined>;

/** A request as a handler sees it: parameters and body have the types of the contract. */
export interface FakeRequest<N extends OperationName = OperationName> {
  operation: N;
  path: Member<Input<N>, 'path'>;
  query: Member<Input<N>, 'query'>;
  body: Member<Input<N>, 'body'>;
  headers: Headers;
}

/** What the contract says about an operation. */
export interface Operation {
  name: OperationName;
  method: string;
  url: string;
  status: number;
  headers: readonly string[];
  content: readonly string[];
  path: Record<string, string>;
  query: Record<string, string>;
}

const operations = Object.entries(table).map(([name, operation]) => ({
  ...(operation as Omit<Operation, 'name'>),
  name: name as OperationName,
  pattern: new RegExp(
    `^${operation.url.replaceAll('.', '\\.').replace(/{(\w+)}/g, '(?<$1>[^/]+)')}$`,
  ),
}));

/** Finds the operation that an address below `base` stands for. */
export function findOperation(method: string, address: URL, base: URL): Operation | undefined {
  const path = pathBelow(base, address);
  const found = operations.filter((o) => o.method === method && path && o.pattern.test(path));
  return found.find((o) => o.url === path) ?? found[0]; // /alarms/kpi before /alarms/{id}
}

/** Reads parameters and body of a request as the types of the contract. */
export async function readRequest(
  request: Request,
  address: URL,
  operation: Operation,
): Promise<FakeRequest> {
  const names = operation.url.split('/').slice(1);
  const parts = address.pathname.split('/').slice(-names.length);
  const path: Record<string, unknown> = {};
  names.forEach((name, i) => {
    if (!name.startsWith('{')) return;
    const key = name.slice(1, -1);
    path[key] = parse(decodeURIComponent(parts[i]!), operation.path[key]);
  });
  const query: Record<string, unknown> = {};
  for (const name of new Set(address.searchParams.keys())) {
    const type = operation.query[name];
    const values = address.searchParams.getAll(name).map((text) => parse(text, type));
    query[name] = type?.endsWith('[]') ? values : values[0];
  }
  const text = await request.text();
  const isForm = request.headers.get('Content-Type')?.startsWith('application/x-www-form');
  const body = isForm ? Object.fromEntries(new URLSearchParams(text)) : text && JSON.parse(text);
  return { operation: operation.name, path, query, body, headers: request.headers } as FakeRequest;
}

function pathBelow(base: URL, address: URL): string | undefined {
  const prefix = base.pathname.replace(/\/$/, '');
  const isBelow = address.origin === base.origin && address.pathname.startsWith(`${prefix}/`);
  return isBelow ? address.pathname.slice(prefix.length) : undefined;
}

function parse(text: string, type = 'string'): unknown {
  if (type.startsWith('boolean')) return text === 'true';
  return /^(integer|number)/.test(type) ? Number(text) : text;
}
