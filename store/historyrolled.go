package store

import (
	"strings"
	"text/template"
	"time"
)

// Source is what a history was made of: readings, or rollups and only at its edges readings.
type Source string

// The sources, as the contract has them.
const (
	Raw      Source = "raw"
	ByMinute Source = "1m"
	ByHour   Source = "1h"
)

// leastRolled is how long a range is from which on rollups are looked into.
const leastRolled = 2 * time.Hour

// source is the coarsest of which every bucket is made up. Minutes know nothing of percentiles and gaps.
func (q HistoryQuery) source() Source {
	from, to := q.rolled()
	if to.Sub(from) < leastRolled {
		return Raw
	}
	source := ByHour
	for _, b := range q.Bounds[1:max(len(q.Bounds)-1, 1)] { // the outer ones are cut to the range
		switch {
		case !b.Equal(b.Truncate(time.Minute)):
			return Raw
		case !b.Equal(hourOf(b)):
			source = ByMinute
		}
	}
	if source == ByMinute && (len(q.Percentiles) > 0 || q.Gap > 0) {
		return Raw
	}
	return source
}

// rolled is the part of the range that is whole hours.
func (q HistoryQuery) rolled() (from, to time.Time) { return wholeHours(q.Start, q.End) }

func wholeHours(start, end time.Time) (from, to time.Time) {
	if from = hourOf(start); from.Before(start) {
		from = from.Add(time.Hour)
	}
	return from, hourOf(end)
}

// stretch is how long a stretch is that is read at once.
func stretch(start, end time.Time) string {
	if end.Sub(start) > 62*day {
		return "1 day"
	}
	return "1 hour"
}

// statement returns the SQL of q, for the sensors $1 in [$2, $3), of which [$4, $5) are whole hours; see the rules in rollups.go for
// which rollups it takes, and what it reads. Its rows are those of a historyRow. What q does not ask for is left out.
func (q HistoryQuery) statement(source Source) string {
	asked := struct {
		Rolled, Minutes, Ends, Sketches bool
		Gap                             float64
		Piece                           string
	}{source != Raw, source == ByMinute, q.Ends, len(q.Percentiles) > 0, q.Gap.Seconds(), stretch(q.Start, q.End)}
	var b strings.Builder
	if err := historyTemplate.Execute(&b, asked); err != nil {
		panic(err) // it is a constant
	}
	return b.String()
}

// settled are, of the whole hours from $4 to $5, those whose rollups tell: before upper and not dirty.
const settled = `
		state AS MATERIALIZED (SELECT greatest(least(through, $5::timestamptz), $4::timestamptz) AS upper FROM rollup_state),
		dirty AS MATERIALIZED (
			SELECT d.sensor_id, d.hour
			FROM state
			JOIN rollup_due d ON d.sensor_id = ANY ($1::int[]) AND d.hour >= $4 AND d.hour < state.upper
			UNION
			SELECT m.sensor_id, m.hour
			FROM state
			JOIN rollup_marks k ON k.oldest < state.upper
			CROSS JOIN unnest(k.sensors, k.hours) AS m (sensor_id, hour)
			WHERE m.sensor_id = ANY ($1::int[]) AND m.hour >= $4 AND m.hour < state.upper)`

// unsettled begins the list of stretches that are read: what is before and behind the hours that are settled, and between these. One
// is not so long that its readings would be too much at once.
const unsettled = `
		long AS (
			SELECT i.id AS sensor_id, {{if .Rolled}}state.upper AS begin{{else}}$2::timestamptz AS begin{{end}}
			FROM unnest($1::int[]) AS i (id){{if .Rolled}} CROSS JOIN state{{end}}),
		stretches (sensor_id, begin, until) AS (
			SELECT l.sensor_id, at, at + interval '{{.Piece}}'
			FROM long l
			CROSS JOIN LATERAL (
				SELECT min(timestamp) AS oldest, max(timestamp) AS newest
				FROM sensor_data
				WHERE sensor_id = l.sensor_id AND timestamp >= l.begin AND timestamp >= $2 AND timestamp < $3) r
			CROSS JOIN LATERAL generate_series(date_trunc('hour', oldest, 'UTC'), newest, interval '{{.Piece}}') AS at
			{{- if .Rolled}}
			UNION ALL
			SELECT i.id, $2::timestamptz, $4::timestamptz FROM unnest($1::int[]) AS i (id) WHERE $2 < $4
			UNION ALL
			SELECT sensor_id, hour, hour + interval '1 hour' FROM dirty
			{{- end}}`

