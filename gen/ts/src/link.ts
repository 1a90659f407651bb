// The Link header of answers.

/** Returns the address of the link with a relation, as the server wrote it. */
export function linkTo(rel: string, response: Response): string | undefined {
  const links = (response.headers.get('Link') ?? '').matchAll(/<([^>]*)>([^<]*)/g);
  const relation = new RegExp(`;\\s*rel="?${rel}"?\\s*(;|,|$)`);
  for (const [, target, parameters] of links) if (relation.test(parameters!)) return target;
  return undefined;
}
