package push

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/oei-ms/oei-ms/internal/jsonenc"
)

// maxRequestID is how many characters the id of a request may have.
const maxRequestID = 64

// Codes of error frames.
const (
	codeUnknownTopic     = "unknown_topic"
	codeBadMessage       = "bad_message"
	codeNotAuthenticated = "not_authenticated"
	codeTooManyTopics    = "too_many_topics"
	codeRateLimited      = "rate_limited"
	codeForbidden        = "forbidden"
	codeUnavailable      = "unavailable"
	codeTooLarge         = "snapshot_too_large"
)

// head are the members of every frame of a client. The answer repeats the ID.
type head struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

type authRequest struct {
	head
	Token string `json:"token"`
}

type subscribeRequest struct {
	head
	Topics     []string  `json:"topics"`
	Batch      *bool     `json:"batch"` // nil: unchanged
	Snapshot   bool      `json:"snapshot"`
	Resume     *position `json:"resume"`
	Policy     string    `json:"policy"`
	IntervalMS int       `json:"interval_ms"`
}

// position is a position in an alarm log: after the event with that offset.
type position struct {
	Epoch  string `json:"epoch"`
	Offset int64  `json:"offset"`
}

// The interval of the policy conflate, in milliseconds.
const (
	minInterval     = 100
	maxInterval     = 60_000
	defaultInterval = 1_000
)

// interval returns the least time between two readings of one sensor.
func (r *subscribeRequest) interval() time.Duration {
	if r.Policy != "conflate" {
		return 0
	}
	return time.Duration(cmp.Or(r.IntervalMS, defaultInterval)) * time.Millisecond
}

// validate returns an error for the client if r is invalid.
func (r *subscribeRequest) validate() error {
	switch {
	case len(r.Topics) == 0:
		return errors.New("a subscribe frame has one or more topics")
	case r.Policy != "" && r.Policy != "every" && r.Policy != "conflate":
		return errors.New("policy is unknown; use every or conflate")
	case r.IntervalMS != 0 && r.Policy != "conflate":
		return errors.New("interval_ms goes with the policy conflate")
	case r.IntervalMS != 0 && (r.IntervalMS < minInterval || r.IntervalMS > maxInterval):
		return fmt.Errorf("interval_ms is out of range; use %d to %d", minInterval, maxInterval)
	case r.Resume != nil && (r.Resume.Epoch == "" || r.Resume.Offset < 0):
		return errors.New("resume needs the epoch and the offset of the last alarm event")
	}
	return nil
}

type unsubscribeRequest struct {
	head
	Topics []string `json:"topics"`
}

// parseRequest returns a pointer to one of the three requests, or an error for the client. The head
// has what could be read of an invalid request, so that the error frame can name the request.
func parseRequest(body []byte) (any, head, error) {
	var h head
	if err := json.Unmarshal(body, &h); err != nil {
		return nil, head{}, errors.New(
			"not a JSON object with a type, without duplicate names, in UTF-8",
		)
	}
	if utf8.RuneCountInString(h.ID) > maxRequestID {
		return nil, head{}, fmt.Errorf("id has more than %d characters", maxRequestID)
	}
	switch h.Type {
	case "auth":
		req := new(authRequest)
		if json.Unmarshal(body, req, json.RejectUnknownMembers(true)) != nil || req.Token == "" {
			return nil, h, errors.New("an auth frame has a type, a token, and may have an id")
		}
		return req, h, nil
	case "subscribe":
		req := new(subscribeRequest)
		if json.Unmarshal(body, req, json.RejectUnknownMembers(true)) != nil {
			return nil, h, errors.New("a subscribe frame has a type, topics, and may have " +
				"snapshot, resume, policy, interval_ms, batch and an id")
		}
		if err := req.validate(); err != nil {
			return nil, h, err
		}
		return req, h, nil
	case "unsubscribe":
		req := new(unsubscribeRequest)
		if json.Unmarshal(body, req, json.RejectUnknownMembers(true)) != nil ||
			len(req.Topics) == 0 {
			return nil, h, errors.New(
				"an unsubscribe frame has a type, one or more topics, and may have an id",
			)
		}
		return req, h, nil
	}
	return nil, h, errors.New("type is unknown; use auth, subscribe or unsubscribe")
}

type authenticatedFrame struct {
	Type      string `json:"type"`
	ID        string `json:"id,omitzero"`
	UserID    int64  `json:"user_id,omitzero"`
	APIKeyID  int64  `json:"api_key_id,omitzero"`
	ExpiresAt string `json:"expires_at,omitzero"` // absent: never
}

