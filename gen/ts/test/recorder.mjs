// Records which operations of the contract a client calls.
const methods = ['get', 'put', 'post', 'delete', 'patch'];

/** Lists the operations of the contract: id, method, and a pattern of the path. */
export function operationsOf(contract) {
  return Object.entries(contract.paths).flatMap(([path, item]) =>
    methods
      .filter((m) => item[m])
      .map((method) => ({
        id: item[method].operationId,
        method,
        statuses: Object.keys(item[method].responses),
        literals: path.split('/').filter((part) => !part.startsWith('{')).length,
        pattern: new RegExp(
          `^${path.replace(/[.*+?^$()|[\]\\]/g, '\\$&').replace(/\{\w+\}/g, '[^/]+')}$`,
        ),
      })),
  );
}

/**
 * Returns `fetch` and `WebSocket` for a client of `origin`. An operation is in `succeeded` once it
 * was answered with a documented status below 400. A request outside of the contract, or an answer
 * with a status that the operation does not document, is a fault.
 */
export function recordOperations(contract, origin) {
  const operations = operationsOf(contract);
  const succeeded = new Set();
  const faults = [];
  const find = (method, address) => {
    const { pathname } = new URL(address, origin);
    const found = operations
      .filter((o) => o.method === method.toLowerCase() && o.pattern.test(pathname))
      .sort((a, b) => b.literals - a.literals)[0]; // /alarms/kpi before /alarms/{id}
    if (!found) faults.push(`${method} ${pathname} is not in the contract`);
    return found;
  };
  const record = (operation, status) => {
    if (!operation) return;
    if (!operation.statuses.includes(String(status)))
      faults.push(`${operation.id} answered ${status}`);
    else if (status < 400) succeeded.add(operation.id);
  };
  return {
    succeeded,
    faults,
    notDriven: () => operations.map((o) => o.id).filter((id) => !succeeded.has(id)),
    async fetch(request) {
      const operation = find(request.method, request.url);
      const response = await fetch(request);
      record(operation, response.status);
      return response;
    },
    WebSocket: class extends WebSocket {
      constructor(address) {
        super(address);
        const operation = find('GET', address);
        this.addEventListener('open', () => record(operation, 101));
      }
    },
  };
}
