package store

import (
	"context"
	"database/sql"

	"github.com/oei-ms/oei-ms/series"
)

// Downsample returns readings of each sensor that has any, oldest first, the first and the last one
// among them; all of them when there are no more than q.Points. Readings of bad quality, without a
// value, or with one beyond ±1e140 are left out. Where a point stands for minutes or hours, their
// rollups tell which of them have the extremes, and only these are read: the result is that of all
// readings. ErrTooMuch reports that a statement took too long.
func (s *Store) Downsample(
	ctx context.Context, q series.DownsampleQuery,
) (map[int64][]Reading, series.Source, error) {
	p := q.Plan(s.rollups)
	found, err := s.downsample(ctx, q, p)
	return found, p.Source, explainTimeout(ctx, "downsample", err)
}

// downsample answers q by p.
func (s *Store) downsample(
	ctx context.Context, q series.DownsampleQuery, p series.DownsamplePlan,
) (map[int64][]Reading, error) {
	spans, err := s.spansOf(ctx, q.Sensors, &q.Start, &q.End, whole)
	if err != nil {
		return nil, err
	}
	downsamplers := map[int64]*series.Downsampler{}
	for _, w := range spans {
		if err := s.downsampleSpan(ctx, q, p, w, downsamplers); err != nil {
			return nil, err
		}
	}
	chosen := map[int64][]Reading{}
	for sensor, d := range downsamplers {
		chosen[sensor] = readingsOf(sensor, d.Choose(&q))
	}
	return chosen, nil
}

// readingsOf returns usable readings of a sensor, which are not of bad quality.
func readingsOf(sensor int64, usable []series.Reading) []Reading {
	rs := make([]Reading, len(usable))
	for i, r := range usable {
		rs[i] = Reading{
			SensorID:  sensor,
			Timestamp: r.At.Time(),
			Value:     r.Value,
			Quality:   Uncertain,
		}
		if r.Good {
			rs[i].Quality = Good
		}
	}
	return rs
}

// downsampleSpan adds the readings of w to downsamplers, by sensor.
func (s *Store) downsampleSpan(
	ctx context.Context, q series.DownsampleQuery, p series.DownsamplePlan, w span,
	downsamplers map[int64]*series.Downsampler,
) error {
	statement, args := downsampleSQL(q, p, w)
	rows, err := s.api.QueryContext(ctx, statement, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var readings []series.Reading
	var packed sql.RawBytes
	var sensor, rolledUp int64
	for rows.Next() {
		if err := rows.Scan(&sensor, &rolledUp, &packed); err != nil {
			return err
		}
		if readings, err = series.UnpackReadings(readings[:0], packed); err != nil {
			return err
		}
		series.SortReadings(readings)
		d := downsamplers[sensor]
		if d == nil {
			d = series.NewDownsampler(p)
			downsamplers[sensor] = d
		}
		if rolledUp > int64(p.MaxAll) {
			d.OnlyExtremes()
		}
		for _, r := range readings {
			d.Add(r)
		}
	}
	return rows.Err()
}
