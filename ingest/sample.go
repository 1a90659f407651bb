package ingest

import (
	"fmt"
	"math"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// sample is one reading as it was sent, and what becomes of it.
type sample struct {
	sensor     string            // id or key; from the topic or from the sample
	timestamp  time.Time         // zero: none was sent
	raw        []byte            // the sample's own bytes
	value      float64           // NaN: the device had none
	fault      *refusal          // not nil: it is no reading, whatever sensor it is of
	point      *store.SensorInfo // the sensor it is of, once looked up; nil: its gateway is unknown
	refused    *refusal          // why the outcome is Rejected or Conflict
	statusCode uint32
	quality    store.Quality
	outcome    store.Outcome
}

// refusal is why a sample is not stored.
type refusal struct{ reason, detail string }

var (
	inConflict   = &refusal{conflict, "another value is stored for this instant"}
	noSuchSensor = &refusal{unknownSensor, "there is no such sensor"}
	serversOwn   = &refusal{notOwner, "the sensor is the server's own"}
	notInUse     = &refusal{inactive, "the sensor or its gateway is not in use"}
	inDatabase   = &refusal{databaseRefused, "the database refuses it"}
)

func refuse(reason, format string, args ...any) *refusal {
	return &refusal{reason, fmt.Sprintf(format, args...)}
}

// newSample is a reading that came by HTTP; point is nil when its sensor is unknown.
func newSample(r store.Reading, point *store.SensorInfo) sample {
	s := sample{
		timestamp:  r.Timestamp.UTC().Truncate(time.Microsecond),
		value:      r.Value,
		quality:    r.Quality,
		statusCode: r.StatusCode,
		point:      point,
	}
	if math.IsInf(s.value, 0) {
		s.blame(badValue, "value is not a finite number or null")
	}
	s.settleQuality(true)
	return s
}

// blame says what is wrong with what was sent; the first fault stays.
func (s *sample) blame(reason, format string, args ...any) {
	if s.fault == nil {
		s.fault = refuse(reason, format, args...)
	}
}

// settleQuality brings status code and quality together; given tells that a quality was sent. No
// value is always bad, and the status code 0 says no more than none.
func (s *sample) settleQuality(given bool) {
	implied := codeQuality(s.statusCode)
	switch {
	case math.IsNaN(s.value):
		s.quality = store.Bad
	case s.statusCode == 0:
	case !given:
		s.quality = implied
	case implied != s.quality:
		s.blame(badQuality, "status_code %#08x means %v but quality is %v", s.statusCode, implied,
			s.quality)
	}
}

// settle notes the outcome of a sample that was written.
func (s *sample) settle(o store.Outcome) {
	s.outcome, s.refused = o, nil
	if o == store.Conflict {
		s.refused = inConflict
	}
}

// reject notes that the sample is not to be stored.
func (s *sample) reject(why *refusal) { s.outcome, s.refused = store.Rejected, why }

// codeQuality is the severity of an OPC UA status code (Part 4, 7.39): its two highest bits.
func codeQuality(code uint32) store.Quality {
	return min(store.Quality(code>>30), store.Bad)
}

// outside reports whether v is outside the sensor's measuring range.
func outside(p *store.SensorInfo, v float64) bool {
	return p.MinValue != nil && v < *p.MinValue || p.MaxValue != nil && v > *p.MaxValue
}
