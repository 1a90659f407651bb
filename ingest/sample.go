package ingest

import (
	"math"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// sample is a reading as it was sent, and its outcome.
type sample struct {
	sensor     string            // id or key; from the topic or from the sample
	timestamp  time.Time         // zero: none was sent
	raw        []byte            // the sample's own bytes
	value      float64           // NaN: null was sent
	invalid    *rejection        // why it is not a reading of any sensor; nil: it is one
	info       *store.SensorInfo // its sensor, once looked up; nil: its gateway is unknown
	rejection  *rejection        // why the outcome is Rejected or Conflict
	statusCode uint32
	quality    store.Quality
	outcome    store.Outcome
}

// newSample returns the sample of a bulk write. info is nil when its sensor is unknown.
func newSample(r store.Reading, info *store.SensorInfo) sample {
	s := sample{
		timestamp:  r.Timestamp.UTC().Truncate(time.Microsecond),
		value:      r.Value,
		quality:    r.Quality,
		statusCode: r.StatusCode,
		info:       info,
	}
	if math.IsInf(s.value, 0) {
		s.invalidate(badValue, "value is not a finite number or null")
	}
	s.settleQuality(true)
	return s
}

// invalidate notes what is wrong with what was sent. The first error counts.
func (s *sample) invalidate(reason, format string, args ...any) {
	if s.invalid == nil {
		s.invalid = newRejection(reason, format, args...)
	}
}

// settleQuality combines the status code and the quality; hasQuality tells whether a quality was
// sent. Without a value the quality is always bad. The status code 0 is taken for none.
func (s *sample) settleQuality(hasQuality bool) {
	implied := codeQuality(s.statusCode)
	switch {
	case math.IsNaN(s.value):
		s.quality = store.Bad
	case s.statusCode == 0:
	case !hasQuality:
		s.quality = implied
	case implied != s.quality:
		s.invalidate(badQuality, "status_code %#08x means %v but quality is %v", s.statusCode,
			implied, s.quality)
	}
}

// codeQuality returns the severity of an OPC UA status code (Part 4, 7.39): its two highest bits.
func codeQuality(code uint32) store.Quality {
	return min(store.Quality(code>>30), store.Bad)
}

// settle notes the outcome of a sample that was written.
func (s *sample) settle(o store.Outcome) {
	s.outcome, s.rejection = o, nil
	if o == store.Conflict {
		s.rejection = conflicting
	}
}

// reject notes that the sample is not to be stored.
func (s *sample) reject(why *rejection) { s.outcome, s.rejection = store.Rejected, why }
