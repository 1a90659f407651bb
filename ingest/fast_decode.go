package ingest

// This file is an optimisation of decode.go, for speed only. It accepts a subset of what
// decodeSamples accepts, with the same results, and leaves everything else to it.
// FuzzFastDecode holds it to decodeSamples; BenchmarkDecode shows the gain.

import (
	"math"
	"strconv"
	"time"

	"github.com/oei-ms/oei-ms/internal/rfc3339"
	"github.com/oei-ms/oei-ms/store"
)

// scanner reads samples of the form that nearly every message has, several times faster than
// decodeSamples: an object, or an array of objects, with known members in any order, each once, and
// strings without escapes. It rejects nothing: what it does not accept, decodeSamples decides.
type scanner struct {
	text []byte
	at   int
}

// fastDecodeSamples returns false when decodeSamples must decode the payload.
func fastDecodeSamples(payload []byte, t Topic) ([]sample, bool) {
	s := scanner{text: payload}
	s.space()
	if s.at == len(payload) {
		return nil, false
	}
	if payload[s.at] != '[' {
		samples := make([]sample, 1)
		ok := s.sample(&samples[0], t)
		s.space()
		return samples, ok && s.at == len(payload)
	}
	s.at++
	samples := make([]sample, 0, min(len(payload)/64+1, maxSamples))
	for {
		if len(samples) == maxSamples {
			return nil, false
		}
		samples = append(samples, sample{})
		s.space()
		if !s.sample(&samples[len(samples)-1], t) {
			return nil, false
		}
		s.space()
		if s.take(']') {
			break
		}
		if !s.take(',') {
			return nil, false
		}
	}
	s.space()
	return samples, s.at == len(payload)
}

// Members that were seen, as bits.
const (
	hasValue = 1 << iota
	hasTimestamp
	hasQuality
	hasCode
	hasSensor
)

// sample reads one object.
func (s *scanner) sample(out *sample, t Topic) bool {
	start := s.at
	if !s.take('{') {
		return false
	}
	out.sensor = t.Sensor
	seen := 0
	for {
		s.space()
		name, ok := s.string()
		if !ok {
			return false
		}
		s.space()
		if !s.take(':') {
			return false
		}
		s.space()
		bit := 0
		switch string(name) {
		case "value":
			bit, ok = hasValue, s.value(out)
		case "timestamp":
			bit, ok = hasTimestamp, s.timestamp(out)
		case "quality":
			bit, ok = hasQuality, s.quality(out)
		case "status_code":
			bit, ok = hasCode, s.statusCode(out)
		case "sensor":
			bit, ok = hasSensor, t.Kind == GatewayData && s.sensor(out)
		}
		if !ok || bit == 0 || seen&bit != 0 {
			return false
		}
		seen |= bit
		s.space()
		if s.take('}') {
			break
		}
		if !s.take(',') {
			return false
		}
	}
	if seen&hasValue == 0 || t.Kind == GatewayData && seen&hasSensor == 0 {
		return false
	}
	out.raw = s.text[start:s.at]
	out.settleQuality(seen&hasQuality != 0)
	return true
}

func (s *scanner) value(out *sample) bool {
	if s.literal("null") {
		out.value = math.NaN()
		return true
	}
	number := s.number()
	v, err := strconv.ParseFloat(string(number), 64)
	out.value = v
	return err == nil && len(number) > 0
}

// number reads a JSON number; empty when there is none.
func (s *scanner) number() []byte {
	start := s.at
	s.take('-')
	if !s.take('0') && !s.digits() {
		return nil
	}
	if s.take('.') && !s.digits() {
		return nil
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		if !s.digits() {
			return nil
		}
	}
	return s.text[start:s.at]
}

// timestamp reads RFC 3339 or milliseconds.
func (s *scanner) timestamp(out *sample) bool {
	if s.at < len(s.text) && s.text[s.at] != '"' {
		start := s.at
		// 0 and what may be beyond the year 9999 are left to decodeSamples
		if s.take('0') || !s.digits() || s.at-start > 14 {
			return false
		}
		ms, err := strconv.ParseInt(string(s.text[start:s.at]), 10, 64)
		out.timestamp = time.UnixMilli(ms).UTC()
		return err == nil
	}
	text, ok := s.string()
	if !ok {
		return false
	}
	at, err := rfc3339.Parse(string(text))
	out.timestamp = at
	return err == nil && !at.IsZero()
}

func (s *scanner) quality(out *sample) bool {
	text, ok := s.string()
	if !ok {
		return false
	}
	switch string(text) {
	case "good":
		out.quality = store.Good
	case "uncertain":
		out.quality = store.Uncertain
	case "bad":
		out.quality = store.Bad
	default:
		return false
	}
	return true
}

func (s *scanner) statusCode(out *sample) bool {
	start := s.at
	if !s.take('0') && !s.digits() {
		return false
	}
	code, err := strconv.ParseUint(string(s.text[start:s.at]), 10, 32)
	out.statusCode = uint32(code)
	return err == nil
}

func (s *scanner) sensor(out *sample) bool {
	text, ok := s.string()
	out.sensor = string(text)
	return ok && IsKey(out.sensor)
}

// string reads a string of printable ASCII without escapes.
func (s *scanner) string() ([]byte, bool) {
	if !s.take('"') {
		return nil, false
	}
	for start := s.at; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return s.text[start : s.at-1], true
		case c < ' ' || c == '\\' || c > '~':
			return nil, false
		}
	}
	return nil, false
}

// digits reads one digit or more.
func (s *scanner) digits() bool {
	start := s.at
	for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
		s.at++
	}
	return s.at > start
}

func (s *scanner) literal(word string) bool {
	if len(s.text)-s.at < len(word) || string(s.text[s.at:s.at+len(word)]) != word {
		return false
	}
	s.at += len(word)
	return true
}

func (s *scanner) take(c byte) bool {
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// space skips white space.
func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}
