package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/oei-ms/oei-ms/series"
)

// How readings go when their time is over.
//
// They go a partition at a time, once its end is longer ago than their sensor keeps them: each is
// there for as long as its sensor's retention says, and for about the length of a partition longer
// at most. A partition in which no sensor keeps anything is dropped. From any other, the readings
// of sensors that keep nothing of it are deleted, some at a time. A partition that is long for a
// retention, since it was made before that, is not waited for: the readings are deleted day by day.
// Either way their hours are marked, so that the rollups go with them, and latest moves back. Every
// step is a transaction by itself: the next pass goes on where one was cut off.

const (
	// longestRetention is far from where arithmetic with it would end.
	longestRetention = 36500 * day
	// dropPatience is how long a drop may keep readers and ingest waiting while it waits for those
	// that were there before.
	dropPatience = 100 * time.Millisecond
	// rollupPatience is how long a pass of RollUp is waited for.
	rollupPatience = 5 * time.Second
	// dropTries is how often a pass tries to drop a partition that is in use, and dropPause how
	// long it waits in between.
	dropTries = 10
	dropPause = 500 * time.Millisecond
)

// RetentionStep is what one step has removed.
type RetentionStep struct {
	Partition string
	Dropped   bool // the whole of it
	// it was to be dropped, and somebody had it for longer than the others can be kept waiting
	InUse    bool
	Bytes    int64
	SensorID int64 // whose readings were deleted
	Readings int64 // that were deleted
}

// EnforceRetention removes what no sensor keeps at the time now, the oldest first, and calls done after each
// step, which may take its time. Several instances may call it: each step is made by one of them.
func (s *Store) EnforceRetention(ctx context.Context, now time.Time, done func(RetentionStep)) error {
	list, err := s.expired(ctx, s.ingest, now)
	for i := 0; i < len(list) && err == nil; i++ {
		err = s.retire(ctx, &list[i], now, done)
	}
	return explain("retention", err)
}

// expiry is a partition, or the beginning of a long one, that is older than a sensor keeps it.
// Readings before from are those of another expiry.
type expiry struct {
	partition
	from time.Time
	part bool
}

// rest is without what is another expiry's.
func (e *expiry) rest() *partition { return &partition{e.Name, e.from, e.End} }

// expired returns what is older than the sensor that keeps the least keeps its readings, in order
// of its end.
func (s *Store) expired(
	ctx context.Context, q sqlx.QueryerContext, now time.Time,
) ([]expiry, error) {
	retentions, err := s.partitions.retentions(ctx, q)
	if err != nil || len(retentions) == 0 {
		return nil, err
	}
	slices.Sort(retentions)
	list, err := listPartitions(ctx, q)
	var found []expiry
	for _, p := range list {
		from := p.Start
		for _, retention := range slices.Backward(retentions) {
			until := now.Add(-retention).UTC().Truncate(day)
			if until.After(from) && until.Before(p.End) &&
				p.End.Sub(p.Start) > max(retention/keptLonger, day) {
				found = append(found, expiry{partition{p.Name, p.Start, until}, from, true})
				from = until
			}
		}
		if !p.End.After(now.Add(-retentions[0])) {
			found = append(found, expiry{p, from, false})
		}
	}
	return found, err
}

// retire drops p, or deletes from it what is not kept.
func (s *Store) retire(ctx context.Context, p *expiry, now time.Time, done func(RetentionStep)) error {
	if p.part {
		return s.thin(ctx, p.rest(), now, done)
	}
	for range dropTries {
		r, err := s.drop(ctx, &p.partition, now)
		switch {
		case err != nil:
			return err
		case !r.InUse:
			if r.Dropped {
				done(r)
				return nil
			}
			return s.thin(ctx, p.rest(), now, done)
		}
		done(r)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(dropPause):
		}
	}
	s.log.WarnContext(ctx,
		"a partition whose time is over is in use all the time; the next pass tries again",
		"partition", p.Name)
	return nil
}

// keeps is the condition that sensor s keeps readings from before $1 at the time $2.
func (s *Store) keeps() string {
	return fmt.Sprintf(`(%[1]s = 0 OR $1::timestamptz > $2::timestamptz - make_interval(secs => %[1]s / 1e9))`, s.retentionOf())
}

// keptIn reports whether a sensor keeps something in p.
func (s *Store) keptIn(
	ctx context.Context, db sqlx.QueryerContext, p *partition, now time.Time,
) (bool, error) {
	q := fmt.Sprintf(`
		SELECT EXISTS (
			SELECT
			FROM sensors s
			CROSS JOIN LATERAL (SELECT FROM %s d WHERE d.sensor_id = s.id AND d.timestamp >= $3 AND d.timestamp < $1 LIMIT 1) d
			WHERE %s)`, p.Name, s.keeps())
	var kept bool
	err := sqlx.GetContext(ctx, db, &kept, q, p.End, now, p.Start)
	return kept, err
}

