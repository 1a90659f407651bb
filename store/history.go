package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/lib/pq"
)

// holdBack is how old a reading from before a range may be for its value to hold into the range.
const holdBack = day

// HistoryQuery asks for what the readings of [Start, End) amount to in the buckets between Bounds, the first of which may begin
// before Start and the last end behind End.
type HistoryQuery struct {
	Sensors     []int64
	Start, End  time.Time
	Bounds      []time.Time
	Ends        bool          // also First, Last and TimeWeighted, which cost more
	Percentiles []float64     // also these, between 0 and 1
	Gap         time.Duration // also count what is longer than this between two readings; 0: do not
	Now         time.Time     // nothing holds beyond it
}

// Bucket is what the readings of a sensor in [Start, End) amount to. A reading of bad quality or without a value is counted and
// has no value, nor has one beyond ±1e140, whose square float8 has no room for: it is not usable. Without usable ones the values are NaN.
type Bucket struct {
	Start, End time.Time
	Readings   int64 // all
	Good       int64 // of good quality
	Usable     int64 // of good or uncertain quality, with a value

	Sum, Min, Max float64
	M2            float64 // sum of squared differences from the mean

	First, Last     float64
	FirstAt, LastAt time.Time // zero without usable ones
	TimeWeighted    float64   // average when each value holds until the next

	Percentiles []float64
	Gaps        int64
	LongestGap  time.Duration // between two readings, of those counted as gaps

	within float64 // integral from FirstAt to LastAt, value times seconds
}

// Avg is the mean of the usable values.
func (b *Bucket) Avg() float64 { return b.Sum / float64(b.Usable) } // NaN without any

// Stddev is the standard deviation of the sample; NaN with fewer than two usable values.
func (b *Bucket) Stddev() float64 {
	if b.Usable < 2 {
		return math.NaN()
	}
	return math.Sqrt(b.M2 / float64(b.Usable-1))
}

// PercentGood is the part of the readings that is of good quality; NaN without readings.
func (b *Bucket) PercentGood() float64 { return 100 * float64(b.Good) / float64(b.Readings) }

// History returns for each of q.Sensors, in order of id, the buckets that have readings, in order of time, and what they were made
// of. It is one statement, and gives what the readings give. What takes longer than a statement may is ErrTooMuch.
func (s *Store) History(ctx context.Context, q HistoryQuery) (map[int64][]Bucket, Source, error) {
	source := q.source()
	if !s.rollups {
		source = Raw
	}
	found, err := s.history(ctx, q, source)
	var pqErr *pq.Error
	if errors.As(err, &pqErr) && pqErr.Code == "57014" && ctx.Err() == nil { // query_canceled by statement_timeout
		err = fmt.Errorf("history: %w", ErrTooMuch)
	}
	return found, source, err
}

func (s *Store) history(ctx context.Context, q HistoryQuery, source Source) (map[int64][]Bucket, error) {
	args := []any{
		int32s(unique(q.Sensors)), q.Start, q.End,
		timestamps(len(q.Bounds)-1, func(i int) time.Time { return q.Bounds[i] }),
	}
	statement := q.statement()
	if source != Raw {
		from, to := q.rolled()
		args, statement = append(args, from, to), q.rolledStatement(source)
	}
	rows, err := s.api.QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, explain("history", err)
	}
	defer rows.Close()
	found := map[int64][]Bucket{}
	held := map[int64]Bucket{}
	for rows.Next() {
		var sensor int64
		var n int
		var longest float64
		var percentiles pq.Float64Array
		var sum, least, most, m2, first, last, within sql.Null[float64]
		var firstAt, lastAt sql.Null[time.Time]
		b := Bucket{}
		if err := rows.Scan(&sensor, &n, &b.Readings, &b.Good, &b.Usable, &sum, &least, &most, &m2, &firstAt, &first, &lastAt, &last, &within,
			&percentiles, &b.Gaps, &longest); err != nil {
			return nil, explain("history", err)
		}
		b.Sum, b.Min, b.Max, b.M2 = orNaN(sum), orNaN(least), orNaN(most), orNaN(m2)
		b.First, b.Last, b.FirstAt, b.LastAt, b.within = orNaN(first), orNaN(last), firstAt.V, lastAt.V, within.V
		b.Percentiles, b.LongestGap = percentiles, time.Duration(longest*float64(time.Second))
		if n == 0 {
			held[sensor] = b
			continue
		}
		b.Start, b.End = q.Bounds[n-1], q.Bounds[n]
		found[sensor] = append(found[sensor], b)
	}
	if err := rows.Err(); err != nil {
		return nil, explain("history", err)
	}
	if q.Ends {
		for sensor, list := range found {
			weigh(list, held[sensor], q.Start, earlier(q.End, q.Now))
		}
	}
	return found, nil
}

