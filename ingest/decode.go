package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/oei-ms/oei-ms/internal/readingjson"
	"github.com/oei-ms/oei-ms/internal/rfc3339"
	"github.com/oei-ms/oei-ms/store"
)

// The reasons for which a payload or a sample is refused. They are stable and made for programs.
const (
	badTopic        = "unknown_topic"
	badPayload      = "malformed" // not strict JSON of the known shape: nothing of it is taken
	tooLarge        = "too_large" // over Config.MaxPayload
	unknownGateway  = "unknown_gateway"
	unknownSensor   = "unknown_sensor"
	notOwner        = "not_owner" // another gateway's topic or sensor
	inactive        = "inactive"  // the gateway or sensor is not in use
	badValue        = "invalid_value"
	badTimestamp    = "invalid_timestamp"
	badQuality      = "invalid_quality"
	badSensor       = "invalid_sensor"
	futureTimestamp = "future_timestamp"
	tooOld          = "too_old"
	// its message expiry interval was over before it could be stored
	expired         = "expired"
	conflict        = "conflict"         // another value is stored for this instant
	databaseRefused = "database_refused" // the database will not have it, whatever is tried
	alarmOverload   = "alarm_overload"   // the alarms of its sensor take too many evaluations
)

// The reasons of the broker, for Message.Refused.
const (
	RefusedTooLarge = tooLarge
	RefusedQoS      = "unsupported_qos"
)

// maxSamples is how many samples a message may have. A sample takes more memory than the two bytes
// that it may have in a payload.
const maxSamples = 10_000

var errTooMany = fmt.Errorf("it has more than %d samples", maxSamples)

// decodeSamples reads one sample or an array of them. An error means that the whole payload is
// refused: it is not JSON as RFC 8259 has it, names a member twice or in the wrong case, or goes on
// behind its end.
func decodeSamples(payload []byte, t Topic) ([]sample, error) {
	d := decoder(payload)
	defer decoders.Put(d)
	var samples []sample
	switch d.PeekKind() {
	case '{':
		s, err := decodeSample(d, payload, t)
		if err != nil {
			return nil, err
		}
		samples = append(samples, s)
	case '[':
		if _, err := d.ReadToken(); err != nil {
			return nil, err
		}
		for d.PeekKind() != ']' {
			if len(samples) == maxSamples {
				return nil, errTooMany
			}
			s, err := decodeSample(d, payload, t)
			if err != nil {
				return nil, err
			}
			samples = append(samples, s)
		}
		if _, err := d.ReadToken(); err != nil {
			return nil, err
		}
		if len(samples) == 0 {
			return nil, errors.New("the array is empty")
		}
	default:
		if _, err := d.ReadToken(); err != nil {
			return nil, err
		}
		return nil, errors.New("it is neither an object nor an array of objects")
	}
	return samples, end(d)
}

// decoders are those that nobody is using, so that a flood of faulty messages costs little memory.
var decoders = sync.Pool{New: func() any { return new(jsontext.Decoder) }}

// decoder reads payload; it refuses duplicate names and invalid UTF-8. Put it back into decoders.
func decoder(payload []byte) *jsontext.Decoder {
	d := decoders.Get().(*jsontext.Decoder)
	d.Reset(bytes.NewBuffer(payload))
	return d
}

// decodeSample reads one element. What is wrong with its members refuses it alone.
func decodeSample(d *jsontext.Decoder, payload []byte, t Topic) (sample, error) {
	s := sample{sensor: t.Sensor}
	if kind := d.PeekKind(); kind != '{' && kind != jsontext.KindInvalid {
		raw, err := d.ReadValue()
		s.raw = bytes.Clone(raw)
		s.blame(badValue, "the sample is not an object")
		return s, err
	}
	var value, quality bool
	raw, err := members(d, payload, func(name string) error {
		switch name {
		case "value":
			value = true
			return s.decodeValue(d)
		case "timestamp":
			return s.decodeTimestamp(d)
		case "quality":
			quality = true
			return s.decodeQuality(d)
		case "status_code":
			return s.decodeStatusCode(d)
		case "sensor":
			if t.Kind == GatewayData {
				return s.decodeSensor(d)
			}
			return d.SkipValue()
		}
		return unknownMember(d, name, "value", "timestamp", "quality", "status_code", "sensor")
	})
	if err != nil {
		return s, err
	}
	s.raw = raw
	if t.Kind == GatewayData && s.sensor == "" {
		s.blame(badSensor, "sensor is missing")
	}
	if !value {
		s.blame(badValue, "value is missing")
	}
	s.settleQuality(quality)
	return s, nil
}

// members calls each for the name of every member, which has to read the value, and returns the
// object's bytes.
func members(d *jsontext.Decoder, payload []byte, each func(name string) error) ([]byte, error) {
	if tok, err := d.ReadToken(); err != nil {
		return nil, err
	} else if tok.Kind() != '{' {
		return nil, errors.New("it is not an object")
	}
	start := d.InputOffset() - 1
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		if err := each(name.String()); err != nil {
			return nil, err
		}
	}
	_, err := d.ReadToken()
	return payload[start:d.InputOffset()], err
}

