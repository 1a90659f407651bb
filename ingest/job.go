package ingest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oei-ms/oei-ms/internal/readingjson"
	"github.com/oei-ms/oei-ms/internal/rfc3339"
	"github.com/oei-ms/oei-ms/store"
)

// Reason codes of a PUBACK, MQTT v5 section 3.4.2.1.
const (
	codeSuccess        = 0x00
	codeNotAcceptable  = 0x83 // implementation specific error: understood, but not to be stored
	codeNotAuthorized  = 0x87
	codePayloadInvalid = 0x99
)

// engineeringUnitsExceeded is OPC UA's UncertainEngineeringUnitsExceeded: a value outside its
// sensor's measuring range.
const engineeringUnitsExceeded = 0x40940000

// keptBytes is how much of a payload over the size is kept for the record.
const keptBytes = 4 << 10

// job is a message, or a bulk write, on its way to a commit.
type job struct {
	message Message
	byHTTP  bool
	topic   Topic
	size    int64             // of what it keeps in memory
	samples []sample          // empty for a status and for a payload that is refused as a whole
	gateway *store.SensorInfo // of a status, once looked up; nil: it is unknown
	// who published it, looked up when the samples do not say so; nil: it is not registered
	from   *store.SensorInfo
	status *status
	reason string // not empty: the whole payload is refused
	detail string

	sequence uint64 // its publisher: messages of one are committed in order
	// of a bulk write, which is of no use any more when it has ended; nil: it always is
	caller       context.Context
	parts        *parts // nil: it is committed in one transaction
	overloads    int    // how often its only pending sample took too long
	failures     int    // how often it failed for an unexplained reason
	storedBefore int64  // Pipeline.stored at the first of these failures
	tried        bool   // an attempt that failed may have been committed
	hopeless     bool   // the database would not have it, and that is being recorded
	ended        bool   // it is committed or dropped
}

// isAbandoned reports whether the caller of a bulk write has given up.
func (j *job) isAbandoned() bool { return j.caller != nil && j.caller.Err() != nil }

// cost estimates the memory that a payload of so many bytes and samples takes until it is
// committed.
func cost(bytes, samples int) int64 { return 512 + int64(bytes) + 250*int64(samples) }