// drop drops p unless a sensor keeps something in it.
func (s *Store) drop(ctx context.Context, p *partition, now time.Time) (RetentionStep, error) {
	r := RetentionStep{Partition: p.Name}
	err := inTx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		if mine, err := tryLock(ctx, tx, retentionLock); err != nil || !mine {
			return err
		}
		if kept, err := s.keptIn(ctx, tx, p, now); err != nil || kept { // most are
			return err
		}
		if s.rollups { // a pass at work could bring back a rollup of what goes
			if err := within(ctx, tx, rollupPatience,
				fmt.Sprintf(`SELECT pg_advisory_xact_lock(%d)`, rollupLock)); err != nil {
				return err
			}
		}
		// nothing more comes in
		if err := within(ctx, tx, dropPatience, `LOCK TABLE `+p.Name+` IN EXCLUSIVE MODE`); err != nil {
			return err
		}
		if kept, err := s.keptIn(ctx, tx, p, now); err != nil || kept {
			return err
		}
		if err := tx.GetContext(ctx, &r.Bytes, `SELECT pg_total_relation_size($1::regclass)`,
			p.Name); err != nil {
			return err
		}
		if err := s.forsake(ctx, tx, p); err != nil {
			return err
		}
		// the lock: nobody attaches it meanwhile
		const drop = `SELECT pg_advisory_xact_lock(%d); DROP TABLE %s`
		if err := within(ctx, tx, dropPatience, fmt.Sprintf(drop, partitionLock, p.Name)); err != nil {
			return err
		}
		r.Dropped = true
		return nil
	})
	var pqErr *pq.Error
	switch {
	case err == nil && r.Dropped:
		s.partitions.forget()
	case errors.As(err, &pqErr) && (pqErr.Code == "55P03" || pqErr.Code == "40P01"): // lock_not_available, deadlock_detected
		return RetentionStep{Partition: p.Name, InUse: true}, nil
	case dropped(err):
		return RetentionStep{Partition: p.Name}, nil
	}
	return r, err
}

// forsake has the rollups and latest do without the readings of p, into which nothing comes any
// more.
func (s *Store) forsake(ctx context.Context, tx *sqlx.Tx, p *partition) error {
	if s.rollups {
		const due = `
			INSERT INTO rollup_due (hour, sensor_id)
			SELECT r.bucket, s.id
			FROM sensors s
			CROSS JOIN LATERAL (SELECT bucket FROM rollup_1h WHERE sensor_id = s.id AND bucket >= $1 AND bucket < $2 ORDER BY bucket) r
			ON CONFLICT DO NOTHING`
		if _, err := tx.ExecContext(ctx, due, series.HourOf(p.Start), p.End); err != nil {
			return err
		}
		if err := addHourChanges(ctx, tx, p.Start, p.End); err != nil {
			return err
		}
	}
	var silent []int64
	const since = `SELECT sensor_id FROM latest WHERE timestamp >= $1 AND timestamp < $2 ORDER BY sensor_id`
	if err := tx.SelectContext(ctx, &silent, since, p.Start, p.End); err != nil ||
		len(silent) == 0 {
		return err
	}
	return s.moveLatestBack(ctx, tx, silent, p.Start.Add(-time.Microsecond))
}

// thin deletes from p the readings of sensors that keep nothing of it.
func (s *Store) thin(ctx context.Context, p *partition, now time.Time, done func(RetentionStep)) error {
	var sensors []int64
	q := fmt.Sprintf(`
		SELECT s.id
		FROM sensors s
		CROSS JOIN LATERAL (SELECT FROM %s d WHERE d.sensor_id = s.id AND d.timestamp >= $3 AND d.timestamp < $1 LIMIT 1) d
		WHERE NOT %s
		ORDER BY s.id`, p.Name, s.keeps())
	err := s.ingest.SelectContext(ctx, &sensors, q, p.End, now, p.Start)
	if dropped(err) {
		return nil
	}
	for i := 0; i < len(sensors) && err == nil; {
		r := RetentionStep{Partition: p.Name, SensorID: sensors[i]}
		if r.Readings, err = s.thinSensor(ctx, sensors[i], p, now); err != nil {
			return err
		}
		if r.Readings == 0 {
			i++
			continue
		}
		done(r)
	}
	return err
}

// thinSensor deletes some readings of sensor in p, unless it keeps them by now, and returns how
// many.
func (s *Store) thinSensor(
	ctx context.Context, sensor int64, p *partition, now time.Time,
) (readings int64, err error) {
	err = inTx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		if mine, err := tryLock(ctx, tx, retentionLock); err != nil || !mine {
			return err
		}
		var expired bool
		q := `SELECT EXISTS (SELECT FROM sensors s WHERE s.id = $3 AND NOT ` + s.keeps() + `)`
		if err := tx.GetContext(ctx, &expired, q, p.End, now, sensor); err != nil || !expired {
			return err
		}
		var none ruleSet // alarms stay as they are: what is too old to be kept says nothing of now
		d, err := s.deletePart(ctx, tx, &none, sensor, p.Start, p.End)
		readings = d.Readings
		return err
	})
	return readings, err
}

// tryLock takes an advisory lock for the transaction, unless somebody has it.
func tryLock(ctx context.Context, tx *sqlx.Tx, lock int64) (mine bool, err error) {
	err = tx.GetContext(ctx, &mine, `SELECT pg_try_advisory_xact_lock($1)`, lock)
	return mine, err
}

// within runs statements that wait for each lock they need no longer than patience.
func within(ctx context.Context, tx *sqlx.Tx, patience time.Duration, statements string) error {
	_, err := tx.ExecContext(ctx,
		fmt.Sprintf(`SET LOCAL lock_timeout = %d; %s`, patience.Milliseconds(), statements))
	return err
}

// dropped reports whether a statement failed because another instance has dropped the partition,
// and its key.
func dropped(err error) bool {
	var pqErr *pq.Error
	// undefined_table, undefined_object
	return errors.As(err, &pqErr) && (pqErr.Code == "42P01" || pqErr.Code == "42704")
}
