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

// source is the coarsest that most of every bucket is made up of. The hours that a bucket begins
// within are made of minutes or, where seconds, percentiles or gaps are asked for, of which minutes
// know nothing, of readings; when there are many, all is.
func (q HistoryQuery) source() Source {
	from, to := q.rolled()
	split, minutes := q.split()
	switch {
	case to.Sub(from) < leastRolled:
		return Raw
	case 4*len(split) <= int(to.Sub(from)/time.Hour):
		return ByHour
	case minutes:
		return ByMinute
	}
	return Raw
}

// split returns the hours that a bucket begins within, and whether minutes are enough for these.
func (q HistoryQuery) split() (hours []time.Time, minutes bool) {
	minutes = len(q.Percentiles) == 0 && q.Gap == 0
	for _, b := range q.Bounds[1:max(len(q.Bounds)-1, 1)] { // the outer ones are cut to the range
		hour := hourOf(b)
		if b.Equal(hour) {
			continue
		}
		if n := len(hours); n == 0 || !hours[n-1].Equal(hour) {
			hours = append(hours, hour)
		}
		minutes = minutes && b.Equal(b.Truncate(time.Minute))
	}
	return hours, minutes
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

// statement returns the SQL of the part of q in w and its arguments; see the rules in rollups.go
// for which rollups it takes, and what it reads. Its rows are those of a historyRow. What q does
// not ask for is left out.
func (q HistoryQuery) statement(source Source, w span) (string, []any) {
	split, minutes := q.split()
	args := []any{int32s(unique(q.Sensors)), w.start, w.end}
	if source != Raw {
		from, to := wholeHours(w.start, w.end)
		args = append(args, from, to)
	}
	if source == ByHour {
		args = append(args, timestamps(len(split), func(i int) time.Time { return split[i] }))
	}
	asked := struct {
		Rolled, Split, All, Minutes, Ends, Sketches bool
		Gap                                         float64
		Piece                                       string
		// the argument that says from when on a value may hold into the range
		Held int
	}{
		Rolled:   source != Raw,
		Split:    len(split) > 0,
		All:      source == ByMinute,
		Minutes:  minutes,
		Ends:     q.Ends,
		Sketches: len(q.Percentiles) > 0, Gap: q.Gap.Seconds(), Piece: stretch(w.start, w.end),
	}
	if q.Ends && w.start.Equal(q.Start) {
		args = append(args, q.Start.Add(-HoldBack))
		asked.Held = len(args)
	}
	var b strings.Builder
	if err := historyTemplate.Execute(&b, asked); err != nil {
		panic(err) // it is a constant
	}
	return b.String(), args
}

// settled are, of the whole hours from $4 to $5, those whose rollups tell: before upper and not
// dirty.
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

// unsettled begins the list of stretches that are read: all that is between the hours that are
// settled and have a rollup, from the first reading there on. A stretch is not so long that its
// readings would be too much at once; no sensor has readings more than maxAhead after its latest.
var unsettled = `
		gaps (sensor_id, begin, until) AS (
			{{- if .Rolled}}
			SELECT sensor_id, lag(bucket + interval '1 hour', 1, $2::timestamptz) OVER (PARTITION BY sensor_id ORDER BY bucket), bucket
			FROM hours
			UNION ALL
			{{- end}}
			SELECT l.sensor_id, {{if .Rolled}}coalesce(h.until, $2::timestamptz){{else}}$2::timestamptz{{end}},
				least(l.timestamp + interval '` + maxAhead.String() + `', $3)
			FROM latest l
			{{- if .Rolled}}
			LEFT JOIN (
				SELECT sensor_id, max(bucket) + interval '1 hour' AS until
				FROM hours
				GROUP BY sensor_id) h ON h.sensor_id = l.sensor_id
			{{- end}}
			WHERE l.sensor_id = ANY ($1::int[])),
		stretches (sensor_id, begin, until) AS (
			SELECT g.sensor_id, greatest(at, g.begin), least(at + interval '{{.Piece}}', g.until)
			FROM gaps g
			CROSS JOIN LATERAL (
				SELECT min(timestamp) AS oldest
				FROM sensor_data
				WHERE sensor_id = g.sensor_id AND timestamp >= g.begin AND timestamp < g.until AND timestamp >= $2 AND timestamp < $3) r
			CROSS JOIN LATERAL generate_series(
				date_trunc('hour', r.oldest, 'UTC'), g.until - interval '1 microsecond', interval '{{.Piece}}') AS at
			WHERE g.begin < g.until`

// historyTemplate is of the sensors $1 in [$2, $3), of which [$4, $5) are whole hours, and $6 those
// that a bucket begins within. It reads stretches, and takes the hours and minutes of the rest. An
// hour with a gap in it is read, since it does not know how many there are.
var historyTemplate = template.Must(template.New("").Parse(`
		{{- define "ends"}}{{if .Ends}} || ` + packedEnds + `{{end}}{{end}}
		WITH
		{{- if .Rolled}}` + settled + `,
		hours AS MATERIALIZED (
			SELECT sensor_id, bucket, ` + packedRollup + `{{template "ends" .}}
					{{- if .Gap}} || ` + packedSpan + `{{end}}
					{{- if .Sketches}} || int4send(octet_length(sketch)) || sketch{{end}} AS packed,
				{{if .All}}true{{else}}bucket = ANY ($6::timestamptz[]){{end}} AS split, minutes, {{if .Gap}}coalesce(pause > {{.Gap}}, false){{else}}false{{end}} AS gap
			FROM state
			JOIN rollup_1h r ON r.sensor_id = ANY ($1::int[]) AND r.bucket >= $4 AND r.bucket < $5 AND r.bucket < state.upper
			WHERE NOT EXISTS (SELECT FROM dirty d WHERE d.sensor_id = r.sensor_id AND d.hour = r.bucket)),
		{{- end}}` + unsettled + `
			{{- if .Rolled}}
			UNION ALL
			SELECT sensor_id, bucket, bucket + interval '1 hour' FROM hours WHERE gap OR split {{if .Minutes}}AND NOT minutes{{end}}
			{{- end}})
		SELECT s.sensor_id, date_trunc('day', s.begin, 'UTC') AS day, NULL::bytea AS rollups, r.readings
		FROM (SELECT sensor_id, begin, until FROM stretches ORDER BY sensor_id, begin) s
		CROSS JOIN LATERAL (
			SELECT string_agg(` + packedReading + `, '') AS readings
			FROM sensor_data
			WHERE sensor_id = s.sensor_id AND timestamp >= s.begin AND timestamp < s.until AND timestamp >= $2 AND timestamp < $3) r
		WHERE r.readings IS NOT NULL
		{{- if .Rolled}}
		UNION ALL
		SELECT sensor_id, date_trunc('day', bucket, 'UTC'), string_agg(packed, ''), NULL
		FROM hours
		WHERE NOT gap AND NOT split
		GROUP BY 1, 2
		{{- if .Minutes}}{{if or .Split .All}}
		UNION ALL
		SELECT h.sensor_id, date_trunc('day', h.bucket, 'UTC'), m.packed, NULL
		FROM hours h
		CROSS JOIN LATERAL (
			SELECT string_agg(` + packedRollup + `{{template "ends" .}}, '') AS packed
			FROM rollup_1m
			WHERE sensor_id = h.sensor_id AND bucket >= h.bucket AND bucket < h.bucket + interval '1 hour') m
		WHERE h.split AND h.minutes
		{{- end}}{{end}}
		{{- end}}
		{{- if .Held}}
		UNION ALL
		SELECT i.id, date_trunc('day', d.timestamp, 'UTC'), NULL, d.reading
		FROM unnest($1::int[]) AS i (id)
		CROSS JOIN LATERAL (
			SELECT timestamp, ` + packedReading + ` AS reading
			FROM sensor_data
			WHERE sensor_id = i.id AND timestamp < $2 AND timestamp >= ${{.Held}} AND ` + usable + `
			ORDER BY timestamp DESC
			LIMIT 1) d
		{{- end}}
		ORDER BY 1, 2`))
