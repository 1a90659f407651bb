package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/series"
)

// batch is a set of readings on their way. Rows go to the database in order of key, so that two
// batches never wait for each other in a circle.
type batch struct {
	readings []Reading
	side     SideWrites
	outcomes []Outcome
	// those sent, in order of sensor and time: of several with one key the first to come
	rows     []row
	ahead    bool // the timestamp of a reading is later than its receipt
	repeats  []repeat
	repeated bool // one of them was there before
}

// row is the key of a reading, beside it, so that sorting stays in one place of memory.
type row struct {
	sensor  int64
	micros  int64 // since 1970
	at      int64 // its effective time, likewise
	reading int
}

// repeat is a reading whose key another one of the batch has that came first.
type repeat struct{ reading, first int }

func newBatch(rs []Reading, side SideWrites) *batch {
	b := &batch{
		readings: rs,
		side:     side,
		outcomes: make([]Outcome, len(rs)),
		rows:     make([]row, len(rs)),
	}
	for i := range rs {
		r := row{rs[i].SensorID, rs[i].Timestamp.UnixMicro(), rs[i].EffectiveTime().UnixMicro(), i}
		b.rows[i], b.ahead = r, b.ahead || r.at < r.micros
	}
	slices.SortFunc(b.rows, func(x, y row) int {
		switch {
		case x.sensor != y.sensor:
			return cmp.Compare(x.sensor, y.sensor)
		case x.micros != y.micros:
			return cmp.Compare(x.micros, y.micros)
		}
		return cmp.Compare(x.reading, y.reading)
	})
	first := row{reading: -1}
	b.rows = slices.DeleteFunc(b.rows, func(r row) bool {
		if first.reading >= 0 && r.sensor == first.sensor && r.micros == first.micros {
			b.repeats = append(b.repeats, repeat{r.reading, first.reading})
			return true
		}
		first = r
		return false
	})
	return b
}

// reset forgets the outcomes of a transaction that was rolled back.
func (b *batch) reset() {
	clear(b.outcomes)
	b.repeated = false
}

// rejections returns what the transaction records: the rejections from before the write and those
// of conflicts.
func (b *batch) rejections() []Rejection {
	all := slices.Clip(b.side.Rejections)
	for i, c := range b.side.Conflicts {
		if b.outcomes[i] == Conflict && c.Rejection != nil {
			r := *c.Rejection
			r.Payload = c.Payload
			all = append(all, r)
		}
	}
	return all
}

// outcomeOfRepeat is the outcome of a reading whose key is taken.
func outcomeOfRepeat(there, came float64) Outcome {
	if there == came || math.IsNaN(there) && math.IsNaN(came) {
		return Duplicate
	}
	return Conflict
}

// insert adds the rows. One that is there already is errDuplicate, unless it is wary: then it looks for
// those first, and only what comes in between is errDuplicate. known are the partitions. It asks for
// nothing that one server alone could answer, such as which transaction made a row, so that rows
// may be kept by several.
func (b *batch) insert(
	ctx context.Context, tx *sqlx.Tx, checkFirst bool, known []partition,
) error {
	there := map[int]float64{}
	added := batch{readings: b.readings, rows: b.rows}
	if checkFirst && len(b.rows) > 0 {
		var err error
		if there, err = b.find(ctx, tx, known); err != nil {
			return err
		}
		if b.repeated = len(there) > 0; b.repeated {
			added.rows = slices.DeleteFunc(slices.Clone(b.rows),
				func(r row) bool { _, found := there[r.reading]; return found })
		}
	}
	if err := added.add(ctx, tx); err != nil {
		return err
	}
	for _, r := range b.repeats {
		value, taken := there[r.first]
		if !taken {
			value = b.readings[r.first].Value
		}
		b.outcomes[r.reading] = outcomeOfRepeat(value, b.readings[r.reading].Value)
	}
	return nil
}

