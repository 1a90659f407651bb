package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/series"
)

// Quality states how far a value can be trusted, as in OPC UA.
type Quality int16

// The qualities, as the database stores them.
const (
	Good Quality = iota
	Uncertain
	Bad
)

var qualities = [...]string{Good: "good", Uncertain: "uncertain", Bad: "bad"}

// String returns the quality as the contract names it.
func (q Quality) String() string {
	if q < Good || q > Bad {
		return fmt.Sprintf("quality(%d)", int16(q))
	}
	return qualities[q]
}

// ParseQuality returns the quality of a name.
func ParseQuality(name string) (Quality, bool) {
	for q, n := range qualities {
		if n == name {
			return Quality(q), true
		}
	}
	return 0, false
}

// Reading is a value of a sensor at an instant, with its quality.
type Reading struct {
	SensorID   int64
	SensorType string    // set like GatewayID; empty for system sensors
	GatewayID  int64     // set by ingest and in latest readings; not stored with each reading
	Timestamp  time.Time // by the gateway's clock, UTC, whole microseconds
	Received   time.Time // by the server's clock; stored for the latest reading only, else zero
	Value      float64   // in the sensor's unit; NaN: none
	StatusCode uint32    // OPC UA; 0: none
	Quality    Quality
}

// EffectiveTime returns the earlier of the timestamp and the received time: readings that follow
// one of a clock that ran ahead are not late.
func (r *Reading) EffectiveTime() time.Time { return earlier(r.Timestamp, r.receivedTime()) }

// receivedTime returns when the reading was received or, where that is unknown, its timestamp.
func (r *Reading) receivedTime() time.Time {
	if r.Received.IsZero() {
		return r.Timestamp
	}
	return r.Received
}

// ReadingsQuery selects raw readings.
type ReadingsQuery struct {
	Sensors    []int64
	Start, End *time.Time // [Start, End); nil is open
	Quality    *Quality
	Ascending  bool    // oldest first; else newest first. Equal timestamps are in order of sensor
	After      *Cursor // continue after this reading
	Limit      int
}

// Cursor is the position of a reading in the order of a ReadingsQuery.
type Cursor struct {
	Timestamp time.Time
	SensorID  int64
}

// Readings returns at most q.Limit readings; never nil.
func (s *Store) Readings(ctx context.Context, q ReadingsQuery) ([]Reading, error) {
	// Each sensor goes on after the cursor's timestamp; a sensor that comes later in the order than
	// the cursor's also at its timestamp.
	const newest = `
		SELECT d.sensor_id, d.timestamp, d.value, d.status_code, d.quality
		FROM unnest($1::int[]) AS i (id)
		CROSS JOIN LATERAL (
			SELECT sensor_id, timestamp, value, status_code, quality
			FROM sensor_data
			WHERE sensor_id = i.id
				AND timestamp >= $2
				AND timestamp < $3
				AND timestamp < coalesce(
					$5::timestamptz
						+ (CASE WHEN i.id > $6 THEN 1 ELSE 0 END) * interval '1 microsecond',
					'infinity')
				AND ($4::smallint IS NULL OR quality = $4)
			ORDER BY timestamp DESC
			LIMIT $7) d
		ORDER BY d.timestamp DESC, d.sensor_id
		LIMIT $7`
	const oldest = `
		SELECT d.sensor_id, d.timestamp, d.value, d.status_code, d.quality
		FROM unnest($1::int[]) AS i (id)
		CROSS JOIN LATERAL (
			SELECT sensor_id, timestamp, value, status_code, quality
			FROM sensor_data
			WHERE sensor_id = i.id
				AND timestamp >= $2
				AND timestamp < $3
				AND timestamp >= coalesce(
					$5::timestamptz
						+ (CASE WHEN i.id > $6 THEN 0 ELSE 1 END) * interval '1 microsecond',
					'-infinity')
				AND ($4::smallint IS NULL OR quality = $4)
			ORDER BY timestamp
			LIMIT $7) d
		ORDER BY d.timestamp, d.sensor_id
		LIMIT $7`
	query, o, order := packReadings(newest), newestFirst, byTimeDescending
	if q.Ascending {
		query, o, order = packReadings(oldest), oldestFirst, byTime
	}
	start, end := q.Start, q.End
	var after *time.Time
	var afterSensor int64
	if q.After != nil {
		after, afterSensor = &q.After.Timestamp, q.After.SensorID
		next := after.Add(time.Microsecond)
		switch {
		case q.Ascending && (start == nil || start.Before(*after)):
			start = after
		case !q.Ascending && (end == nil || next.Before(*end)):
			end = &next
		}
	}
	spans, err := s.spansOf(ctx, q.Sensors, start, end, o)
	if err != nil {
		return nil, explain("readings", err)
	}
	found := []Reading{}
	for _, w := range spans {
		var c packedReadings
		err := s.api.QueryRowxContext(ctx, query, int32s(unique(q.Sensors)), w.start, w.end,
			q.Quality, after, afterSensor, q.Limit-len(found)).Scan(c.columns()...)
		if err != nil {
			return nil, explain("readings", err)
		}
		n := len(found)
		found = c.appendTo(found)
		slices.SortFunc(found[n:], order) // they are, but PostgreSQL does not promise it
		if len(found) >= q.Limit {
			break
		}
	}
	return found, nil
}

