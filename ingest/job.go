package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// Reason codes of a PUBACK, MQTT v5 section 3.4.2.1.
const (
	codeSuccess        = 0x00
	codeNotAcceptable  = 0x83 // implementation specific error: understood, but not to be stored
	codeNotAuthorized  = 0x87
	codePayloadInvalid = 0x99
)

// engineeringUnitsExceeded is OPC UA's UncertainEngineeringUnitsExceeded: a value outside its sensor's measuring range.
const engineeringUnitsExceeded = 0x40940000

// keptBytes is how much of a payload over the size is kept for the record.
const keptBytes = 4 << 10

// job is a message, or a bulk write, on its way to a commit.
type job struct {
	message Message
	byHTTP  bool
	topic   Topic
	size    int64    // of what it keeps in memory
	samples []sample // empty for a status and for a payload that is refused as a whole
	results []store.Result
	status  *status
	reason  string // not empty: the whole payload is refused
	detail  string
}

// cost estimates the memory that a payload of so many bytes and samples takes until it is committed.
func cost(bytes, samples int) int64 { return 512 + int64(bytes) + 400*int64(samples) }

// newJob decodes m.
func newJob(m Message, cfg Config) *job {
	j := &job{message: m, topic: ParseTopic(m.Topic)}
	var err error
	switch {
	case len(m.Payload) > cfg.MaxPayload:
		j.message.Payload = bytes.Clone(m.Payload[:min(len(m.Payload), keptBytes)])
		j.refuse(tooLarge, "it has %d bytes; %d are allowed", len(m.Payload), cfg.MaxPayload)
	case j.topic.Kind == None:
		j.refuse(badTopic, "%.100q is not a topic for readings or status", m.Topic)
	case j.topic.Kind == StatusReport:
		var s status
		if s, err = decodeStatus(m.Payload); err == nil {
			j.status = &s
		}
	default:
		j.samples, err = decodeSamples(m.Payload, j.topic)
	}
	switch {
	case errors.Is(err, io.EOF):
		j.refuse(badPayload, "it is empty")
	case errors.Is(err, errTooMany):
		j.refuse(tooLarge, "%v", err)
	case err != nil:
		j.refuse(badPayload, "%v", err)
	}
	j.results = make([]store.Result, len(j.samples))
	j.size = cost(len(j.message.Payload), len(j.samples))
	return j
}

// detailRunes is how much is said of why a payload is refused: an error of the parser may quote what is in it.
const detailRunes = 300

// refuse refuses the whole of it.
func (j *job) refuse(reason, format string, args ...any) {
	j.reason, j.detail = reason, fmt.Sprintf("%.*s", detailRunes, fmt.Sprintf(format, args...))
	j.samples, j.results, j.status = nil, nil, nil
}

// refs appends what has to be looked up for j.
func (j *job) refs(to []store.Ref) []store.Ref {
	switch {
	case j.byHTTP || j.reason != "":
		return to
	case j.status != nil:
		return append(to, store.Ref{Gateway: j.topic.Gateway})
	}
	for i := range j.samples {
		to = append(to, store.Ref{Gateway: j.topic.Gateway, Sensor: j.samples[i].sensor})
	}
	return to
}

// resolve gives each sample its sensor. A status of somebody else's gateway, or of none, is refused.
func (j *job) resolve(points map[store.Ref]store.Point) {
	if j.byHTTP {
		return
	}
	if j.status != nil {
		switch p, known := points[store.Ref{Gateway: j.topic.Gateway}]; {
		case !known:
			j.refuse(unknownGateway, "there is no gateway %q", j.topic.Gateway)
		case j.foreign(p):
			j.refuse(notOwner, "%q published for gateway %q", j.message.Gateway, p.GatewayKey)
		}
		return
	}
	for i := range j.samples {
		s := &j.samples[i]
		s.point, s.known = points[store.Ref{Gateway: j.topic.Gateway, Sensor: s.sensor}]
	}
}

