package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/lib/pq/pqerror"

	"github.com/oei-ms/oei-ms/series"
)

// maxExact is the maximum number of usable readings whose percentiles are always exact. With more
// of them, percentiles come from sketches where there are rollups.
const maxExact = 20000

// History returns the buckets that have readings of each of q.Sensors, in order of time, and the
// source that they were computed from. The source makes no difference to the result; only
// percentiles may come from sketches. Each span is read by a statement, which sees what was
// committed when it began. ErrTooMuch reports that a statement took too long.
func (s *Store) History(
	ctx context.Context, q series.HistoryQuery,
) (map[int64][]series.Bucket, series.Source, error) {
	source := s.historySource(&q)
	found, err := s.history(ctx, q, source)
	if err == nil && source != series.Raw && len(q.Percentiles) > 0 && usableIn(found) <= maxExact {
		source = series.Raw
		found, err = s.history(ctx, q, source)
	}
	return found, source, explainTimeout(ctx, "history", err)
}

// historySource returns what q is answered from.
func (s *Store) historySource(q *series.HistoryQuery) series.Source {
	if !s.rollups {
		return series.Raw
	}
	return q.Source()
}

// usableIn returns how many usable readings there are in buckets.
func usableIn(found map[int64][]series.Bucket) (n int64) {
	for _, buckets := range found {
		for i := range buckets {
			n += buckets[i].Usable
		}
	}
	return n
}

// explainTimeout is explain for statements that readers wait for: a statement that was canceled for
// its time is ErrTooMuch.
func explainTimeout(ctx context.Context, op string, err error) error {
	if hasCode(err, pqerror.QueryCanceled) && ctx.Err() == nil {
		return fmt.Errorf("%s: %w", op, ErrTooMuch)
	}
	return explain(op, err)
}

// history answers q from source.
func (s *Store) history(
	ctx context.Context, q series.HistoryQuery, source series.Source,
) (map[int64][]series.Bucket, error) {
	spans, err := s.spansOf(ctx, q.Sensors, &q.Start, &q.End, whole)
	if err != nil {
		return nil, err
	}
	m := series.NewHistoryMerger(q, source)
	for _, w := range spans {
		if err := s.mergeSpan(ctx, q, source, w, m); err != nil {
			return nil, err
		}
	}
	return m.Buckets()
}

// mergeSpan adds the rows of w to m.
func (s *Store) mergeSpan(
	ctx context.Context, q series.HistoryQuery, source series.Source, w span,
	m *series.HistoryMerger,
) error {
	statement, args := historySQL(q, source, w)
	rows, err := s.api.QueryContext(ctx, statement, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r series.PackedRow
		err := rows.Scan(&r.Sensor, &r.Day, (*sql.RawBytes)(&r.Rollups),
			(*sql.RawBytes)(&r.Readings))
		if err != nil {
			return err
		}
		if err := m.Add(&r); err != nil {
			return err
		}
	}
	return rows.Err()
}