// newJob decodes m.
func newJob(m Message, cfg Config) *job {
	j := &job{message: m, topic: ParseTopic(m.Topic)}
	var err error
	switch {
	case m.Refused != "":
		j.refuse(m.Refused, "%s", m.Detail)
	case len(m.Payload) > cfg.MaxPayload:
		j.message.Payload = bytes.Clone(m.Payload[:min(len(m.Payload), keptBytes)])
		j.refuse(tooLarge, "it has %d bytes; %d are allowed", len(m.Payload), cfg.MaxPayload)
	case j.topic.Kind == None:
		j.refuse(badTopic, "%.100q is not a topic for readings or status", m.Topic)
	case !isJSON(m.ContentType):
		j.refuse(badPayload, "content type %.100q is not application/json", m.ContentType)
	case m.Text && !utf8.Valid(m.Payload):
		j.refuse(badPayload, "its payload format indicator says UTF-8, and it is not")
	case j.topic.Kind == StatusReport:
		var s status
		if s, err = decodeStatus(m.Payload); err == nil {
			j.status = &s
		}
	default:
		var ok bool
		if j.samples, ok = scanSamples(m.Payload, j.topic); !ok {
			j.samples, err = decodeSamples(m.Payload, j.topic)
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		j.refuse(badPayload, "it is empty")
	case errors.Is(err, errTooMany):
		j.refuse(tooLarge, "%v", err)
	case err != nil:
		j.refuse(badPayload, "%v", err)
	}
	j.size = cost(len(j.message.Payload), len(j.samples))
	return j
}

// isJSON reports whether a content type is that of JSON, which one that says nothing is.
func isJSON(contentType string) bool {
	if contentType == "" || contentType == "application/json" {
		return true
	}
	kind, params, err := mime.ParseMediaType(contentType)
	charset, given := params["charset"]
	return err == nil && kind == "application/json" &&
		(!given || strings.EqualFold(charset, "utf-8"))
}

// expire refuses a message that was only of use until now. Whoever calls it has not tried to store
// it yet.
func (j *job) expire(now time.Time) {
	if e := j.message.Expiry; e > 0 && now.Sub(j.message.Received) >= e && j.reason == "" {
		j.refuse(expired, "it was to be used within %v, and could not be stored by then", e)
	}
}

// detailRunes is how much is said of why a payload is refused: an error of the parser may quote
// what is in it.
const detailRunes = 300

// refuse refuses the whole of it.
func (j *job) refuse(reason, format string, args ...any) {
	j.reason, j.detail = reason, fmt.Sprintf(format, args...)
	if len(j.detail) > detailRunes {
		j.detail = fmt.Sprintf("%.*s", detailRunes, j.detail)
	}
	j.samples, j.status = nil, nil
}

// settleStatus refuses a status of another gateway than the publisher's, of none, and one whose
// timestamp is none.
func (j *job) settleStatus(cfg Config) {
	at := j.status.timestamp
	switch {
	case j.gateway == nil:
		j.refuse(unknownGateway, "there is no gateway %q", j.topic.Gateway)
	case j.gateway.IsSystem:
		j.refuse(notOwner, "gateway %q is the server's own", j.gateway.GatewayKey)
	case j.foreign(j.gateway):
		j.refuse(notOwner, "%q published for gateway %q", j.message.Gateway, j.gateway.GatewayKey)
	case at.IsZero():
	case readingjson.SecondsHint(at) != "" || j.tellsTime() &&
		at.Before(j.message.Received.Add(-cfg.MaxAge)):
		j.refuse(tooOld, "timestamp %s is more than %s old, which is OEI_INGEST_MAX_AGE%s",
			rfc3339.Format(at), span(cfg.MaxAge), readingjson.SecondsHint(at))
	}
}

// tellsTime reports whether the timestamp of a status is of when it was published. That of a will
// is of when its publisher connected, and an external broker does not say whether "offline" is a
// will.
func (j *job) tellsTime() bool {
	return j.status.state == online && !j.message.Will && !j.message.Retained
}

// reading is what s comes to, or false when it is refused.
func (j *job) reading(s *sample, cfg Config) (store.Reading, bool) {
	now := j.message.Received
	if s.timestamp.IsZero() {
		s.timestamp = now.UTC().Truncate(time.Microsecond)
	}
	if why := j.objection(s, now, cfg); why != nil {
		s.reject(why)
		return store.Reading{}, false
	}
	r := store.Reading{
		SensorID:   s.point.SensorID,
		GatewayID:  s.point.GatewayID,
		SensorType: s.point.Type,
		Timestamp:  s.timestamp,
		Received:   now,
		Value:      s.value, Quality: s.quality, StatusCode: s.statusCode,
	}
	s.refused = nil
	if r.Quality == store.Good && outside(s.point, r.Value) {
		r.Quality, r.StatusCode = store.Uncertain, engineeringUnitsExceeded
	}
	return r, true
}

// objection is why s is not to be stored; nil when it is.
func (j *job) objection(s *sample, now time.Time, cfg Config) *refusal {
	switch p := s.point; {
	case p == nil && j.byHTTP:
		return noSuchSensor
	case p == nil:
		return refuse(unknownGateway, "there is no gateway %q", j.topic.Gateway)
	case j.foreign(p):
		return refuse(notOwner, "%q published for gateway %q", j.message.Gateway, p.GatewayKey)
	case s.fault != nil:
		return s.fault
	case p.SensorID == 0:
		return refuse(unknownSensor, "gateway %q has no sensor %q", p.GatewayKey, s.sensor)
	case p.OwnerID != p.GatewayID:
		return refuse(notOwner, "sensor %s is another gateway's", s.sensor)
	case p.IsSystem:
		return serversOwn
	case !p.IsActive:
		return notInUse
	case s.timestamp.After(now.Add(cfg.MaxAhead)):
		return refuse(futureTimestamp, "timestamp %s is %s ahead", rfc3339.Format(s.timestamp),
			span(s.timestamp.Sub(now)))
	case s.timestamp.Before(now.Add(-cfg.MaxAge)):
		return refuse(tooOld, "timestamp %s is more than %s old, which is OEI_INGEST_MAX_AGE%s",
			rfc3339.Format(s.timestamp), span(cfg.MaxAge), readingjson.SecondsHint(s.timestamp))
	case p.Retention > 0 && s.timestamp.Before(now.Add(-p.Retention)):
		return refuse(tooOld,
			"timestamp %s is more than %s old, for which this sensor's readings are kept by its "+
				"retention_days or by OEI_STORE_RETENTION%s",
			rfc3339.Format(s.timestamp), span(p.Retention), readingjson.SecondsHint(s.timestamp))
	}
	return nil
}

// span writes d for people: in days when it is some.
func span(d time.Duration) string {
	if day := 24 * time.Hour; d >= 2*day {
		return fmt.Sprintf("%d days", d/day)
	}
	return d.Round(time.Second).String()
}

// foreign reports whether somebody else than p's gateway published this.
func (j *job) foreign(p *store.SensorInfo) bool {
	return j.message.GatewayID != 0 && j.message.GatewayID != p.GatewayID
}

// sender is the gateway that published this, as a topic may call it: by its id when it was
// authenticated, since its key may be another gateway's by now; else what the topic says, which may
// be nothing.
func (j *job) sender() string {
	if id := j.message.GatewayID; id != 0 {
		return strconv.FormatInt(id, 10)
	}
	return j.topic.Gateway
}

// publisher returns the gateway that published s, or the whole of it when s is nil. The id is 0
// when it is not registered.
func (j *job) publisher(s *sample) (id int64, key string) {
	p := j.from
	if s != nil && s.point != nil && !j.foreign(s.point) {
		p = s.point
	}
	if p == nil {
		return 0, cmp.Or(j.message.Gateway, j.topic.Gateway)
	}
	return p.GatewayID, p.GatewayKey
}

// results are the outcomes of the samples, for whoever wrote them by HTTP.
func (j *job) results() []store.ReadingResult {
	rs := make([]store.ReadingResult, len(j.samples))
	for i := range j.samples {
		s := &j.samples[i]
		rs[i].Outcome = s.outcome
		if s.refused != nil {
			rs[i].Reason, rs[i].Detail = s.refused.reason, s.refused.detail
		}
	}
	return rs
}

// rejections is what has to be recorded of j. Whoever writes by HTTP is told, and sees to it.
func (j *job) rejections(to []store.Rejection) []store.Rejection {
	if j.byHTTP {
		return to
	}
	r := store.Rejection{Topic: j.message.Topic, At: j.message.Received}
	if j.reason != "" {
		r.GatewayID, r.Gateway = j.publisher(nil)
		r.Reason, r.Detail, r.Payload = j.reason, j.detail, j.message.Payload
		return append(to, r)
	}
	for i := range j.samples {
		s := &j.samples[i]
		if why := s.refused; why != nil {
			r.GatewayID, r.Gateway = j.publisher(s)
			r.Reason, r.Detail, r.Payload = why.reason, why.detail, s.raw
			to = append(to, r)
		}
	}
	return to
}

// conflictOf is the rejection to record when s is in conflict with a stored reading; nil for a bulk
// write, whose caller is told.
func (j *job) conflictOf(s *sample) *store.Rejection {
	if j.byHTTP {
		return nil
	}
	r := &store.Rejection{
		Topic:  j.message.Topic,
		Reason: inConflict.reason,
		Detail: inConflict.detail,
		At:     j.message.Received,
	}
	r.GatewayID, r.Gateway = j.publisher(s)
	return r
}

// receipt sums up the results. A message of which anything was taken is a success.
func (j *job) receipt() Receipt {
	if j.reason != "" {
		r := Receipt{Code: reasonCode(j.reason), Text: j.reason + ": " + j.detail, Refused: 1}
		if j.message.Itemized {
			r.Rejected = []Rejected{{Index: -1, Reason: j.reason}}
		}
		return r
	}
	var r Receipt
	if j.status != nil {
		r.Accepted = 1
	}
	var first *refusal
	for i := range j.samples {
		switch s := &j.samples[i]; s.outcome {
		case store.Stored:
			r.Accepted++
		case store.Duplicate:
			r.Duplicates++
		default:
			r.Refused++
			first = cmp.Or(first, s.refused)
			if j.message.Itemized && r.Refused <= mostRejected {
				r.Rejected = append(r.Rejected, Rejected{i, s.refused.reason})
			}
		}
	}
	switch {
	case first == nil:
	case len(j.samples) == 1:
		r.Code, r.Text = reasonCode(first.reason), first.reason+": "+first.detail
	case r.Refused == len(j.samples):
		r.Code, r.Text = reasonCode(first.reason), fmt.Sprintf("all %d refused, the first: %s: %s",
			r.Refused, first.reason, first.detail)
	default:
		r.Text = fmt.Sprintf("%d of %d refused, the first: %s: %s", r.Refused, len(j.samples),
			first.reason, first.detail)
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
