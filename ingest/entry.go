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

	"github.com/oei-ms/oei-ms/store"
)

// maxRecordedPayload is how much of a payload over Config.MaxPayload is recorded, in bytes.
const maxRecordedPayload = 4 << 10

// entry is a message or a bulk write in the in-flight window: taken, and not yet acknowledged.
type entry struct {
	message Message
	byHTTP  bool // a bulk write
	topic   Topic
	size    int64             // estimate of the memory that it takes
	samples []sample          // empty for a status and for a payload that is rejected as a whole
	gateway *store.SensorInfo // of a status, once looked up; nil: it is unknown
	// the publisher, looked up when the samples do not tell it; nil: it is not registered
	from   *store.SensorInfo
	status *status
	reason string // not empty: the whole payload is rejected
	detail string

	sequence uint64 // identifies the publisher, whose messages are committed in order
	// of a bulk write, which is dropped when its caller has gone; nil for a message
	caller       context.Context
	parts        *parts // nil: it is committed in one transaction
	overloads    int    // how often its only pending sample took too long
	failures     int    // for an unexplained reason
	storedBefore int64  // readings that were stored before the first of them
	tried        bool   // a failed attempt may have been committed
	// the database refuses it, and only the rejection is still to be committed
	refusedByDatabase bool
	ended             bool // it is committed or dropped
}

// isAbandoned reports whether the caller of a bulk write has gone.
func (e *entry) isAbandoned() bool { return e.caller != nil && e.caller.Err() != nil }

// cost estimates the memory that a payload of so many bytes and samples takes until it is
// committed.
func cost(bytes, samples int) int64 { return 512 + int64(bytes) + 250*int64(samples) }

// newEntry decodes m.
func newEntry(m Message, cfg Config) *entry {
	e := &entry{message: m, topic: ParseTopic(m.Topic)}
	var err error
	switch {
	case m.Rejection != "":
		e.reject(m.Rejection, "%s", m.Detail)
	case len(m.Payload) > cfg.MaxPayload:
		e.message.Payload = bytes.Clone(m.Payload[:min(len(m.Payload), maxRecordedPayload)])
		e.reject(tooLarge, "it has %d bytes; %d are allowed", len(m.Payload), cfg.MaxPayload)
	case e.topic.Kind == None:
		e.reject(badTopic, "%.100q is not a topic for readings or status", m.Topic)
	case !isJSON(m.ContentType):
		e.reject(badPayload, "content type %.100q is not application/json", m.ContentType)
	case m.Text && !utf8.Valid(m.Payload):
		e.reject(badPayload, "its payload format indicator says UTF-8, but it is not UTF-8")
	case e.topic.Kind == StatusReport:
		var s status
		if s, err = decodeStatus(m.Payload); err == nil {
			e.status = &s
		}
	default:
		var ok bool
		if e.samples, ok = fastDecodeSamples(m.Payload, e.topic); !ok {
			e.samples, err = decodeSamples(m.Payload, e.topic)
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		e.reject(badPayload, "it is empty")
	case errors.Is(err, errTooMany):
		e.reject(tooLarge, "%v", err)
	case err != nil:
		e.reject(badPayload, "%s", strings.TrimPrefix(err.Error(), "jsontext: "))
	}
	e.size = cost(len(e.message.Payload), len(e.samples))
	return e
}

// isJSON reports whether a content type is JSON. An empty one is.
func isJSON(contentType string) bool {
	if contentType == "" || contentType == "application/json" {
		return true
	}
	kind, params, err := mime.ParseMediaType(contentType)
	charset, hasCharset := params["charset"]
	return err == nil && kind == "application/json" &&
		(!hasCharset || strings.EqualFold(charset, "utf-8"))
}

// expire rejects a message whose expiry interval has ended. It must not be called once the message
// may have been stored.
func (e *entry) expire(now time.Time) {
	expiry := e.message.Expiry
	if expiry > 0 && now.Sub(e.message.Received) >= expiry && e.reason == "" {
		e.reject(expired, "it could not be stored within its expiry interval of %v", expiry)
	}
}

// maxDetail is the maximum length of a rejection's detail, in runes: a parser's error may quote
// the payload.
const maxDetail = 300

// reject rejects the whole payload.
func (e *entry) reject(reason, format string, args ...any) {
	e.reason, e.detail = reason, fmt.Sprintf(format, args...)
	if len(e.detail) > maxDetail {
		e.detail = fmt.Sprintf("%.*s", maxDetail, e.detail)
	}
	e.samples, e.status = nil, nil
}

// isForeign reports whether the authenticated publisher is another gateway than p's.
func (e *entry) isForeign(p *store.SensorInfo) bool {
	return e.message.GatewayID != 0 && e.message.GatewayID != p.GatewayID
}

// publisherName returns the publisher as topics call it: the id of an authenticated gateway, since
// its key may be another gateway's by now, or else what the topic says, which may be empty.
func (e *entry) publisherName() string {
	if id := e.message.GatewayID; id != 0 {
		return strconv.FormatInt(id, 10)
	}
	return e.topic.Gateway
}

// publisher returns the gateway that published s, or the whole message when s is nil. The id is 0
// when the gateway is not registered.
func (e *entry) publisher(s *sample) (id int64, key string) {
	p := e.from
	switch {
	case s != nil && s.info != nil && !e.isForeign(s.info):
		p = s.info
	case p == nil && e.gateway != nil && !e.isForeign(e.gateway):
		p = e.gateway
	}
	if p == nil {
		return 0, cmp.Or(e.message.Gateway, e.topic.Gateway)
	}
	return p.GatewayID, p.GatewayKey
}

// results returns the outcomes of the samples to the caller of a bulk write.
func (e *entry) results() []store.ReadingResult {
	rs := make([]store.ReadingResult, len(e.samples))
	for i := range e.samples {
		s := &e.samples[i]
		rs[i].Outcome = s.outcome
		if s.rejection != nil {
			rs[i].Reason, rs[i].Detail = s.rejection.reason, s.rejection.detail
		}
	}
	return rs
}

// appendRejections appends what is recorded of e. Nothing is recorded of a bulk write, whose caller
// gets the results.
func (e *entry) appendRejections(to []store.Rejection) []store.Rejection {
	if e.byHTTP {
		return to
	}
	r := store.Rejection{Topic: e.message.Topic, At: e.message.Received}
	if e.reason != "" {
		r.GatewayID, r.Gateway = e.publisher(nil)
		r.Reason, r.Detail, r.Payload = e.reason, e.detail, e.message.Payload
		return append(to, r)
	}
	for i := range e.samples {
		s := &e.samples[i]
		if why := s.rejection; why != nil {
			r.GatewayID, r.Gateway = e.publisher(s)
			r.Reason, r.Detail, r.Payload = why.reason, why.detail, s.raw
			to = append(to, r)
		}
	}
	return to
}

// conflictRejection returns the rejection to record when s conflicts with a stored reading; nil for
// a bulk write.
func (e *entry) conflictRejection(s *sample) *store.Rejection {
	if e.byHTTP {
		return nil
	}
	r := &store.Rejection{
		Topic:  e.message.Topic,
		Reason: conflicting.reason,
		Detail: conflicting.detail,
		At:     e.message.Received,
	}
	r.GatewayID, r.Gateway = e.publisher(s)
	return r
}