// unknownMember skips a member that has no meaning here. One that looks like a known one under
// another name is an error: skipping a time would store the sample at another one.
func unknownMember(d *jsontext.Decoder, name string, known ...string) error {
	for _, k := range known {
		if strings.EqualFold(name, k) {
			return fmt.Errorf("member %q must be written %q", name, k)
		}
	}
	switch meant := readingjson.Meant(name); {
	case !slices.Contains(known, meant):
		return d.SkipValue()
	case meant == "timestamp":
		return fmt.Errorf("member %q must be written %q, in RFC 3339 or whole milliseconds since 1970", name, meant)
	case meant == "quality":
		return fmt.Errorf("member %q must be written %q, as good, uncertain or bad", name, meant)
	default:
		return fmt.Errorf("member %q must be written %q", name, meant)
	}
}

func (s *sample) decodeValue(d *jsontext.Decoder) error {
	kind, text, err := scalar(d)
	if err != nil {
		return err
	}
	switch {
	case kind == 'n' || kind == '"' && strings.EqualFold(text, "NaN"):
		s.value = math.NaN()
	case kind == '0':
		if s.value, err = strconv.ParseFloat(text, 64); err != nil {
			s.blame(badValue, "value %.40s is beyond a 64-bit float", text)
		}
	default:
		s.blame(badValue, "value is not a finite number, null or \"NaN\"")
	}
	return nil
}

func (s *sample) decodeTimestamp(d *jsontext.Decoder) error {
	kind, text, err := scalar(d)
	if err != nil {
		return err
	}
	if s.timestamp, err = parseTime(kind, text); err != nil {
		s.blame(badTimestamp, "timestamp %v", err)
	}
	return nil
}

// parseTime reads RFC 3339 or whole milliseconds since 1970 and cuts it to microseconds. Null
// stands for none.
func parseTime(kind jsontext.Kind, text string) (time.Time, error) {
	switch kind {
	case 'n':
		return time.Time{}, nil
	case '"':
		t, err := rfc3339.Parse(text)
		if err != nil {
			return time.Time{}, fmt.Errorf("%.40q %w", text, err)
		}
		if t.IsZero() { // would mean that there is none
			return time.Time{}, fmt.Errorf("%.40q %w", text, rfc3339.ErrYear)
		}
		return t, nil
	case '0':
		return readingjson.Time(text)
	}
	return time.Time{}, errors.New("is neither RFC 3339 nor whole milliseconds since 1970")
}

func (s *sample) decodeQuality(d *jsontext.Decoder) error {
	kind, text, err := scalar(d)
	if err != nil {
		return err
	}
	q, ok := store.ParseQuality(text)
	if kind != '"' || !ok {
		s.blame(badQuality, "quality is not good, uncertain or bad")
	}
	s.quality = q
	return nil
}

func (s *sample) decodeStatusCode(d *jsontext.Decoder) error {
	kind, text, err := scalar(d)
	if err != nil {
		return err
	}
	var code int64
	if kind == '0' {
		code, err = readingjson.Whole(text)
	}
	if kind != '0' || err != nil || code < 0 || code > math.MaxUint32 {
		s.blame(badQuality, "status_code is not a whole number of 32 bits")
	}
	s.statusCode = uint32(code)
	return nil
}

func (s *sample) decodeSensor(d *jsontext.Decoder) error {
	kind, text, err := scalar(d)
	if err != nil {
		return err
	}
	// an id or a key of digits, spelled in another way
	if kind == '0' && strings.Trim(text, "0123456789") != "" {
		id, err := readingjson.Whole(text)
		if err == nil && id >= 0 {
			text = strconv.FormatInt(id, 10)
		} else {
			kind = 0
		}
	}
	if kind != '"' && kind != '0' || !IsKey(text) {
		s.blame(badSensor, "sensor is not a key or id")
		return nil
	}
	s.sensor = text
	return nil
}

// status is what a status message says.
type status struct {
	state     string    // online or offline
	timestamp time.Time // the device's clock now; zero: none was sent
}

// decodeStatus reads a status message.
func decodeStatus(payload []byte) (status, error) {
	d := decoder(payload)
	defer decoders.Put(d)
	var s status
	_, err := members(d, payload, func(name string) error {
		if name != "status" && name != "timestamp" {
			return unknownMember(d, name, "status", "timestamp")
		}
		kind, text, err := scalar(d)
		switch {
		case err != nil:
			return err
		case name == "timestamp":
			s.timestamp, err = parseTime(kind, text)
		case kind != '"' || text != "online" && text != "offline":
			err = errors.New("status is neither online nor offline")
		default:
			s.state = text
		}
		return err
	})
	if err == nil && s.state == "" {
		err = errors.New("status is missing")
	}
	if err != nil {
		return status{}, err
	}
	return s, end(d)
}

// scalar reads a value. An object or array is passed over; its kind tells.
func scalar(d *jsontext.Decoder) (jsontext.Kind, string, error) {
	kind := d.PeekKind()
	if kind == '{' || kind == '[' {
		return kind, "", d.SkipValue()
	}
	tok, err := d.ReadToken()
	if err != nil {
		return kind, "", err
	}
	return kind, tok.String(), nil
}

// end checks that nothing follows.
func end(d *jsontext.Decoder) error {
	switch _, err := d.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return errors.New("something follows the end")
}
