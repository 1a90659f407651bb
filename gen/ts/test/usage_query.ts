// Compiled strictly against the published types: sessions, pages and TanStack Query.
import {
  createSensor,
  getSensor,
  isProblem,
  listAlarms,
  listSensors,
  type Sensor,
} from '@oei-ms/client';
import { Live } from '@oei-ms/client/live';
import { items, pages } from '@oei-ms/client/pages';
import {
  followLive,
  infiniteQueryOptions,
  mutationOptions,
  queryKey,
  queryOptions,
} from '@oei-ms/client/query';
import { connect, SessionEndedError, type Session } from '@oei-ms/client/session';
import {
  InfiniteQueryObserver,
  MutationObserver,
  QueryClient,
  QueryObserver,
} from '@tanstack/query-core';

export async function session(): Promise<Session> {
  const oei = await connect({ login: () => ({ username: 'ada', password: 'secret' }) });
  oei.on('end', (err) => console.log(err.cause));
  // @ts-expect-error: there is no such event
  oei.on('started', () => {});
  try {
    const { data } = await listSensors({ client: oei.client, timeout: 5_000, retries: 1 });
    console.log(data.length);
  } catch (err) {
    if (err instanceof SessionEndedError) return session();
    if (!isProblem(err, 'conflict', 'changed')) throw err;
    const type: '/problems/conflict' | '/problems/changed' = err.type;
    console.log(type, err.status, err.errors[0]?.field, err.requestId);
    // @ts-expect-error: there is no such kind
    isProblem(err, 'teapot');
  }
  // @ts-expect-error: a timeout is a number of ms
  await listSensors({ client: oei.client, timeout: '5s' });
  return oei;
}

export async function lists({ client }: Session): Promise<Sensor[]> {
  const found: Sensor[] = [];
  for await (const sensor of items(listSensors, { client, query: { type: 'pressure' } })) {
    found.push(sensor);
  }
  for await (const page of pages(listSensors, { client })) found.push(...page);
  // @ts-expect-error: sensors have no such parameter
  for await (const sensor of items(listSensors, { query: { colour: 'red' } })) found.push(sensor);
  // @ts-expect-error: a sensor is not a list
  items(getSensor, { path: { id: 1 } });
  return found;
}

export async function queries({ client, ...oei }: Session): Promise<string | undefined> {
  const queryClient = new QueryClient();
  const options = queryOptions(getSensor, { client, path: { id: 7 } });
  const observer = new QueryObserver(queryClient, options);
  observer.subscribe(({ data, error }) => console.log(data?.name.trim(), error?.message));
  const sensor: Sensor | undefined = queryClient.getQueryData(options.queryKey);
  // @ts-expect-error: a sensor is asked for by its id
  queryOptions(getSensor, { client });

  const list = infiniteQueryOptions(listSensors, { client, query: { limit: 50 } });
  new InfiniteQueryObserver(queryClient, list).subscribe(({ data }) => {
    const names: string[] | undefined = data?.pages.flatMap((page) =>
      page.items.map((s) => s.name),
    );
    console.log(names);
  });
  const mutation = new MutationObserver(queryClient, {
    ...mutationOptions(createSensor, { client }),
    onSuccess: (created) => console.log(created.id.toFixed()),
  });
  await mutation.mutate({ body: { name: 'T1', type: 'temperature', gateway_id: 1 } });
  // @ts-expect-error: a sensor has a gateway
  await mutation.mutate({ body: { name: 'T1', type: 'temperature' } });
  await queryClient.invalidateQueries({ queryKey: queryKey(listAlarms) });

  const live = new Live({ session: { client, ...oei } });
  followLive(queryClient, { live, client, topics: ['gateways/1', 'alarms'] }).unsubscribe();
  return sensor?.name;
}
