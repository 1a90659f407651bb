package store

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"
)

// beginMergeTemplate is of the old partitions.
var beginMergeTemplate = parseSQL(`
		{{- range .}}
		CREATE TRIGGER note_merge_change AFTER INSERT OR UPDATE OR DELETE ON {{.Name}}
		FOR EACH ROW EXECUTE FUNCTION note_merge_change();
		{{- end}}
		CREATE TABLE ` + mergeTable + ` (
			LIKE sensor_data INCLUDING DEFAULTS INCLUDING CONSTRAINTS)`)

// copyTemplate is of an old partition.
var copyTemplate = parseSQL(`
		INSERT INTO ` + mergeTable + ` (timestamp, value, sensor_id, status_code, quality)
		SELECT timestamp, value, sensor_id, status_code, quality
		FROM {{.Name}}
		ORDER BY sensor_id, timestamp`)

// keyTemplate is of the new partition. The constraint spares its attachment a scan.
var keyTemplate = parseSQL(`
		ALTER TABLE ` + mergeTable + `
			ADD CONSTRAINT {{.Name}}_pkey
				PRIMARY KEY (sensor_id, timestamp) WITH (fillfactor = 100),
			ADD CONSTRAINT merge_range
				CHECK (timestamp >= '{{.From}}' AND timestamp < '{{.To}}')`)

// copy makes triggers record changes of the old partitions from now on, and copies their readings,
// each partition in order of its key. It sets copied to when the copy was complete.
func (g *mergeGroup) copy(ctx context.Context, conn *sqlx.Conn, copied *time.Time) error {
	err := inTxOn(ctx, conn, func(tx *sqlx.Tx) error {
		// waits for transactions that have written without the triggers
		return withLockTimeout(ctx, tx, dropLockTimeout, render(beginMergeTemplate, g.old))
	})
	if err != nil {
		return err
	}
	for _, p := range g.old {
		if _, err := conn.ExecContext(ctx, render(copyTemplate, p)); err != nil {
			return err
		}
	}
	if _, err = conn.ExecContext(ctx, render(keyTemplate, g.partition)); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, `ANALYZE `+mergeTable); err != nil {
		return err
	}
	return conn.GetContext(ctx, copied, `SELECT clock_timestamp()`)
}

// copyAllChanges copies changes until few are left.
func (g *mergeGroup) copyAllChanges(ctx context.Context, conn *sqlx.Conn) error {
	for n := maxCopiedChanges; n >= maxCopiedChanges; {
		err := inTxOn(ctx, conn, func(tx *sqlx.Tx) (err error) {
			n, err = g.copyChanges(ctx, tx)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// copyChanges copies the readings of some changed keys again, and returns how many they are.
func (g *mergeGroup) copyChanges(ctx context.Context, tx *sqlx.Tx) (n int, err error) {
	var changes []sensorHour // whose hour is the timestamp of a reading
	const take = `
		DELETE FROM merge_changes
		WHERE ctid = ANY (ARRAY(SELECT ctid FROM merge_changes LIMIT $1))
		RETURNING sensor_id, timestamp AS hour`
	err = tx.SelectContext(ctx, &changes, take, maxCopiedChanges)
	if err != nil || len(changes) == 0 {
		return 0, err
	}
	sensors, times := sensorsOf(changes), startsOf(changes)
	const remove = `
		DELETE FROM ` + mergeTable + ` m
		USING unnest($1::int[], $2::timestamptz[]) AS c (sensor_id, timestamp)
		WHERE m.sensor_id = c.sensor_id AND m.timestamp = c.timestamp`
	if _, err := tx.ExecContext(ctx, remove, sensors, times); err != nil {
		return 0, err
	}
	const add = `
		INSERT INTO ` + mergeTable + ` (timestamp, value, sensor_id, status_code, quality)
		SELECT d.timestamp, d.value, d.sensor_id, d.status_code, d.quality
		FROM (
			SELECT DISTINCT sensor_id, timestamp
			FROM unnest($1::int[], $2::timestamptz[]) AS u (sensor_id, timestamp)) c
		CROSS JOIN LATERAL (
			SELECT timestamp, value, sensor_id, status_code, quality
			FROM sensor_data
			WHERE sensor_id = c.sensor_id AND timestamp = c.timestamp
				AND timestamp >= $3 AND timestamp < $4
			LIMIT 1) d` // LIMIT makes the planner look up each key
	_, err = tx.ExecContext(ctx, add, sensors, times, g.Start, g.End)
	return len(changes), err
}
