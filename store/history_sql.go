package store

import (
	"time"

	"github.com/oei-ms/oei-ms/series"
)

// Readings and rollups leave the database packed; series decodes them.
const (
	// usable is the condition of readings whose values count. The bound keeps sums of squares
	// within float8.
	usable = `quality < 2 AND value BETWEEN -1e140 AND 1e140`
	// packedReading has NaN for a value that is not usable.
	packedReading = `timestamptz_send(timestamp)
				|| float8send(CASE WHEN ` + usable + ` THEN value ELSE 'NaN' END)
				|| int2send(quality)`
	// packedRollup is followed by packedEnds, packedSpan, and the length of the sketch and the
	// sketch, if they are asked for.
	packedRollup = `timestamptz_send(bucket)
				|| int4send(count) || int4send(good) || int4send(usable)
				|| float8send(coalesce(sum, 0)) || float8send(coalesce(m2, 0))
				|| float8send(coalesce(min, 0)) || float8send(coalesce(max, 0))`
	packedEnds = `
				|| float8send(coalesce(first, 0)) || timestamptz_send(coalesce(first_at, bucket))
				|| float8send(coalesce(last, 0)) || timestamptz_send(coalesce(last_at, bucket))
				|| float8send(coalesce(integral, 0))`
	packedSpan = `
				|| timestamptz_send(coalesce(begin_at, first_at))
				|| timestamptz_send(coalesce(end_at, last_at))`
)

// historyClauses say which clauses historyTemplate has.
type historyClauses struct {
	Rollups  bool // read rollups
	Split    bool // bounds split some hours
	AllSplit bool // every hour is read as if it were split
	Minutes  bool // split hours are read as minutes where they have them, else as readings
	Ends     bool
	Sketches bool
	Gap      float64 // hours with a longer gap are read, in seconds; 0: none is
	Slice    string  // the time that is read at once
	CarryIn  int     // the parameter from which on a value may hold into the range; 0: none
}

// historySQL returns the statement that reads w for q, and its arguments. Its rows are those of
// series.PackedRow. Rollups are read by the rules in rollup_queue.go.
func historySQL(q series.HistoryQuery, source series.Source, w span) (string, []any) {
	split, byMinute := q.SplitHours()
	args := []any{int32s(unique(q.Sensors)), w.start, w.end}
	if source != series.Raw {
		from, to := series.WholeHours(w.start, w.end)
		args = append(args, from, to)
	}
	if source == series.ByHour {
		args = append(args,
			column(split, asTimestamptz, func(hour time.Time) time.Time { return hour }))
	}
	clauses := historyClauses{
		Rollups:  source != series.Raw,
		Split:    len(split) > 0,
		AllSplit: source == series.ByMinute,
		Minutes:  byMinute,
		Ends:     q.Ends,
		Sketches: len(q.Percentiles) > 0,
		Gap:      q.Gap.Seconds(),
		Slice:    sliceOf(w),
	}
	if q.Ends && w.start.Equal(q.Start) {
		args = append(args, q.Start.Add(-series.MaxCarryIn))
		clauses.CarryIn = len(args)
	}
	return render(historyTemplate, clauses), args
}

// sliceOf returns how much of w is read at once.
func sliceOf(w span) string {
	if w.end.Sub(w.start) > 62*day {
		return "1 day"
	}
	return "1 hour"
}

// staleRollups are, of the whole hours from $4 to $5, those whose rollups do not count: upper and
// later ones, and the stale.
const staleRollups = `
		state AS MATERIALIZED (
			SELECT greatest(least(through, $5::timestamptz), $4::timestamptz) AS upper
			FROM rollup_state),
		stale AS MATERIALIZED (
			SELECT d.sensor_id, d.hour
			FROM state
			JOIN rollup_due d ON d.sensor_id = ANY ($1::int[])
				AND d.hour >= $4
				AND d.hour < state.upper
			UNION
			SELECT m.sensor_id, m.hour
			FROM state
			JOIN rollup_marks k ON k.oldest < state.upper
			CROSS JOIN unnest(k.sensors, k.hours) AS m (sensor_id, hour)
			WHERE m.sensor_id = ANY ($1::int[])
				AND m.hour >= $4
				AND m.hour < state.upper)`

// countingRollups joins the rollups r that count.
const countingRollups = `
			FROM state
			JOIN rollup_1h r ON r.sensor_id = ANY ($1::int[])
				AND r.bucket >= $4
				AND r.bucket < $5
				AND r.bucket < state.upper
			WHERE NOT EXISTS (
				SELECT
				FROM stale d
				WHERE d.sensor_id = r.sensor_id AND d.hour = r.bucket)`

