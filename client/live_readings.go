package oei

import (
	"context"
	"time"

	"github.com/oei-ms/oei-ms/gen/client"
)

const maxFilled = 1 << 16 // readings of gaps that are remembered

// readingKey identifies a reading.
type readingKey struct {
	sensor ID
	micros int64
}

// keyOf returns the key of a reading.
func keyOf(sensor ID, at time.Time) readingKey { return readingKey{sensor, at.UnixMicro()} }

// reading passes a reading on unless it came as one of a gap.
func (s *liveStream) reading(item client.WsSensorReading) error {
	if s.filled[keyOf(item.SensorID, item.Data.Timestamp)] {
		return nil
	}
	s.note(item.SensorID, item.Data.Timestamp)
	return s.emit(readingOf(item, OriginLive))
}

// note remembers the newest reading of a sensor.
func (s *liveStream) note(sensor ID, at time.Time) {
	if s.fillGaps && at.After(s.last[sensor]) {
		s.last[sensor] = at
	}
}

// snapshotReading passes the newest reading of a sensor on if it is asked for; after a gap, all
// that were stored since the last one that came.
func (s *liveStream) snapshotReading(ctx context.Context, item client.WsSensorReading) error {
	at := item.Data.Timestamp
	if s.first {
		s.note(item.SensorID, at)
		if !s.snapshot {
			return nil
		}
		return s.emit(readingOf(item, OriginSnapshot))
	}
	last, known := s.last[item.SensorID]
	if known && !at.After(last) {
		return nil
	}
	params := ReadingsParams{
		SensorID: []ID{item.SensorID},
		End:      new(at.Add(time.Microsecond)),
		Order:    new(SortOrderAsc),
		Limit:    new(1000),
	}
	if known {
		params.Start = new(last.Add(time.Microsecond))
	}
	for r, err := range s.client.Readings(ctx, params) {
		if ctx.Err() != nil {
			return endOf(ctx)
		}
		if err != nil {
			return s.emit(LiveGap{SensorID: item.SensorID, Reason: err.Error()})
		}
		if len(s.filled) < maxFilled {
			s.filled[keyOf(r.SensorID, r.Timestamp)] = true
		}
		s.note(r.SensorID, r.Timestamp)
		gap := item
		gap.Data = client.WsReading{
			Quality:   r.Quality,
			Timestamp: r.Timestamp,
			Value:     r.Value,
		}
		if err := s.emit(readingOf(gap, OriginGap)); err != nil {
			return err
		}
	}
	return nil
}
