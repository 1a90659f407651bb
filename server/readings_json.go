package server

import (
	"strconv"
	"time"

	"github.com/oei-ms/oei-ms/internal/jsonenc"
	"github.com/oei-ms/oei-ms/store"
)

// Readings are written by hand, because there may be very many of them.

func appendList(b []byte, list []store.Reading, item func([]byte, *store.Reading) []byte) []byte {
	b = append(b, '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = item(b, &list[i])
	}
	return append(b, "]\n"...)
}

// appendReading appends r as a Reading.
func appendReading(b []byte, r *store.Reading) []byte {
	return append(appendReadingMembers(b, r), '}')
}

// appendReadingMembers appends r as a Reading without the closing brace, so that members can
// follow.
func appendReadingMembers(b []byte, r *store.Reading) []byte {
	b = append(b, `{"sensor_id":`...)
	b = strconv.AppendInt(b, r.SensorID, 10)
	return appendMeasurement(b, r)
}

// appendLatest appends r as a LatestReading with its age. summary is the member of its sensor, or
// "".
func appendLatest(
	b []byte, r *store.Reading, summary string, now time.Time, stale time.Duration,
) []byte {
	age := max(now.Sub(r.EffectiveTime()), 0)
	b = append(b, `{"sensor_id":`...)
	b = strconv.AppendInt(b, r.SensorID, 10)
	b = append(b, `,"gateway_id":`...)
	b = strconv.AppendInt(b, r.GatewayID, 10)
	b = append(b, summary...)
	b = appendMeasurement(b, r)
	b = append(b, `,"received_at":"`...)
	b = jsonenc.AppendTime(b, r.Received)
	b = append(b, `","age_seconds":`...)
	b = jsonenc.AppendNumber(b, float64(age.Microseconds())/1e6)
	b = append(b, `,"is_stale":`...)
	b = strconv.AppendBool(b, age > stale)
	return append(b, '}')
}

// appendMeasurement appends the members that all readings have.
func appendMeasurement(b []byte, r *store.Reading) []byte {
	b = append(b, `,"timestamp":"`...)
	b = jsonenc.AppendTime(b, r.Timestamp)
	b = append(b, `","value":`...)
	b = jsonenc.AppendNumber(b, r.Value)
	b = append(b, `,"quality":"`...)
	b = append(b, r.Quality.String()...)
	b = append(b, '"')
	if r.StatusCode != 0 {
		b = append(b, `,"status_code":`...)
		b = strconv.AppendUint(b, uint64(r.StatusCode), 10)
	}
	return b
}
