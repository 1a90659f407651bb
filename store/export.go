package store

import (
	"context"
	"database/sql"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// exportRows is how many readings Export takes at a time.
const exportRows = 16384

// ExportQuery selects raw readings, all of them.
type ExportQuery struct {
	Sensors    []int64
	Start, End *time.Time // [Start, End); nil is open
	Quality    *Quality
	After      *Cursor // go on behind this reading

	// Turn is called before each of the times that readings are taken, and leave behind it. An
	// error ends the export.
	Turn func(context.Context) (leave func(), err error)
}

// Export calls f with the readings of q in order of sensor, then of time, some thousands at a time,
// until there are none or f fails; the slice is f's until it returns. The next ones are read
// meanwhile, but no connection is held for longer than that takes, so a client that takes its time
// holds up nobody.
func (s *Store) Export(ctx context.Context, q ExportQuery, f func([]Reading) error) error {
	g, ctx := errgroup.WithContext(ctx)
	full, empty := make(chan []Reading), make(chan []Reading, 2)
	empty <- make([]Reading, 0, exportRows)
	empty <- make([]Reading, 0, exportRows)
	g.Go(func() error {
		defer close(full)
		return s.pieces(ctx, q, empty, full)
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

// pieces reads q into slices from empty and sends them to full.
func (s *Store) pieces(
	ctx context.Context, q ExportQuery, empty <-chan []Reading, full chan<- []Reading,
) error {
	for _, sensor := range slices.Sorted(slices.Values(unique(q.Sensors))) {
		start := q.Start
		if q.After != nil && sensor < q.After.SensorID {
			continue
		}
		if q.After != nil && sensor == q.After.SensorID {
			if behind := q.After.Timestamp.Add(time.Microsecond); start == nil ||
				start.Before(behind) {
				start = &behind
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
			if rs, spans, err = s.piece(ctx, sensor, spans, q, rs); err != nil {
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

// piece appends the next exportRows readings of sensor to rs, and returns what is left of spans.
func (s *Store) piece(
	ctx context.Context, sensor int64, spans []span, q ExportQuery, rs []Reading,
) ([]Reading, []span, error) {
	leave, err := q.Turn(ctx)
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
		WHERE sensor_id = $1 AND timestamp >= $2 AND timestamp < $3
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