// add inserts all rows, or is errDuplicate.
func (b *batch) add(ctx context.Context, tx *sqlx.Tx) error {
	if len(b.rows) == 0 {
		return nil
	}
	const q = `
		INSERT INTO sensor_data (sensor_id, timestamp, value, status_code, quality)
		SELECT * FROM unnest($1::int[], $2::timestamptz[], $3::float8[], $4::int[], $5::smallint[])`
	sensors, times := b.keys()
	n := len(b.rows)
	_, err := tx.ExecContext(ctx, q, sensors, times,
		float8s(n, func(i int) float64 { return b.row(i).Value }),
		statusCodes(n, func(i int) uint32 { return b.row(i).StatusCode }),
		int16s(n, func(i int) int16 { return int16(b.row(i).Quality) }))
	if errors.Is(sentinel(err), ErrConflict) {
		return errDuplicate
	}
	return err
}

// find settles the outcomes of the rows that are there already, and returns the values there by
// reading.
func (b *batch) find(ctx context.Context, tx *sqlx.Tx, known []partition) (map[int]float64, error) {
	first, last := b.rows[0].micros, b.rows[0].micros
	for _, r := range b.rows {
		first, last = min(first, r.micros), max(last, r.micros)
	}
	found := map[int]float64{}
	for _, w := range cut(known, time.UnixMicro(first), time.UnixMicro(last+1), whole) {
		part := batch{readings: b.readings, outcomes: b.outcomes}
		for _, r := range b.rows {
			if r.micros >= w.start.UnixMicro() && r.micros < w.end.UnixMicro() {
				part.rows = append(part.rows, r)
			}
		}
		if len(part.rows) == 0 {
			continue
		}
		if err := part.findIn(ctx, tx, w, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// findIn is find of rows that are all within w.
func (b *batch) findIn(ctx context.Context, tx *sqlx.Tx, w span, found map[int]float64) error {
	const q = `
		SELECT i.n, d.value
		FROM unnest($1::int[], $2::timestamptz[]) WITH ORDINALITY AS i (sensor_id, timestamp, n)
		JOIN sensor_data d ON d.sensor_id = i.sensor_id AND d.timestamp = i.timestamp
		WHERE d.timestamp >= $3 AND d.timestamp < $4` // so that no other partition is looked at
	sensors, times := b.keys()
	rows, err := tx.QueryContext(ctx, q, sensors, times, w.start, w.end)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var n int
		var there sql.Null[float64]
		if err := rows.Scan(&n, &there); err != nil {
			return err
		}
		if !there.Valid {
			there.V = math.NaN()
		}
		i := b.rows[n-1].reading
		found[i] = there.V
		b.outcomes[i] = outcomeOfRepeat(there.V, b.readings[i].Value)
	}
	return rows.Err()
}

// move moves latest forward and steps the alarms that look at the sensors.
func (b *batch) move(ctx context.Context, tx *sqlx.Tx, m *evaluator, kept *stateCache) error {
	if !b.watched(m.rules) {
		_, err := b.upsertLatest(ctx, tx, b.newest(), m, false)
		return err
	}
	now := time.Now()
	err := b.lockLinked(ctx, tx, m, now)
	if err != nil {
		return err
	}
	newest := b.newest()
	if m.moved, err = b.upsertLatest(ctx, tx, newest, m, true); err != nil {
		return err
	}
	if err := b.noteLateReceipts(ctx, tx, newest, m); err != nil {
		return err
	}
	return b.evaluateAlarms(ctx, tx, m, kept, now)
}

// inOrder is the rows that are new in order of sensor and effective time, those of one effective
// time in order of their timestamps.
func (b *batch) inOrder() []row {
	rows := b.rows
	if b.ahead {
		rows = slices.SortedFunc(slices.Values(rows), func(x, y row) int {
			return cmp.Or(cmp.Compare(x.sensor, y.sensor), cmp.Compare(x.at, y.at),
				cmp.Compare(x.micros, y.micros))
		})
	}
	return rows
}

// watched reports whether alarms look at a sensor of the rows that are new.
func (b *batch) watched(rules *ruleSet) bool {
	return slices.ContainsFunc(b.rows, func(r row) bool {
		return b.outcomes[r.reading] == Stored && len(rules.bySensor[r.sensor]) > 0
	})
}

// movedSensor is a sensor whose latest this transaction has moved, and therefore holds.
type movedSensor struct {
	sensor int64
	// timestamps of the newest reading before and now; previous may be never
	previous, at     series.Instant
	previousReceived series.Instant
	stamp            int64
	unlinked         []int64       // its alarms that stand alone, when they are known
	kept             *cachedSensor // nil: nothing
}

// before is what an alarm needs to know of the reading before: when it was.
func (v *movedSensor) before(r *alarm.Rule) alarm.Sample {
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

// newest is the newest of the rows that are new of each sensor.
func (b *batch) newest() []row {
	newest := b.rows[:0:0]
	for _, r := range b.inOrder() {
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

// upsertLatest moves latest forward to newest, and tells which it has moved when that is asked for. A
// sensor that had none gets m's stamp.
func (b *batch) upsertLatest(
	ctx context.Context, tx *sqlx.Tx, newest []row, m *evaluator, tell bool,
) ([]movedSensor, error) {
	if len(newest) == 0 {
		return nil, nil
	}
	q := `
		INSERT INTO latest (sensor_id, timestamp, received_at, value, status_code, quality, spread_ms, stamp)
		SELECT *, $8::bigint
		FROM unnest($1::int[], $2::timestamptz[], $3::timestamptz[], $4::float8[], $5::int[], $6::smallint[], $7::int[])
		ON CONFLICT (sensor_id) DO UPDATE
		SET timestamp = excluded.timestamp, received_at = excluded.received_at, value = excluded.value,
			status_code = excluded.status_code, quality = excluded.quality,
			previous = latest.timestamp, previous_received = latest.received_at, spread_ms = ` + nextSpread + `
		WHERE (least(latest.timestamp, latest.received_at), latest.timestamp)
			< (least(excluded.timestamp, excluded.received_at), excluded.timestamp)`
	l := batch{readings: b.readings, rows: newest}
	sensors, times := l.keys()
	n := len(newest)
	args := []any{
		sensors, times,
		timestamps(n, func(i int) time.Time { return l.row(i).receipt() }),
		float8s(n, func(i int) float64 { return l.row(i).Value }),
		statusCodes(n, func(i int) uint32 { return l.row(i).StatusCode }),
		int16s(n, func(i int) int16 { return int16(l.row(i).Quality) }),
		b.spreads(newest, m.rules),
		m.stamp,
	}
	if !tell {
		_, err := tx.ExecContext(ctx, q, args...)
		return nil, err
	}
	q = `
		WITH moved AS (` + q + `
			RETURNING sensor_id, timestamp, previous, previous_received, stamp)
		SELECT array_send(array_agg(sensor_id::bigint)), array_send(array_agg(timestamp)),
			array_send(array_agg(coalesce(previous, '-infinity'))),
			array_send(array_agg(coalesce(previous_received, previous, '-infinity'))), array_send(array_agg(stamp))
		FROM moved` // as five values, since so many rows cost more than moving them
	var columns [5][]byte
	if err := tx.QueryRowContext(ctx, q, args...).Scan(&columns[0], &columns[1], &columns[2],
		&columns[3], &columns[4]); err != nil {
		return nil, err
	}
	moved := make([]movedSensor, words(columns[0]))
	for i := range moved {
		moved[i] = movedSensor{
			sensor:           word(columns[0], i),
			at:               series.Instant(word(columns[1], i)),
			previous:         series.Instant(word(columns[2], i)),
			previousReceived: series.Instant(word(columns[3], i)),
			stamp:            word(columns[4], i),
		}
	}
	slices.SortFunc(moved, bySensor) // they are, but nothing says so
	return moved, nil
}

func (b *batch) row(i int) *Reading { return &b.readings[b.rows[i].reading] }

// keys encodes the primary keys of the rows.
func (b *batch) keys() (sensors, times []byte) {
	n := len(b.rows)
	return int32sOf(n, func(i int) int64 { return b.rows[i].sensor }), microseconds(n,
		func(i int) int64 { return b.rows[i].micros })
}