// slicesToRead begins the list of slices whose readings are read: all time that hours, the rollups
// that count, do not cover, from the first reading there on. A slice is so short that its readings
// are not too much at once. No sensor has readings more than maxAhead after its latest one.
var slicesToRead = `
		uncovered (sensor_id, begin, until) AS (
			{{- if .Rollups}}
			SELECT
				sensor_id,
				lag(bucket + interval '1 hour', 1, $2::timestamptz)
					OVER (PARTITION BY sensor_id ORDER BY bucket),
				bucket
			FROM hours
			UNION ALL
			{{- end}}
			SELECT
				l.sensor_id,
				{{if .Rollups}}coalesce(h.until, $2::timestamptz){{else}}$2::timestamptz{{end}},
				least(l.timestamp + interval '` + maxAhead.String() + `', $3)
			FROM latest l
			{{- if .Rollups}}
			LEFT JOIN (
				SELECT sensor_id, max(bucket) + interval '1 hour' AS until
				FROM hours
				GROUP BY sensor_id) h ON h.sensor_id = l.sensor_id
			{{- end}}
			WHERE l.sensor_id = ANY ($1::int[])),
		slices (sensor_id, begin, until) AS (
			SELECT
				u.sensor_id,
				greatest(at, u.begin),
				least(at + interval '{{.Slice}}', u.until)
			FROM uncovered u
			CROSS JOIN LATERAL (
				SELECT min(timestamp) AS oldest
				FROM sensor_data
				WHERE sensor_id = u.sensor_id
					AND timestamp >= u.begin
					AND timestamp < u.until
					AND timestamp >= $2
					AND timestamp < $3) r
			CROSS JOIN LATERAL generate_series(
				date_trunc('hour', r.oldest, 'UTC'),
				u.until - interval '1 microsecond',
				interval '{{.Slice}}') AS at
			WHERE u.begin < u.until`

// historyTemplate is of the sensors $1 in [$2, $3), of which [$4, $5) are whole hours, and $6 those
// that a bound splits. It reads slices, and takes the hours and minutes of all other time. An hour
// with a gap is read, since its rollup does not know how many gaps it has.
//
// Thirty days by hour, say, with rollups (testdata/history_by_hour.sql):
//
//	WITH state AS (…through…), stale AS (…due and marked hours…),
//	hours AS (SELECT sensor_id, bucket, …packed… FROM rollup_1h … WHERE NOT stale),
//	uncovered AS (…between the hours…), slices AS (…uncovered, from its first reading on…)
//	SELECT sensor_id, day, NULL, string_agg(reading) FROM slices, sensor_data …
//	UNION ALL
//	SELECT sensor_id, day, string_agg(packed), NULL FROM hours GROUP BY 1, 2
//	ORDER BY 1, 2
var historyTemplate = parseSQL(`
		{{- define "ends"}}{{if .Ends}}` + packedEnds + `{{end}}{{end}}
		WITH
		{{- if .Rollups}}` + staleRollups + `,
		hours AS MATERIALIZED (
			SELECT sensor_id, bucket, ` + packedRollup + `
				{{- template "ends" .}}
				{{- if .Gap}}` + packedSpan + `{{end}}
				{{- if .Sketches}}
				|| int4send(octet_length(sketch)) || sketch{{end}} AS packed,
				{{if .AllSplit}}true{{else}}bucket = ANY ($6::timestamptz[]){{end}} AS split,
				minutes,
				{{if .Gap}}coalesce(pause > {{.Gap}}, false){{else}}false{{end}} AS gap` +
	countingRollups + `),
		{{- end}}` + slicesToRead + `
			{{- if .Rollups}}
			UNION ALL
			SELECT sensor_id, bucket, bucket + interval '1 hour'
			FROM hours
			WHERE gap OR split {{- if .Minutes}} AND NOT minutes{{end}}
			{{- end}})
		SELECT
			s.sensor_id,
			date_trunc('day', s.begin, 'UTC') AS day,
			NULL::bytea AS rollups,
			r.readings
		FROM (
			SELECT sensor_id, begin, until
			FROM slices
			ORDER BY sensor_id, begin) s
		CROSS JOIN LATERAL (
			SELECT string_agg(` + packedReading + `, '') AS readings
			FROM sensor_data
			WHERE sensor_id = s.sensor_id
				AND timestamp >= s.begin
				AND timestamp < s.until
				AND timestamp >= $2
				AND timestamp < $3) r
		WHERE r.readings IS NOT NULL
		{{- if .Rollups}}
		UNION ALL
		SELECT sensor_id, date_trunc('day', bucket, 'UTC'), string_agg(packed, ''), NULL
		FROM hours
		WHERE NOT gap AND NOT split
		GROUP BY 1, 2
		{{- if .Minutes}}{{if or .Split .AllSplit}}
		UNION ALL
		SELECT h.sensor_id, date_trunc('day', h.bucket, 'UTC'), m.packed, NULL
		FROM hours h
		CROSS JOIN LATERAL (
			SELECT string_agg(` + packedRollup + `{{template "ends" .}}, '') AS packed
			FROM rollup_1m
			WHERE sensor_id = h.sensor_id
				AND bucket >= h.bucket
				AND bucket < h.bucket + interval '1 hour') m
		WHERE h.split AND h.minutes
		{{- end}}{{end}}
		{{- end}}
		{{- if .CarryIn}}
		UNION ALL
		SELECT i.id, date_trunc('day', d.timestamp, 'UTC'), NULL, d.reading
		FROM unnest($1::int[]) AS i (id)
		CROSS JOIN LATERAL (
			SELECT
				timestamp,
				` + packedReading + ` AS reading
			FROM sensor_data
			WHERE sensor_id = i.id
				AND timestamp < $2
				AND timestamp >= ${{.CarryIn}}
				AND ` + usable + `
			ORDER BY timestamp DESC
			LIMIT 1) d
		{{- end}}
		ORDER BY 1, 2`)
