package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq/pqerror"

	"github.com/oei-ms/oei-ms/series"
)

// How expired readings are removed.
//
// Readings are removed a partition at a time, once the partition ended longer ago than its sensors
// keep readings. So a reading stays for its sensor's retention, and at most for about the length of
// a partition longer. A partition in which no sensor keeps any reading is dropped. From any other
// one the expired readings are deleted, some at a time. A partition may be long for a retention
// that was shortened after it was made: its expired readings are deleted day by day. Either way the
// hours are marked, so that their rollups are removed too, and latest moves back. Every step is a
// transaction of its own: the next pass continues where one was interrupted.

const (
	// maxRetention is far below what would overflow a time.Duration.
	maxRetention = 36500 * day
	// dropLockTimeout is how long a drop waits for a lock, since readers and ingest wait behind it.
	dropLockTimeout = 100 * time.Millisecond
	// rollupLockTimeout is how long a drop waits for a pass of RollUp.
	rollupLockTimeout = 5 * time.Second
	// maxDropTries is how often a pass tries to drop a partition that is in use, and dropRetryDelay
	// how long it waits in between.
	maxDropTries   = 10
	dropRetryDelay = 500 * time.Millisecond
)

// RetentionStep is what one step of EnforceRetention removed.
type RetentionStep struct {
	Partition string
	Dropped   bool // all of it was removed
	InUse     bool // it could not be dropped, since it was in use
	Bytes     int64
	SensorID  int64 // whose readings were deleted
	Readings  int64 // that were deleted
}

// EnforceRetention removes readings that are expired at the time now, the oldest first, and calls
// done after each step, which may sleep. Several instances may call it: each step is made by one of
// them.
func (s *Store) EnforceRetention(
	ctx context.Context, now time.Time, done func(RetentionStep),
) error {
	list, err := s.expired(ctx, s.ingest, now)
	for i := 0; i < len(list) && err == nil; i++ {
		err = s.removeExpired(ctx, &list[i], now, done)
	}
	return explain("retention", err)
}

// expiredRange is a partition, or the beginning of a long one, that is older than a sensor's
// retention. Readings before from belong to another expiredRange.
type expiredRange struct {
	partition
	from      time.Time
	isPartial bool
}

// own returns the range without what belongs to another one.
func (e *expiredRange) own() *partition { return &partition{e.Name, e.from, e.End} }

// expired returns what is older than the shortest retention of a sensor, in order of its end.
func (s *Store) expired(
	ctx context.Context, q sqlx.QueryerContext, now time.Time,
) ([]expiredRange, error) {
	retentions, err := s.partitions.retentions(ctx, q)
	if err != nil || len(retentions) == 0 {
		return nil, err
	}
	slices.Sort(retentions)
	list, err := listPartitions(ctx, q)
	var found []expiredRange
	for _, p := range list {
		from := p.Start
		for _, retention := range slices.Backward(retentions) {
			until := now.Add(-retention).UTC().Truncate(day)
			if until.After(from) && until.Before(p.End) &&
				p.End.Sub(p.Start) > max(retention/maxOverstay, day) {
				found = append(found, expiredRange{partition{p.Name, p.Start, until}, from, true})
				from = until
			}
		}
		if !p.End.After(now.Add(-retentions[0])) {
			found = append(found, expiredRange{p, from, false})
		}
	}
	return found, err
}

// removeExpired drops p, or deletes the expired readings from it.
func (s *Store) removeExpired(
	ctx context.Context, p *expiredRange, now time.Time, done func(RetentionStep),
) error {
	if p.isPartial {
		return s.deleteExpired(ctx, p.own(), now, done)
	}
	for range maxDropTries {
		r, err := s.drop(ctx, &p.partition, now)
		switch {
		case err != nil:
			return err
		case !r.InUse:
			if r.Dropped {
				done(r)
				return nil
			}
			return s.deleteExpired(ctx, p.own(), now, done)
		}
		done(r)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(dropRetryDelay):
		}
	}
	s.log.WarnContext(ctx, "expired partition in use, not dropped",
		"partition", p.Name,
		"hint", "the next pass tries again; end transactions that read it for minutes")
	return nil
}