// check decides on sample i: a reading to store, or a result that refuses it.
func (j *job) check(i int, cfg Config) (store.Reading, bool) {
	s := &j.samples[i]
	now := j.message.Received
	if s.timestamp.IsZero() {
		s.timestamp = now.UTC().Truncate(time.Microsecond)
	}
	reason, detail := s.reason, s.detail
	switch p := s.point; {
	case !s.known && j.byHTTP:
		reason, detail = unknownSensor, "there is no such sensor"
	case !s.known:
		reason, detail = unknownGateway, fmt.Sprintf("there is no gateway %q", j.topic.Gateway)
	case j.foreign(p):
		reason, detail = notOwner, fmt.Sprintf("%q published for gateway %q", j.message.Gateway, p.GatewayKey)
	case reason != "": // it could not be decoded
	case p.SensorID == 0:
		reason, detail = unknownSensor, fmt.Sprintf("gateway %q has no sensor %q", p.GatewayKey, s.sensor)
	case p.OwnerID != p.GatewayID:
		reason, detail = notOwner, fmt.Sprintf("sensor %s is another gateway's", s.sensor)
	case !p.Active:
		reason, detail = inactive, "the sensor or its gateway is not in use"
	case s.timestamp.After(now.Add(cfg.MaxAhead)):
		reason, detail = futureTimestamp, fmt.Sprintf("timestamp is %v ahead", s.timestamp.Sub(now).Round(time.Second))
	case s.timestamp.Before(now.Add(-cfg.MaxAge)):
		reason, detail = tooOld, fmt.Sprintf("timestamp %s is older than %v", s.timestamp.Format(time.DateOnly), cfg.MaxAge)
	}
	if reason != "" {
		j.results[i] = store.Result{Outcome: store.Rejected, Reason: reason, Detail: detail}
		return store.Reading{}, false
	}
	r := store.Reading{
		SensorID: s.point.SensorID, GatewayID: s.point.GatewayID, Timestamp: s.timestamp, Received: now,
		Value: s.value, Quality: s.quality, StatusCode: s.statusCode,
	}
	if r.Quality == store.Good && outside(s.point, r.Value) {
		r.Quality, r.StatusCode = store.Uncertain, engineeringUnitsExceeded
	}
	return r, true
}

// foreign reports whether somebody else than p's gateway published this.
func (j *job) foreign(p store.Point) bool {
	return j.message.Gateway != "" && j.message.Gateway != p.GatewayKey
}

// outside reports whether v is outside the sensor's measuring range.
func outside(p store.Point, v float64) bool {
	return p.MinValue != nil && v < *p.MinValue || p.MaxValue != nil && v > *p.MaxValue
}

// rejections is what has to be recorded of j. Whoever writes by HTTP is told, and sees to it.
func (j *job) rejections(to []store.Rejection) []store.Rejection {
	if j.byHTTP {
		return to
	}
	r := store.Rejection{Gateway: j.message.Gateway, Topic: j.message.Topic, At: j.message.Received}
	if r.Gateway == "" {
		r.Gateway = j.topic.Gateway
	}
	if j.reason != "" {
		r.Reason, r.Detail, r.Payload = j.reason, j.detail, j.message.Payload
		return append(to, r)
	}
	for i, res := range j.results {
		if res.Outcome == store.Rejected || res.Outcome == store.Conflict {
			r.Reason, r.Detail, r.Payload = res.Reason, res.Detail, j.samples[i].raw
			to = append(to, r)
		}
	}
	return to
}

// receipt sums up the results. A message of which anything was taken is a success.
func (j *job) receipt() Receipt {
	if j.reason != "" {
		return Receipt{Code: reasonCode(j.reason), Text: j.reason + ": " + j.detail, Refused: 1}
	}
	var r Receipt
	var first *store.Result
	for i := range j.results {
		switch j.results[i].Outcome {
		case store.Stored:
			r.Accepted++
		case store.Duplicate:
			r.Duplicates++
		default:
			if r.Refused++; first == nil {
				first = &j.results[i]
			}
		}
	}
	switch {
	case first == nil:
	case len(j.results) == 1:
		r.Code, r.Text = reasonCode(first.Reason), first.Reason+": "+first.Detail
	case r.Refused == len(j.results):
		r.Code, r.Text = reasonCode(first.Reason), fmt.Sprintf("all %d refused, the first: %s: %s", r.Refused, first.Reason, first.Detail)
	default:
		r.Text = fmt.Sprintf("%d of %d refused, the first: %s: %s", r.Refused, len(j.results), first.Reason, first.Detail)
	}
	return r
}

func reasonCode(reason string) byte {
	switch reason {
	case unknownGateway, notOwner, inactive:
		return codeNotAuthorized
	case badPayload, tooLarge, badValue, badTimestamp, badQuality, badSensor:
		return codePayloadInvalid
	}
	return codeNotAcceptable
}