// historyTemplate reads stretches, and takes the hours and minutes of the rest. An hour with a gap in it is read, since it does not
// know how many there are.
var historyTemplate = template.Must(template.New("").Parse(`
		WITH
		{{- if .Rolled}}` + settled + `,
		hours AS MATERIALIZED (
			SELECT sensor_id, bucket, count, good, usable, sum, m2, min, max, minutes
				{{- if .Gap}}, coalesce(begin_at, first_at) AS begin_at, coalesce(end_at, last_at) AS end_at, pause{{end}}
				{{- if .Ends}}, first, first_at, last, last_at, integral{{end}}
				{{- if .Sketches}}, sketch{{end}}
			FROM state
			JOIN rollup_1h r ON r.sensor_id = ANY ($1::int[]) AND r.bucket >= $4 AND r.bucket < $5 AND r.bucket < state.upper
			WHERE NOT EXISTS (SELECT FROM dirty d WHERE d.sensor_id = r.sensor_id AND d.hour = r.bucket)),
		{{- end}}` + unsettled + `
			{{- if .Minutes}}
			UNION ALL
			SELECT sensor_id, bucket, bucket + interval '1 hour' FROM hours WHERE NOT minutes
			{{- end}}
			{{- if and .Rolled .Gap}}
			UNION ALL
			SELECT sensor_id, bucket, bucket + interval '1 hour' FROM hours WHERE pause > {{.Gap}}
			{{- end}})
		SELECT s.sensor_id, s.begin AS at, 0 AS count, 0 AS good, 0 AS usable, NULL::float8 AS sum, NULL::float8 AS m2, NULL::float8 AS min,
			NULL::float8 AS max, NULL::float8 AS first, NULL::timestamptz AS first_at, NULL::float8 AS last, NULL::timestamptz AS last_at,
			NULL::float8 AS integral, NULL::timestamptz AS begin_at, NULL::timestamptz AS end_at, NULL::bytea AS sketch, r.readings
		FROM (SELECT sensor_id, begin, until FROM stretches ORDER BY sensor_id, begin) s
		CROSS JOIN LATERAL (
			SELECT string_agg(` + packed + `, '') AS readings
			FROM sensor_data
			WHERE sensor_id = s.sensor_id AND timestamp >= s.begin AND timestamp < s.until AND timestamp >= $2 AND timestamp < $3) r
		WHERE r.readings IS NOT NULL
		{{- if .Rolled}}
		UNION ALL
		{{- if .Minutes}}
		SELECT m.sensor_id, m.bucket, m.count, m.good, m.usable, m.sum, m.m2, m.min, m.max,
			{{if .Ends}}m.first, m.first_at, m.last, m.last_at, m.integral{{else}}NULL, NULL, NULL, NULL, NULL{{end}}, NULL, NULL, NULL, NULL
		FROM hours h
		JOIN rollup_1m m ON m.sensor_id = h.sensor_id AND m.bucket >= h.bucket AND m.bucket < h.bucket + interval '1 hour'
		WHERE h.minutes
		{{- else}}
		SELECT sensor_id, bucket, count, good, usable, sum, m2, min, max,
			{{if .Ends}}first, first_at, last, last_at, integral{{else}}NULL, NULL, NULL, NULL, NULL{{end}},
			{{if .Gap}}begin_at, end_at{{else}}NULL, NULL{{end}}, {{if .Sketches}}sketch{{else}}NULL{{end}}, NULL
		FROM hours
		{{- if .Gap}}
		WHERE coalesce(pause <= {{.Gap}}, true)
		{{- end}}
		{{- end}}
		{{- end}}
		{{- if .Ends}}
		UNION ALL
		SELECT i.id, d.timestamp, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, d.reading
		FROM unnest($1::int[]) AS i (id)
		CROSS JOIN LATERAL (
			SELECT timestamp, ` + packed + ` AS reading
			FROM sensor_data
			WHERE sensor_id = i.id AND timestamp < $2 AND timestamp >= $2::timestamptz - interval '` + holdBack.String() + `' AND ` + usable + `
			ORDER BY timestamp DESC
			LIMIT 1) d
		{{- end}}
		ORDER BY 1, 2`))