// partitionClauses are what the statements on one partition are composed of.
type partitionClauses struct {
	Partition string
	Retention string // of sensor s, in nanoseconds
	Rollups   bool
}

func (s *Store) partitionClauses(p *partition) partitionClauses {
	return partitionClauses{Partition: p.Name, Retention: s.retentionOf(), Rollups: s.rollups}
}

// Conditions on sensor s: it keeps readings from before $1 at the time $2, and it has some of
// [$3, $1).
const (
	keepsReadings = `({{.Retention}} = 0
				OR $1::timestamptz > $2::timestamptz - make_interval(secs => {{.Retention}} / 1e9))`
	hasReadings = `CROSS JOIN LATERAL (
				SELECT
				FROM {{.Partition}} d
				WHERE d.sensor_id = s.id AND d.timestamp >= $3 AND d.timestamp < $1
				LIMIT 1) d`
)

var keepsReadingsTemplate = parseSQL(`
		SELECT EXISTS (
			SELECT
			FROM sensors s
			` + hasReadings + `
			WHERE ` + keepsReadings + `)`)

// isKept reports whether a sensor keeps readings in p.
func (s *Store) isKept(
	ctx context.Context, db sqlx.QueryerContext, p *partition, now time.Time,
) (kept bool, err error) {
	q := render(keepsReadingsTemplate, s.partitionClauses(p))
	err = sqlx.GetContext(ctx, db, &kept, q, p.End, now, p.Start)
	return kept, err
}

// drop drops p unless a sensor keeps readings in it.
func (s *Store) drop(ctx context.Context, p *partition, now time.Time) (RetentionStep, error) {
	r := RetentionStep{Partition: p.Name}
	err := inTx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		if locked, err := tryLock(ctx, tx, retentionLock); err != nil || !locked {
			return err
		}
		if kept, err := s.isKept(ctx, tx, p, now); err != nil || kept { // most are
			return err
		}
		if err := s.lockForDrop(ctx, tx, p); err != nil {
			return err
		}
		if kept, err := s.isKept(ctx, tx, p, now); err != nil || kept {
			return err
		}
		const size = `SELECT pg_total_relation_size($1::regclass)`
		if err := tx.GetContext(ctx, &r.Bytes, size, p.Name); err != nil {
			return err
		}
		if err := s.forgetReadings(ctx, tx, p); err != nil {
			return err
		}
		// the lock keeps other instances from attaching it meanwhile
		drop := fmt.Sprintf(`SELECT pg_advisory_xact_lock(%d); DROP TABLE %s`,
			partitionLock, p.Name)
		if err := withLockTimeout(ctx, tx, dropLockTimeout, drop); err != nil {
			return err
		}
		r.Dropped = true
		return nil
	})
	switch {
	case err == nil && r.Dropped:
		s.partitions.forget()
	case hasCode(err, pqerror.LockNotAvailable, pqerror.TRDeadlockDetected):
		return RetentionStep{Partition: p.Name, InUse: true}, nil
	case isGone(err):
		return RetentionStep{Partition: p.Name}, nil
	}
	return r, err
}

// lockForDrop waits for RollUp, which could otherwise write a rollup of dropped readings, and keeps
// others from writing to p.
func (s *Store) lockForDrop(ctx context.Context, tx *sqlx.Tx, p *partition) error {
	if s.rollups {
		lock := fmt.Sprintf(`SELECT pg_advisory_xact_lock(%d)`, rollupLock)
		if err := withLockTimeout(ctx, tx, rollupLockTimeout, lock); err != nil {
			return err
		}
	}
	return withLockTimeout(ctx, tx, dropLockTimeout, `LOCK TABLE `+p.Name+` IN EXCLUSIVE MODE`)
}