func byTime(x, y Reading) int {
	return cmp.Or(x.Timestamp.Compare(y.Timestamp), cmp.Compare(x.SensorID, y.SensorID))
}

func byTimeDescending(x, y Reading) int {
	return cmp.Or(y.Timestamp.Compare(x.Timestamp), cmp.Compare(x.SensorID, y.SensorID))
}

// packReadings returns a statement that answers with one row of packedReadings, of the readings
// that query selects: as rows they would cost twice as much here and a third more in PostgreSQL.
func packReadings(query string) string {
	return `
		SELECT
			array_send(array_agg(sensor_id::bigint)),
			array_send(array_agg(timestamp)),
			array_send(array_agg(coalesce(value, 'NaN'))),
			array_send(array_agg(coalesce(status_code, 0)::bigint)),
			array_send(array_agg(quality::bigint))
		FROM (` + query + `) r`
}

// packedReadings are columns of readings, each an array of 8-byte elements; all are nil when there
// are no readings.
type packedReadings struct{ sensors, times, values, codes, qualities []byte }

func (c *packedReadings) columns() []any {
	return []any{&c.sensors, &c.times, &c.values, &c.codes, &c.qualities}
}

func (c *packedReadings) appendTo(rs []Reading) []Reading {
	n := words(c.sensors)
	rs = slices.Grow(rs, n)
	for i := range n {
		rs = append(rs, Reading{
			SensorID:   word(c.sensors, i),
			Timestamp:  series.Instant(word(c.times, i)).Time(),
			Value:      math.Float64frombits(uint64(word(c.values, i))),
			StatusCode: uint32(word(c.codes, i)),
			Quality:    Quality(word(c.qualities, i)),
		})
	}
	return rs
}

// LatestQuery selects sensors; nil and empty select all.
type LatestQuery struct {
	Sensors   []int64
	GatewayID *int64
	Type      *string
	IsSystem  *bool // whether the sensor is a system sensor
	After     int64 // sensors with an id above
	Limit     int
}

// Latest returns the newest reading of each sensor that has one, in order of sensor; never nil.
func (s *Store) Latest(ctx context.Context, q LatestQuery) ([]Reading, error) {
	const query = `
		SELECT
			l.sensor_id, l.timestamp, l.value, l.status_code, l.quality, s.gateway_id,
			l.received_at,
			CASE WHEN s.id >= ` + firstSystemID + ` THEN '' ELSE s.type END
		FROM latest l
		JOIN sensors s ON s.id = l.sensor_id
		WHERE ($1::int[] IS NULL OR s.id = ANY ($1))
			AND ($2::int IS NULL OR s.gateway_id = $2)
			AND ($3::text IS NULL OR s.type = $3)
			AND ($4::boolean IS NULL OR (s.id >= ` + firstSystemID + `) = $4)
			AND s.id > $5
		ORDER BY s.id
		LIMIT $6`
	var sensors []byte
	if len(q.Sensors) > 0 {
		sensors = int32s(q.Sensors)
	}
	rows, err := s.api.QueryxContext(ctx, query, sensors, q.GatewayID, q.Type, q.IsSystem, q.After,
		q.Limit)
	if err != nil {
		return nil, explain("latest", err)
	}
	rs, err := scanReadings(rows,
		func(r *Reading) []any { return []any{&r.GatewayID, &r.Received, &r.SensorType} })
	return rs, explain("latest", err)
}

// scanReadings scans sensor_id, timestamp, value, status_code, quality and what more returns, and
// closes rows.
func scanReadings(rows *sqlx.Rows, more func(*Reading) []any) ([]Reading, error) {
	defer rows.Close()
	rs := []Reading{}
	for rows.Next() {
		var r Reading
		var value sql.Null[float64]
		var code sql.Null[int32]
		if err := rows.Scan(append([]any{&r.SensorID, &r.Timestamp, &value, &code, &r.Quality},
			more(&r)...)...); err != nil {
			return nil, err
		}
		r.Value = math.NaN()
		if value.Valid {
			r.Value = value.V
		}
		r.StatusCode = uint32(code.V)
		rs = append(rs, r)
	}
	return rs, rows.Err()
}

// unique returns ids in order, each once.
func unique(ids []int64) []int64 {
	seen := make(map[int64]bool, len(ids))
	out := make([]int64, 0, len(ids))
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out
}
