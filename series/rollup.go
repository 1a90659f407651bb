package series

import "time"

const (
	// minRollupReadings is how many readings an hour must have for a rollup: reading fewer costs
	// little more than reading their rollup.
	minRollupReadings = 12
	// minMinuteReadings is how many readings an hour must have for rollups of its minutes, for the
	// same reason.
	minMinuteReadings = 60 * minRollupReadings

	minute = Instant(60e6)
)

// Rollup is the stored aggregates of a sensor's hour or minute.
type Rollup struct {
	Sensor int64
	Bucket Instant // when it begins
	Aggregate
	Sketch     []byte // of an hour
	HasMinutes bool   // of an hour: its minutes have rollups too
}

// RollUpHour returns the rollups of an hour, whose readings are in order of time: ok is false when
// they are too few for one, and minutes is empty when they are too few for rollups of its minutes.
func RollUpHour(
	sensor int64, start time.Time, readings []Reading,
) (hour Rollup, minutes []Rollup, ok bool) {
	if len(readings) < minRollupReadings {
		return Rollup{}, nil, false
	}
	hour = Rollup{
		Sensor:     sensor,
		Bucket:     InstantOf(start),
		HasMinutes: len(readings) >= minMinuteReadings,
	}
	values := make([]float64, 0, len(readings))
	for _, r := range readings {
		hour.Add(r)
		if r.isUsable() {
			values = append(values, r.Value)
		}
		if !hour.HasMinutes {
			continue
		}
		bucket := r.At.floor(minute)
		if n := len(minutes); n == 0 || minutes[n-1].Bucket != bucket {
			minutes = append(minutes, Rollup{Sensor: sensor, Bucket: bucket})
		}
		minutes[len(minutes)-1].Add(r)
	}
	hour.Sketch = newSketch(values).encode(nil)
	return hour, minutes, true
}
