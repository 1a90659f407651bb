// Alarms: rules, the operator's commands, the alarm log, KPIs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  acknowledgeAlarm,
  acknowledgeAlarms,
  commentOnAlarm,
  createAlarm,
  createSensor,
  deleteAlarm,
  explainAlarm,
  getAlarm,
  getAlarmKpi,
  listAlarmEvents,
  listAlarms,
  listEventsForAlarm,
  resetAlarm,
  returnAlarmToService,
  shelveAlarm,
  simulateAlarm,
  takeAlarmOutOfService,
  unshelveAlarm,
  updateAlarm,
  writeReadings,
  ProblemType,
} from '@oei-ms/client';

const rule = {
  name: 'Hydraulics hot',
  kind: 'threshold',
  severity: 'major',
  limits: { high: { value: 80 }, high_high: { value: 95, severity: 'critical' } },
  latching: true,
  labels: { line: '1' },
};

export function driveAlarms(plant) {
  let alarm, sensor_id;
  const read = async () => (await getAlarm({ path: { id: alarm.id } })).data;
  const write = (value) => writeReadings({ body: { readings: [{ sensor_id, value }] } });

  test('a rule is simulated on stored readings before it is created', async () => {
    sensor_id = (
      await createSensor({
        body: {
          key: 'hydraulics',
          name: 'Hydraulics',
          type: 'temperature',
          unit: 'Cel',
          gateway_id: plant.gateway.id,
        },
      })
    ).data.id;
    const now = Date.now();
    const ago = (ms) => new Date(now - ms).toISOString();
    const readings = [70, 90, 70].map((value, i) => ({
      sensor_id,
      timestamp: ago((3 - i) * 1000),
      value,
    }));
    await writeReadings({ body: { readings } });
    const { data: result } = await simulateAlarm({
      body: { sensor_id, rule, start: ago(60_000), end: ago(0) },
    });
    assert.equal(result.readings, 3);
    assert.deepEqual(
      result.events.map((e) => e.kind),
      ['raised', 'latched'],
    );

    const created = await createAlarm({ body: { sensor_id, rule } });
    alarm = created.data;
    assert.equal(created.response.headers.get('Location'), `/api/alarms/${alarm.id}`);
    assert.equal(alarm.state, 'normal');
  });

  test('a raised alarm is listed and explained, then acknowledged as it was seen', async () => {
    await write(90);
    const { data: alarms } = await listAlarms({
      query: { state: ['active_unacknowledged'], label: ['line=1'], sort: 'severity' },
    });
    const [raised] = alarms;
    assert.deepEqual([raised.id, raised.severity, raised.occurrence], [alarm.id, 'major', 1]);
    const { data: explanation } = await explainAlarm({ path: { id: alarm.id } });
    assert.deepEqual([explanation.level, explanation.inputs[0].value], ['high', 90]);
    assert.ok(explanation.why.length > 0);

    const { occurrence, state_version } = raised;
    const { data: acknowledged } = await acknowledgeAlarm({
      path: { id: alarm.id },
      body: { occurrence, state_version, comment: 'crew is on its way' },
    });
    assert.equal(acknowledged.state, 'active_acknowledged');
    const late = await acknowledgeAlarm({
      path: { id: alarm.id },
      body: { occurrence, state_version },
      throwOnError: false,
    });
    assert.equal(late.error.type, ProblemType.CONFLICT);
  });

  test('an operator comments, shelves and unshelves', async () => {
    const path = { id: alarm.id };
    await commentOnAlarm({ path, body: { comment: 'bearing ordered' } });
    const { data: shelved } = await shelveAlarm({
      path,
      body: { duration_seconds: 3600, comment: 'sensor is being cleaned' },
    });
    assert.equal(shelved.state, 'shelved');
    assert.ok(Date.parse(shelved.shelved_until) > Date.now());
    const { data: back } = await unshelveAlarm({ path, body: { comment: 'sensor is clean' } });
    assert.equal(back.state, 'active_acknowledged');
  });

  test('a latched alarm is reset after its condition is over', async () => {
    await write(60);
    assert.equal((await read()).state, 'latched_acknowledged');
    assert.equal((await resetAlarm({ path: { id: alarm.id }, body: {} })).data.state, 'normal');
  });

  test('an alarm is out of service while its pump is dismounted', async () => {
    const path = { id: alarm.id };
    const { data: out } = await takeAlarmOutOfService({
      path,
      body: { comment: 'pump is dismounted' },
    });
    assert.equal(out.state, 'out_of_service');
    await write(99);
    assert.equal(
      (await returnAlarmToService({ path, body: {} })).data.state,
      'active_unacknowledged',
    );
  });

  test('several alarms are acknowledged at once, each with its own result', async () => {
    const { id, occurrence, state_version } = await read();
    const { data: results } = await acknowledgeAlarms({
      body: {
        alarms: [
          { id, occurrence, state_version },
          { id: 2_000_000_000, occurrence: 1, state_version: 1 },
        ],
      },
    });
    assert.deepEqual(
      results.map((r) => r.status),
      ['acknowledged', 'not_found'],
    );
  });

  test('a rule is changed on the version that was read', async () => {
    const path = { id: alarm.id };
    const { response } = await getAlarm({ path });
    const headers = { 'If-Match': response.headers.get('ETag') };
    const { data: changed } = await updateAlarm({
      path,
      headers,
      body: { rule: { limits: { high: { value: 85 } } } },
    });
    assert.equal(changed.rule.limits.high.value, 85);
    assert.equal(changed.rule_version, alarm.rule_version + 1);
    const late = await updateAlarm({
      path,
      headers,
      body: { rule: { name: 'Late' } },
      throwOnError: false,
    });
    assert.deepEqual([late.error.status, late.error.type], [412, ProblemType.CHANGED]);
  });

  test('the alarm log tells all of it, also after the alarm is deleted', async () => {
    const path = { id: alarm.id };
    assert.equal((await deleteAlarm({ path, query: { dry_run: true } })).data.alarms, 1);
    assert.equal((await deleteAlarm({ path })).data.alarms, 1);
    const { data: events } = await listEventsForAlarm({ path });
    assert.deepEqual(
      events.slice(0, 6).map((e) => e.kind),
      ['raised', 'acknowledged', 'commented', 'shelved', 'unshelved', 'latched'],
    );
    assert.equal(events.at(-1).kind, 'deleted');
    assert.equal(events[1].comment, 'crew is on its way');
    const { data: log } = await listAlarmEvents({ query: { sensor_id, after: events[0].offset } });
    assert.deepEqual(
      log.map((e) => e.offset),
      events.slice(1).map((e) => e.offset),
    );
  });

  test('KPIs count the alarms that were announced', async () => {
    const { data: kpi } = await getAlarmKpi();
    assert.ok(kpi.alarms >= 1);
    assert.equal(
      Object.values(kpi.by_severity).reduce((sum, n) => sum + n),
      kpi.alarms,
    );
    assert.equal(kpi.per_10_min.length, 144);
  });
}