// topicsFrame is the answer "subscribed" or "unsubscribed".
type topicsFrame struct {
	Type   string   `json:"type"`
	ID     string   `json:"id,omitzero"`
	Topics []string `json:"topics"`
	Epoch  string   `json:"epoch,omitzero"`  // of the alarm log, with alarm topics
	Offset *int64   `json:"offset,omitzero"` // the next event follows it
}

// resyncFrame says that the client may have missed alarm events or readings.
type resyncFrame struct {
	Type   string `json:"type"`
	Scope  string `json:"scope"`
	Reason string `json:"reason"`
}

// rawJSON is encoded JSON in a frame.
type rawJSON = jsontext.Value

type alarmSnapshotFrame struct {
	Type   string    `json:"type"`
	Topics []string  `json:"topics"`
	Epoch  string    `json:"epoch"`
	Offset int64     `json:"offset"`
	Alarms []rawJSON `json:"alarms"`
	More   bool      `json:"more"`
}

type laggedFrame struct {
	Type    string `json:"type"`
	Dropped int    `json:"dropped"`
}

type pingFrame struct {
	Type string `json:"type"`
	Time string `json:"time"`
}

type errorFrame struct {
	Type   string   `json:"type"`
	ID     string   `json:"id,omitzero"`
	Code   string   `json:"code"`
	Detail string   `json:"detail"`
	Topics []string `json:"topics,omitzero"`
}

func formatTime(t time.Time) string { return string(jsonenc.AppendTime(nil, t)) }

// readingStart is the beginning of a reading's frame. The rest of the frame, after an opening
// brace, is the reading's item in a batch.
const readingStart = `{"type":"sensor_data",`

func appendReading(b []byte, r Reading) []byte {
	b = append(b, readingStart+`"sensor_id":`...)
	b = strconv.AppendInt(b, r.SensorID, 10)
	b = append(b, `,"data":{"value":`...)
	b = jsonenc.AppendNumber(b, r.Value)
	b = append(b, `,"timestamp":"`...)
	b = jsonenc.AppendTime(b, r.Timestamp)
	b = append(b, `","quality":`...)
	b = appendString(b, r.Quality)
	b = append(b, `},"gateway_id":`...)
	b = strconv.AppendInt(b, r.GatewayID, 10)
	if r.SensorType != "" {
		b = append(b, `,"sensor_type":`...)
		b = appendString(b, r.SensorType)
	}
	return append(b, '}')
}

func appendStatus(b []byte, s Status) []byte {
	b = append(b, `{"type":"gateway_status","gateway_id":`...)
	b = strconv.AppendInt(b, s.GatewayID, 10)
	b = append(b, `,"status":`...)
	b = appendString(b, s.Status)
	b = append(b, `,"timestamp":"`...)
	b = jsonenc.AppendTime(b, s.At)
	return append(b, `"}`...)
}

func appendAlarm(b []byte, epoch string, e AlarmEvent) []byte {
	b = append(b, `{"type":"alarm","epoch":`...)
	b = appendString(b, epoch)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, e.Offset, 10)
	b = append(b, `,"event":`...)
	b = append(b, e.JSON...)
	return append(b, '}')
}

// appendSnapshot appends a frame of rs. more says that another frame of the snapshot follows.
func appendSnapshot(b []byte, topics []string, rs []Reading, more bool) []byte {
	b = append(b, `{"type":"snapshot","topics":`...)
	b = append(b, encode(topics)...)
	b = append(b, `,"items":[`...)
	for i, r := range rs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = append(b, appendReading(nil, r)[len(readingStart):]...)
	}
	b = append(b, `],"more":`...)
	b = strconv.AppendBool(b, more)
	return append(b, '}')
}

// appendReadingBatch appends one frame with all of us, which must be readings.
func appendReadingBatch(b []byte, us []*update) []byte {
	b = append(b, `{"type":"sensor_data_batch","items":[`...)
	for i, u := range us {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = append(b, u.json[len(readingStart):]...)
	}
	return append(b, "]}"...)
}

// readingBatchSize returns about how many bytes the batch of us has.
func readingBatchSize(us []*update) int {
	n := 40
	for _, u := range us {
		n += len(u.json)
	}
	return n
}

func appendString(b []byte, s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil { // not UTF-8
		return append(b, "null"...)
	}
	return append(b, quoted...)
}
