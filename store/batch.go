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

	"github.com/oei-ms/oei-ms/series"
)

// batch is the readings of one transaction. Its rows are inserted in the order of their keys, so
// that two batches never deadlock.
type batch struct {
	readings []Reading
	side     SideWrites
	outcomes []Outcome
	// the rows to insert, by sensor and time; of several readings with one key only the first
	rows       []row
	hasAhead   bool // a reading has a timestamp later than its receipt
	repeats    []repeat
	isRepeated bool // a row was already stored
}

// row is the key of a reading. Sorting rows, not readings, touches less memory.
type row struct {
	sensor  int64
	micros  int64 // since 1970
	at      int64 // the effective time, in microseconds since 1970
	reading int
}

func (r row) instant() series.Instant { return series.InstantOfMicros(r.micros) }

// repeat is a reading that has the key of an earlier reading of the batch, first.
type repeat struct{ reading, first int }

func newBatch(readings []Reading, side SideWrites) *batch {
	b := &batch{
		readings: readings,
		side:     side,
		outcomes: make([]Outcome, len(readings)),
		rows:     make([]row, len(readings)),
	}
	for i := range readings {
		r := row{
			sensor:  readings[i].SensorID,
			micros:  readings[i].Timestamp.UnixMicro(),
			at:      readings[i].EffectiveTime().UnixMicro(),
			reading: i,
		}
		b.rows[i] = r
		b.hasAhead = b.hasAhead || r.at < r.micros
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
	b.isRepeated = false
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

// outcomeOfRepeat returns the outcome of a reading whose key is already stored with another value
// or the same.
func outcomeOfRepeat(stored, value float64) Outcome {
	if stored == value || math.IsNaN(stored) && math.IsNaN(value) {
		return Duplicate
	}
	return Conflict
}

// insert inserts the rows. With checkFirst it looks for rows that are already stored and leaves
// them out. A row that is stored nevertheless is errDuplicate. known are the partitions.
//
// It relies on nothing that only a single server could answer, such as which transaction wrote a
// row, so that several servers may hold the rows.
func (b *batch) insert(
	ctx context.Context, tx *sqlx.Tx, checkFirst bool, known []partition,
) error {
	stored := map[int]float64{}
	rows := b.rows
	if checkFirst && len(rows) > 0 {
		var err error
		if stored, err = b.findStored(ctx, tx, known); err != nil {
			return err
		}
		if b.isRepeated = len(stored) > 0; b.isRepeated {
			rows = slices.DeleteFunc(slices.Clone(rows), func(r row) bool {
				_, found := stored[r.reading]
				return found
			})
		}
	}
	if err := b.insertRows(ctx, tx, rows); err != nil {
		return err
	}
	for _, r := range b.repeats {
		value, found := stored[r.first]
		if !found {
			value = b.readings[r.first].Value
		}
		b.outcomes[r.reading] = outcomeOfRepeat(value, b.readings[r.reading].Value)
	}
	return nil
}

// insertRows inserts all rows, or none and returns errDuplicate.
func (b *batch) insertRows(ctx context.Context, tx *sqlx.Tx, rows []row) error {
	if len(rows) == 0 {
		return nil
	}
	const q = `
		INSERT INTO sensor_data (sensor_id, timestamp, value, status_code, quality)
		SELECT sensor_id, timestamp, value, status_code, quality
		FROM unnest($1::int[], $2::timestamptz[], $3::float8[], $4::int[], $5::smallint[])
			AS r (sensor_id, timestamp, value, status_code, quality)`
	_, err := tx.ExecContext(ctx, q,
		column(rows, asInt4, func(r row) int64 { return r.sensor }),
		column(rows, asInstant, row.instant),
		column(rows, asFloat8, func(r row) float64 { return b.readings[r.reading].Value }),
		column(rows, asStatusCode,
			func(r row) uint32 { return b.readings[r.reading].StatusCode }),
		column(rows, asInt2, func(r row) int16 { return int16(b.readings[r.reading].Quality) }))
	if errors.Is(sentinel(err), ErrConflict) {
		return errDuplicate
	}
	return err
}

// findStored finds the rows that are already stored and decides their outcomes. It returns the
// stored values by reading.
func (b *batch) findStored(
	ctx context.Context, tx *sqlx.Tx, known []partition,
) (map[int]float64, error) {
	first, last := b.rows[0].micros, b.rows[0].micros
	for _, r := range b.rows {
		first, last = min(first, r.micros), max(last, r.micros)
	}
	stored := map[int]float64{}
	for _, w := range cut(known, time.UnixMicro(first), time.UnixMicro(last+1), whole) {
		var rows []row
		for _, r := range b.rows {
			if r.micros >= w.start.UnixMicro() && r.micros < w.end.UnixMicro() {
				rows = append(rows, r)
			}
		}
		if len(rows) == 0 {
			continue
		}
		if err := b.findStoredIn(ctx, tx, w, rows, stored); err != nil {
			return nil, err
		}
	}
	return stored, nil
}

// findStoredIn adds to stored those of rows, all within w, that are already stored.
func (b *batch) findStoredIn(
	ctx context.Context, tx *sqlx.Tx, w span, rows []row, stored map[int]float64,
) error {
	// the last line keeps PostgreSQL from looking at other partitions
	const q = `
		SELECT i.n, d.value
		FROM unnest($1::int[], $2::timestamptz[]) WITH ORDINALITY AS i (sensor_id, timestamp, n)
		JOIN sensor_data d ON d.sensor_id = i.sensor_id AND d.timestamp = i.timestamp
		WHERE d.timestamp >= $3 AND d.timestamp < $4`
	found, err := tx.QueryContext(ctx, q,
		column(rows, asInt4, func(r row) int64 { return r.sensor }),
		column(rows, asInstant, row.instant), w.start, w.end)
	if err != nil {
		return err
	}
	defer found.Close()
	for found.Next() {
		var n int
		var value sql.Null[float64]
		if err := found.Scan(&n, &value); err != nil {
			return err
		}
		if !value.Valid {
			value.V = math.NaN()
		}
		i := rows[n-1].reading
		stored[i] = value.V
		b.outcomes[i] = outcomeOfRepeat(value.V, b.readings[i].Value)
	}
	return found.Err()
}
