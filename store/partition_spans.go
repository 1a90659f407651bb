package store

import (
	"context"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/series"
)

// A statement on sensor_data locks and plans every partition that its bounds do not exclude, and
// the planner excludes partitions only by bounds that are parameters or constants. So each
// statement on a range that may be long runs once for each span of the range, with its bounds as
// parameters.

const (
	// maxSpan is the maximum number of partitions that a statement touches. A transaction has room
	// for 64 locks of its own by default, and a partition takes two.
	maxSpan = 32
	// minSpan is how many partitions the first span of a walk has; each next span has twice as
	// many, up to maxSpan.
	minSpan = 2
	// maxPartitionsAge is how old the list of partitions may be that queries use. Merges of other
	// instances since then only make spans shorter than they need to be.
	maxPartitionsAge = time.Minute
	// maxAhead is more than a timestamp can be ahead of the received time, and so of latest: ingest
	// allows a day.
	maxAhead = 2 * day
)

// The bounds of all readings.
var (
	firstInstant = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	lastInstant  = time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)
)

// span is a range of time, [start, end).
type span struct{ start, end time.Time }

// order says how a range is cut into spans.
type order int

const (
	whole       order = iota // all spans are read, oldest first
	oldestFirst              // a walk that ends as soon as enough is found
	newestFirst
)

// cut returns the spans of [start, end), in order. Together they cover all of it, even where list
// is out of date. An hour is never split.
func cut(list []partition, start, end time.Time, o order) []span {
	if !start.Before(end) {
		return nil
	}
	edges := []time.Time{start}
	for _, p := range list {
		within := p.Start.After(start) && p.Start.Before(end)
		if within && p.Start.Equal(series.HourOf(p.Start)) {
			edges = append(edges, p.Start)
		}
	}
	edges = append(edges, end)
	size := minSpan
	if o == whole {
		size = maxSpan
	}
	var spans []span
	for n := len(edges) - 1; n > 0; size = min(2*size, maxSpan) {
		size = min(size, n)
		if o == newestFirst {
			spans = append(spans, span{edges[n-size], edges[n]})
			edges = edges[:n-size+1]
		} else {
			spans = append(spans, span{edges[0], edges[size]})
			edges = edges[size:]
		}
		n -= size
	}
	return spans
}

// spans returns the spans of [start, end).
func (s *Store) spans(
	ctx context.Context, q sqlx.QueryerContext, start, end time.Time, o order,
) ([]span, error) {
	list, err := s.partitions.list(ctx, q)
	return cut(list, start, end, o), err
}

// spansOf returns the spans of [start, end), nil being open, that may have readings of sensors.
func (s *Store) spansOf(
	ctx context.Context, sensors []int64, start, end *time.Time, o order,
) ([]span, error) {
	const q = `SELECT max(timestamp) FROM latest WHERE sensor_id = ANY ($1::int[])`
	var newest *time.Time
	err := s.api.GetContext(ctx, &newest, q, int32s(unique(sensors)))
	if err != nil || newest == nil {
		return nil, err
	}
	from, to := firstInstant, newest.Add(maxAhead)
	if start != nil {
		from = *start
	}
	if end != nil {
		to = earlier(to, *end)
	}
	return s.spans(ctx, s.api, from, to, o)
}

// walk calls f in a transaction with each of spans until f is done. The locks of f on partitions
// and rows are released after each call, since the locks on thousands of partitions have no room.
func walk(
	ctx context.Context, tx *sqlx.Tx, spans []span, f func(span) (done bool, err error),
) error {
	for _, w := range spans {
		if _, err := tx.ExecContext(ctx, `SAVEPOINT walk`); err != nil {
			return err
		}
		done, err := f(w)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `ROLLBACK TO SAVEPOINT walk`); err != nil || done {
			return err
		}
	}
	return nil
}

// list returns the partitions for queries: those of at most maxPartitionsAge ago.
func (p *partitions) list(ctx context.Context, q sqlx.QueryerContext) ([]partition, error) {
	if l := p.listed.Load(); l != nil && time.Since(l.at) < maxPartitionsAge {
		return l.all, nil
	}
	all, err := listPartitions(ctx, q)
	if err != nil {
		return nil, err
	}
	p.listed.Store(&partitionList{slices.Clip(all), time.Now()})
	return all, nil
}
