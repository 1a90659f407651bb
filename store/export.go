package store

import (
	"context"
	"database/sql"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// exportRows is how many readings Export reads at a time.
const exportRows = 16384

// ExportQuery selects raw readings, all of them.
type ExportQuery struct {
	Sensors    []int64
	Start, End *time.Time // [Start, End); nil is open
	Quality    *Quality
	After      *Cursor // continue after this reading

	// Enter is called before readings are read, each time, and leave afterwards. An error ends the
	// export.
	Enter func(context.Context) (leave func(), err error)
}

// Export calls f with the readings of q in order of sensor, then of time, some thousands at a time,
// until there are none or f fails; the slice is f's until it returns. The next ones are read
// meanwhile. No connection is held for longer than that takes, so a slow client holds up no other
// query.
func (s *Store) Export(ctx context.Context, q ExportQuery, f func([]Reading) error) error {
	g, ctx := errgroup.WithContext(ctx)
	full, empty := make(chan []Reading), make(chan []Reading, 2)
	empty <- make([]Reading, 0, exportRows)
	empty <- make([]Reading, 0, exportRows)
	g.Go(func() error {
		defer close(full)
		return s.exportBlocks(ctx, q, empty, full)
	})
	g.Go(func() error {
		for rs := range full {
			if err := f(rs); err != nil {
				return err
			}
			empty <- rs[:0]
		}
		return nil
	})
	return explain("export", g.Wait())
}

// exportBlocks reads q into slices from empty and sends them to full.
func (s *Store) exportBlocks(
	ctx context.Context, q ExportQuery, empty <-chan []Reading, full chan<- []Reading,
) error {
	for _, sensor := range slices.Sorted(slices.Values(unique(q.Sensors))) {
		start := q.Start
		if q.After != nil && sensor < q.After.SensorID {
			continue
		}
		if q.After != nil && sensor == q.After.SensorID {
			next := q.After.Timestamp.Add(time.Microsecond)
			if start == nil || start.Before(next) {
				start = &next
			}
		}
		spans, err := s.spansOf(ctx, []int64{sensor}, start, q.End, oldestFirst)
		if err != nil {
			return err
		}
		for len(spans) > 0 {
			var rs []Reading
			select {
			case rs = <-empty:
			case <-ctx.Done():
				return ctx.Err()
			}
			if rs, spans, err = s.exportBlock(ctx, sensor, spans, q, rs); err != nil {
				return err
			}
			select {
			case full <- rs:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// exportBlock appends the next exportRows readings of sensor to rs, and returns the spans that are
// left.
func (s *Store) exportBlock(
	ctx context.Context, sensor int64, spans []span, q ExportQuery, rs []Reading,
) ([]Reading, []span, error) {
	leave, err := q.Enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	for len(spans) > 0 && len(rs) < exportRows {
		if rs, err = s.readSpan(ctx, sensor, spans[0], q.Quality, rs); err != nil {
			return nil, nil, err
		}
		if len(rs) < exportRows {
			spans = spans[1:]
			continue
		}
		spans[0].start = rs[len(rs)-1].Timestamp.Add(time.Microsecond)
	}
	return rs, spans, nil
}

// readSpan appends readings of sensor in w to rs until there are exportRows.
func (s *Store) readSpan(
	ctx context.Context, sensor int64, w span, quality *Quality, rs []Reading,
) ([]Reading, error) {
	const query = `
		SELECT timestamp, value, status_code, quality
		FROM sensor_data
		WHERE sensor_id = $1
			AND timestamp >= $2
			AND timestamp < $3
			AND ($4::smallint IS NULL OR quality = $4)
		ORDER BY timestamp
		LIMIT $5`
	rows, err := s.api.QueryContext(ctx, query, sensor, w.start, w.end, quality, exportRows-len(rs))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var value sql.Null[float64]
	var code sql.Null[int32]
	r := Reading{SensorID: sensor}
	for rows.Next() {
		if err := rows.Scan(&r.Timestamp, &value, &code, &r.Quality); err != nil {
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