// forgetReadings removes the readings of p, which others cannot write to any more, from rollups and
// latest.
func (s *Store) forgetReadings(ctx context.Context, tx *sqlx.Tx, p *partition) error {
	if s.rollups {
		const due = `
			INSERT INTO rollup_due (hour, sensor_id)
			SELECT r.bucket, s.id
			FROM sensors s
			CROSS JOIN LATERAL (
				SELECT bucket
				FROM rollup_1h
				WHERE sensor_id = s.id AND bucket >= $1 AND bucket < $2
				ORDER BY bucket) r
			ON CONFLICT DO NOTHING`
		if _, err := tx.ExecContext(ctx, due, series.HourOf(p.Start), p.End); err != nil {
			return err
		}
		if err := addHourChanges(ctx, tx, p.Start, p.End); err != nil {
			return err
		}
	}
	var sensors []int64
	const latestInPartition = `
		SELECT sensor_id
		FROM latest
		WHERE timestamp >= $1 AND timestamp < $2
		ORDER BY sensor_id`
	err := tx.SelectContext(ctx, &sensors, latestInPartition, p.Start, p.End)
	if err != nil || len(sensors) == 0 {
		return err
	}
	return s.moveLatestBack(ctx, tx, sensors, p.Start.Add(-time.Microsecond))
}

var expiredSensorsTemplate = parseSQL(`
		SELECT s.id
		FROM sensors s
		` + hasReadings + `
		WHERE NOT ` + keepsReadings + `
		ORDER BY s.id`)

// deleteExpired deletes the expired readings of p.
func (s *Store) deleteExpired(
	ctx context.Context, p *partition, now time.Time, done func(RetentionStep),
) error {
	var sensors []int64
	q := render(expiredSensorsTemplate, s.partitionClauses(p))
	err := s.ingest.SelectContext(ctx, &sensors, q, p.End, now, p.Start)
	if isGone(err) {
		return nil
	}
	for i := 0; i < len(sensors) && err == nil; {
		r := RetentionStep{Partition: p.Name, SensorID: sensors[i]}
		if r.Readings, err = s.deleteExpiredOf(ctx, sensors[i], p, now); err != nil {
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

var isExpiredTemplate = parseSQL(`
		SELECT EXISTS (
			SELECT
			FROM sensors s
			WHERE s.id = $3 AND NOT ` + keepsReadings + `)`)

// deleteExpiredOf deletes some readings of sensor in p, unless its retention has changed and it
// keeps them, and returns how many.
func (s *Store) deleteExpiredOf(
	ctx context.Context, sensor int64, p *partition, now time.Time,
) (readings int64, err error) {
	err = inTx(ctx, s.ingest, func(tx *sqlx.Tx) error {
		if locked, err := tryLock(ctx, tx, retentionLock); err != nil || !locked {
			return err
		}
		var isExpired bool
		q := render(isExpiredTemplate, s.partitionClauses(p))
		err := tx.GetContext(ctx, &isExpired, q, p.End, now, sensor)
		if err != nil || !isExpired {
			return err
		}
		var none ruleSet // expired readings say nothing of now: alarms stay as they are
		d, err := s.deletePart(ctx, tx, &none, sensor, p.Start, p.End)
		readings = d.Readings
		return err
	})
	return readings, err
}

// tryLock takes an advisory lock for the transaction, unless another session holds it.
func tryLock(ctx context.Context, tx *sqlx.Tx, lock int64) (locked bool, err error) {
	err = tx.GetContext(ctx, &locked, `SELECT pg_try_advisory_xact_lock($1)`, lock)
	return locked, err
}

// withLockTimeout runs statements, each of which waits for a lock no longer than timeout.
func withLockTimeout(
	ctx context.Context, tx *sqlx.Tx, timeout time.Duration, statements string,
) error {
	_, err := tx.ExecContext(ctx,
		fmt.Sprintf(`SET LOCAL lock_timeout = %d; %s`, timeout.Milliseconds(), statements))
	return err
}
