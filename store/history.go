package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/lib/pq"
)

// mostExact is of how many usable readings percentiles are always made; those of more are made of
// sketches where there are some.
const mostExact = 20000

// HoldBack is how old a reading from before a range may be for its value to hold into the range.
const HoldBack = day

// HistoryQuery asks for what the readings of [Start, End) amount to in the buckets between Bounds,
// the first of which may begin before Start and the last end behind End.
type HistoryQuery struct {
	Sensors     []int64
	Start, End  time.Time
	Bounds      []time.Time
	Ends        bool          // also First, Last and TimeWeighted, which cost more
	Percentiles []float64     // also these, between 0 and 1
	Gap         time.Duration // also count what is longer than this between two readings; 0: do not
	Now         time.Time     // nothing holds beyond it
}

// Bucket is what the readings of a sensor in [Start, End) amount to. A reading of bad quality or
// without a value is counted and has no value, nor has one beyond ±1e140, whose square float8 has
// no room for: it is not usable. Without usable ones the values are NaN.
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

	Percentiles []float64 // as many as were asked for; none without usable readings
	// how much of itself each of the two values may be off that one lies between; 0: they are exact
	PercentileError float64
	Gaps            int64
	LongestGap      time.Duration // between two readings, of those counted as gaps

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

// History returns for each of q.Sensors, in order of id, the buckets that have readings, in order
// of time, and what they were made of, which gives what the readings give; only percentiles may
// come from sketches. It is a statement for each span, and each sees what was committed when it
// began. What takes longer than a statement may is ErrTooMuch.
func (s *Store) History(ctx context.Context, q HistoryQuery) (map[int64][]Bucket, Source, error) {
	source := q.source()
	if !s.rollups {
		source = Raw
	}
	found, err := s.history(ctx, q, source)
	if err == nil && source != Raw && len(q.Percentiles) > 0 && usableIn(found) <= mostExact {
		source = Raw
		found, err = s.history(ctx, q, source)
	}
	var pqErr *pq.Error
	// query_canceled by statement_timeout
	if errors.As(err, &pqErr) && pqErr.Code == "57014" && ctx.Err() == nil {
		err = fmt.Errorf("history: %w", ErrTooMuch)
	}
	return found, source, err
}

// usableIn is how many usable readings there are.
func usableIn(found map[int64][]Bucket) (n int64) {
	for _, list := range found {
		for i := range list {
			n += list[i].Usable
		}
	}
	return n
}

func (s *Store) history(
	ctx context.Context, q HistoryQuery, source Source,
) (map[int64][]Bucket, error) {
	spans, err := s.spansOf(ctx, q.Sensors, &q.Start, &q.End, whole)
	if err != nil {
		return nil, explain("history", err)
	}
	m := newMerger(q, source)
	for _, w := range spans {
		if err := s.mergeSpan(ctx, q, source, w, m); err != nil {
			return nil, explain("history", err)
		}
	}
	found, err := m.buckets()
	return found, explain("history", err)
}

// mergeSpan gives m what there is in w.
func (s *Store) mergeSpan(
	ctx context.Context, q HistoryQuery, source Source, w span, m *merger,
) error {
	statement, args := q.statement(source, w)
	rows, err := s.api.QueryContext(ctx, statement, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r historyRow
		if err := rows.Scan(&r.sensor, &r.day, &r.rollups, &r.readings); err != nil {
			return err
		}
		if err := m.take(&r); err != nil {
			return err
		}
	}
	return rows.Err()
}

// weigh sets TimeWeighted of each bucket: every value holds until the next, also over the bounds of
// buckets; that of held, from before the range, too, and the last one until end. A held that is NaN
// is none.
func weigh(list []Bucket, held float64, start, end time.Time) {
	at, value := start, held // what holds, and since when
	known := !math.IsNaN(held)
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
