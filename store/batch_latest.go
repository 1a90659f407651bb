package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/series"
)

// updateLatest moves latest forward to the new rows and evaluates the alarms of their sensors.
func (b *batch) updateLatest(
	ctx context.Context, tx *sqlx.Tx, ev *evaluator, states *stateCache,
) error {
	if !b.hasAlarms(ev.rules) {
		q, args := b.upsertLatest(b.newest(), ev)
		if len(args) == 0 {
			return nil
		}
		_, err := tx.ExecContext(ctx, q, args...)
		return err
	}
	now := time.Now()
	err := b.lockLinked(ctx, tx, ev, now)
	if err != nil {
		return err
	}
	newest := b.newest()
	if ev.moved, err = b.moveLatest(ctx, tx, newest, ev); err != nil {
		return err
	}
	if err := b.noteLateReceipts(ctx, tx, newest, ev); err != nil {
		return err
	}
	return b.evaluateAlarms(ctx, tx, ev, states, now)
}

// byEffectiveTime returns the rows by sensor and effective time, rows with the same effective time
// by timestamp.
func (b *batch) byEffectiveTime() []row {
	if !b.hasAhead {
		return b.rows
	}
	return slices.SortedFunc(slices.Values(b.rows), func(x, y row) int {
		return cmp.Or(cmp.Compare(x.sensor, y.sensor), cmp.Compare(x.at, y.at),
			cmp.Compare(x.micros, y.micros))
	})
}

// hasAlarms reports whether the sensor of a new row has alarms.
func (b *batch) hasAlarms(rules *ruleSet) bool {
	return slices.ContainsFunc(b.rows, func(r row) bool {
		return b.outcomes[r.reading] == Stored && len(rules.bySensor[r.sensor]) > 0
	})
}

// movedSensor is a sensor whose row in latest this transaction has moved, and therefore locked.
type movedSensor struct {
	sensor int64
	// timestamps of the newest reading before and now; previous may be Never
	previous, at     series.Instant
	previousReceived series.Instant
	stamp            int64
	unlinked         []int64       // its unlinked alarms, once stateCache.take has set them
	cached           *cachedSensor // nil: its states are not cached
}

// previousSample returns what an alarm needs to know of the previous newest reading: its time.
func (v *movedSensor) previousSample(r *alarm.Rule) alarm.Sample {
	if r.Kind == alarm.NoData {
		return alarm.Sample{SensorID: v.sensor, At: v.previousReceived.Time()}
	}
	return sample(Reading{
		SensorID:  v.sensor,
		Timestamp: v.previous.Time(),
		Received:  v.previousReceived.Time(),
	})
}

func bySensor(x, y movedSensor) int { return cmp.Compare(x.sensor, y.sensor) }

// newest returns the newest of the new rows of each sensor.
func (b *batch) newest() []row {
	newest := b.rows[:0:0]
	for _, r := range b.byEffectiveTime() {
		if b.outcomes[r.reading] != Stored {
			continue
		}
		if n := len(newest); n > 0 && newest[n-1].sensor == r.sensor {
			newest = newest[:n-1]
		}
		newest = append(newest, r)
	}
	return newest
}

// upsertLatest returns the statement that moves latest forward to newest, without arguments when
// newest is empty. A sensor that has no row yet gets ev's stamp.
func (b *batch) upsertLatest(newest []row, ev *evaluator) (q string, args []any) {
	if len(newest) == 0 {
		return "", nil
	}
	q = `
		INSERT INTO latest (sensor_id, timestamp, received_at, value, status_code, quality,
			spread_ms, stamp)
		SELECT r.*, $8::bigint
		FROM unnest($1::int[], $2::timestamptz[], $3::timestamptz[], $4::float8[], $5::int[],
			$6::smallint[], $7::int[]) r
		ON CONFLICT (sensor_id) DO UPDATE
		SET timestamp = excluded.timestamp, received_at = excluded.received_at,
			value = excluded.value, status_code = excluded.status_code,
			quality = excluded.quality, previous = latest.timestamp,
			previous_received = latest.received_at, spread_ms = ` + nextSpread + `
		WHERE (least(latest.timestamp, latest.received_at), latest.timestamp)
			< (least(excluded.timestamp, excluded.received_at), excluded.timestamp)`
	return q, []any{
		column(newest, asInt4, func(r row) int64 { return r.sensor }),
		column(newest, asInstant, row.instant),
		column(newest, asTimestamptz,
			func(r row) time.Time { return b.readings[r.reading].receivedTime() }),
		column(newest, asFloat8, func(r row) float64 { return b.readings[r.reading].Value }),
		column(newest, asStatusCode,
			func(r row) uint32 { return b.readings[r.reading].StatusCode }),
		column(newest, asInt2, func(r row) int16 { return int16(b.readings[r.reading].Quality) }),
		column(b.spreads(newest, ev.rules), asPositiveInt4, func(ms int32) int32 { return ms }),
		ev.stamp,
	}
}

// moveLatest moves latest forward to newest and returns the sensors that have moved.
func (b *batch) moveLatest(
	ctx context.Context, tx *sqlx.Tx, newest []row, ev *evaluator,
) ([]movedSensor, error) {
	upsert, args := b.upsertLatest(newest, ev)
	if len(args) == 0 {
		return nil, nil
	}
	// five values, since as many rows would cost more than the upsert
	q := `
		WITH moved AS (` + upsert + `
			RETURNING sensor_id, timestamp, previous, previous_received, stamp)
		SELECT array_send(array_agg(sensor_id::bigint)), array_send(array_agg(timestamp)),
			array_send(array_agg(coalesce(previous, '-infinity'))),
			array_send(array_agg(coalesce(previous_received, previous, '-infinity'))),
			array_send(array_agg(stamp))
		FROM moved`
	var sensors, times, previous, received, stamps []byte
	if err := tx.QueryRowContext(ctx, q, args...).Scan(
		&sensors, &times, &previous, &received, &stamps,
	); err != nil {
		return nil, err
	}
	moved := make([]movedSensor, words(sensors))
	for i := range moved {
		moved[i] = movedSensor{
			sensor:           word(sensors, i),
			at:               series.Instant(word(times, i)),
			previous:         series.Instant(word(previous, i)),
			previousReceived: series.Instant(word(received, i)),
			stamp:            word(stamps, i),
		}
	}
	slices.SortFunc(moved, bySensor) // nothing guarantees the order of RETURNING
	return moved, nil
}
