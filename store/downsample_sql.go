package store

import "github.com/oei-ms/oei-ms/series"

// downsampleClauses say which clauses downsampleTemplate has.
type downsampleClauses struct {
	Rollups, Minutes bool
	Slice            string
}

// downsampleSQL returns the statement that reads w for q, and its arguments. Its rows have a
// sensor, how many of its usable readings are in rollups that count, and packed readings.
func downsampleSQL(
	q series.DownsampleQuery, p series.DownsamplePlan, w span,
) (string, []any) {
	args := []any{int32s(unique(q.Sensors)), w.start, w.end}
	if p.Source != series.Raw {
		from, to := series.WholeHours(w.start, w.end)
		args = append(args, from, to, p.Origin.Time(), p.Width.Since(0), p.MaxAll)
	}
	return render(downsampleTemplate, downsampleClauses{
		Rollups: p.Source != series.Raw,
		Minutes: p.Source == series.ByMinute,
		Slice:   sliceOf(w),
	}), args
}

// minuteWithExtreme returns a SELECT of the first minute that has the extreme of each chosen hour,
// which is a column of rollups.
func minuteWithExtreme(extreme string) string {
	return `
			SELECT c.sensor_id, m.bucket, m.bucket + interval '1 minute'
			FROM chosen c
			CROSS JOIN LATERAL (
				SELECT bucket
				FROM rollup_1m
				WHERE sensor_id = c.sensor_id
					AND bucket >= c.bucket
					AND bucket < c.bucket + interval '1 hour'
					AND ` + extreme + ` = c.` + extreme + `
				ORDER BY bucket
				LIMIT 1) m
			WHERE c.has_` + extreme + ` AND c.minutes AND NOT c.all_readings`
}

// downsampleTemplate has as $6 and $7 the origin and, in seconds, the width of bins, and as $8 the
// number of readings up to which all are read; else see historyTemplate. Of each bin it chooses the
// rollups with the extremes. Chosen minutes are read; of chosen hours the minutes that have their
// extremes. The first and the last rollup are read for their first and last reading.
var downsampleTemplate = parseSQL(`
		WITH
		{{- if .Rollups}}` + staleRollups + `,
		hours AS MATERIALIZED (
			SELECT sensor_id, bucket, usable, min, max, minutes` + countingRollups + `
				AND r.usable > 0),
		totals AS MATERIALIZED (
			SELECT sensor_id, sum(usable)::bigint AS usable
			FROM hours
			GROUP BY sensor_id),
		rollups AS (
			{{- if .Minutes}}
			SELECT m.sensor_id, m.bucket, m.min, m.max, true AS minutes
			FROM hours h
			JOIN rollup_1m m ON m.sensor_id = h.sensor_id
				AND m.bucket >= h.bucket
				AND m.bucket < h.bucket + interval '1 hour'
			WHERE h.minutes AND m.usable > 0
			{{- else}}
			SELECT sensor_id, bucket, min, max, minutes
			FROM hours
			{{- end}}),
		binned AS (
			SELECT
				r.sensor_id, r.bucket, r.min, r.max, r.minutes,
				t.usable <= $8 AS is_small,
				floor(date_part('epoch', bucket - $6::timestamptz) / $7::float8) AS bin
			FROM rollups r
			JOIN totals t ON t.sensor_id = r.sensor_id),
		ranked AS (
			SELECT
				sensor_id, bucket, min, max, minutes,
				is_small OR lag(bucket) OVER s IS NULL OR lead(bucket) OVER s IS NULL
					AS all_readings,
				row_number() OVER (b ORDER BY min, bucket) = 1 AS has_min,
				row_number() OVER (b ORDER BY max DESC, bucket) = 1 AS has_max
			FROM binned
			WINDOW
				s AS (PARTITION BY sensor_id ORDER BY bucket),
				b AS (PARTITION BY sensor_id, bin)),
		chosen AS MATERIALIZED (
			SELECT sensor_id, bucket, min, max, minutes, all_readings, has_min, has_max
			FROM ranked
			WHERE all_readings OR has_min OR has_max),
		{{- end}}` + slicesToRead + `
			{{- if .Minutes}}
			UNION
			SELECT sensor_id, bucket, bucket + interval '1 minute'
			FROM chosen
			UNION
			SELECT sensor_id, bucket, bucket + interval '1 hour'
			FROM hours
			WHERE NOT minutes
			{{- else if .Rollups}}
			UNION
			SELECT sensor_id, bucket, bucket + interval '1 hour'
			FROM chosen
			WHERE all_readings OR NOT minutes
			UNION` + minuteWithExtreme("min") + `
			UNION` + minuteWithExtreme("max") + `
			{{- end}})
		SELECT
			s.sensor_id,
			{{- if .Rollups}}
			coalesce((SELECT usable FROM totals t WHERE t.sensor_id = s.sensor_id), 0),
			{{- else}}
			0,
			{{- end}}
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
				AND timestamp < $3
				AND ` + usable + `) r
		WHERE r.readings IS NOT NULL
		ORDER BY s.sensor_id, s.begin`)