// statement returns the SQL of q: what it does not ask for is not computed.
func (q HistoryQuery) statement() string {
	const head = `
		SELECT i.id, d.*
		FROM unnest($1::int[]) AS i (id)
		CROSS JOIN LATERAL (
			SELECT bucket, count(*) AS readings, count(*) FILTER (WHERE quality = 0) AS good, count(value) AS usable,
				sum(value), min(value), max(value), var_pop(value) * count(value), `
	const ends = `
				min(timestamp) FILTER (WHERE value IS NOT NULL), (array_agg(value ORDER BY timestamp) FILTER (WHERE value IS NOT NULL))[1],
				max(timestamp) FILTER (WHERE value IS NOT NULL), (array_agg(value ORDER BY timestamp DESC) FILTER (WHERE value IS NOT NULL))[1],
				sum(value * extract(epoch FROM following - timestamp)::float8), `
	const noEnds = `NULL::timestamptz, NULL::float8, NULL::timestamptz, NULL::float8, NULL::float8, `
	gaps := fmt.Sprintf(`count(*) FILTER (WHERE pause > %[1]f), coalesce(max(pause) FILTER (WHERE pause > %[1]f), 0)`, q.Gap.Seconds())
	const from = `
			FROM (
				SELECT *`
	const following = `, lead(timestamp) OVER (PARTITION BY bucket, value IS NULL ORDER BY timestamp) AS following`
	const pause = `, extract(epoch FROM timestamp - lag(timestamp) OVER (ORDER BY timestamp))::float8 AS pause`
	const tail = `
				FROM (
					SELECT timestamp, quality, CASE WHEN ` + usable + ` THEN value END AS value,
						width_bucket(timestamp, $4::timestamptz[]) AS bucket
					FROM sensor_data
					WHERE sensor_id = i.id AND timestamp >= $2 AND timestamp < $3) r) r
			GROUP BY bucket`
	before := fmt.Sprintf(`
			UNION ALL (
			SELECT 0, 0, 0, 0, NULL, NULL, NULL, NULL, timestamp, value, timestamp, value, NULL, NULL, 0, 0
			FROM sensor_data
			WHERE sensor_id = i.id AND timestamp < $2 AND timestamp >= $2::timestamptz - make_interval(secs => %f) AND `+usable+`
			ORDER BY timestamp DESC
			LIMIT 1)`, holdBack.Seconds())
	const order = `) d (bucket)
		ORDER BY i.id, d.bucket`
	var b strings.Builder
	add := func(wanted bool, text, otherwise string) {
		if !wanted {
			text = otherwise
		}
		b.WriteString(text)
	}
	b.WriteString(head)
	add(q.Ends, ends, noEnds)
	quoted := make([]string, len(q.Percentiles))
	for i, p := range q.Percentiles {
		quoted[i] = fmt.Sprint(p)
	}
	add(len(quoted) > 0, `percentile_cont(ARRAY[`+strings.Join(quoted, ", ")+`]::float8[]) WITHIN GROUP (ORDER BY value), `, `NULL::float8[], `)
	add(q.Gap > 0, gaps, `0, 0`)
	b.WriteString(from)
	add(q.Ends, following, ``)
	add(q.Gap > 0, pause, ``)
	b.WriteString(tail)
	add(q.Ends, before, ``)
	b.WriteString(order)
	return b.String()
}

// weigh sets TimeWeighted of each bucket: every value holds until the next, also over the bounds of buckets; that of held, from
// before the range, too, and the last one until end.
func weigh(list []Bucket, held Bucket, start, end time.Time) {
	at, value := start, held.Last // what holds, and since when
	known := !held.LastAt.IsZero()
	for i := range list {
		b := &list[i]
		from, to := later(b.Start, start), earlier(b.End, end)
		integral, seconds := 0.0, 0.0
		hold := func(until time.Time) {
			if begin := later(at, from); known && until.After(begin) {
				integral += value * until.Sub(begin).Seconds()
				seconds += until.Sub(begin).Seconds()
			}
		}
		if b.Usable > 0 {
			hold(b.FirstAt)
			integral += b.within
			seconds += b.LastAt.Sub(b.FirstAt).Seconds()
			at, value, known = b.LastAt, b.Last, true
		}
		hold(to)
		b.TimeWeighted = integral / seconds
		if seconds == 0 {
			b.TimeWeighted = b.Last // at its very end, or NaN
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func orNaN(v sql.Null[float64]) float64 {
	if !v.Valid {
		return math.NaN()
	}
	return v.V
}
