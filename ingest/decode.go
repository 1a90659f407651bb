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

// maxSamples is the maximum number of samples of a message. A sample takes more memory than the two
// bytes that it may have in a payload.
const maxSamples = 10_000

var errTooMany = fmt.Errorf("it has more than %d samples", maxSamples)

// decodeSamples reads one sample or an array of them. An error means that the whole payload is
// rejected: it is not JSON by RFC 8259, has a member twice, has a misspelt member, or continues
// after its end. fastDecodeSamples is its optimisation.
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

// decoders pools decoders, so that a flood of invalid messages costs little memory.
var decoders = sync.Pool{New: func() any { return new(jsontext.Decoder) }}

// decoder returns a decoder of payload, which refuses duplicate names and invalid UTF-8. The caller
// puts it back into decoders.
func decoder(payload []byte) *jsontext.Decoder {
	d := decoders.Get().(*jsontext.Decoder)
	d.Reset(bytes.NewBuffer(payload))
	return d
}

// decodeSample reads one sample. An invalid member makes this sample alone invalid.
func decodeSample(d *jsontext.Decoder, payload []byte, t Topic) (sample, error) {
	s := sample{sensor: t.Sensor}
	if kind := d.PeekKind(); kind != '{' && kind != jsontext.KindInvalid {
		raw, err := d.ReadValue()
		s.raw = bytes.Clone(raw)
		s.invalidate(badValue, "the sample is not an object")
		return s, err
	}
	var hasValue, hasQuality bool
	raw, err := members(d, payload, func(name string) error {
		switch name {
		case "value":
			hasValue = true
			return s.decodeValue(d)
		case "timestamp":
			return s.decodeTimestamp(d)
		case "quality":
			hasQuality = true
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
		s.invalidate(badSensor, "sensor is missing")
	}
	if !hasValue {
		s.invalidate(badValue, "value is missing")
	}
	s.settleQuality(hasQuality)
	return s, nil
}

// members calls each with the name of every member, and returns the object's bytes. each must read
// the value.
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

// unknownMember skips an unknown member. One that looks like a known member under another name is
// an error: to skip a time would store the sample at another time.
func unknownMember(d *jsontext.Decoder, name string, known ...string) error {
	for _, k := range known {
		if strings.EqualFold(name, k) {
			return fmt.Errorf("member %q must be written %q", name, k)
		}
	}
	switch meant := readingjson.MemberFor(name); {
	case !slices.Contains(known, meant):
		return d.SkipValue()
	case meant == "timestamp":
		return fmt.Errorf("member %q must be written %q, "+
			"in RFC 3339 or whole milliseconds since 1970", name, meant)
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
			s.invalidate(badValue, "value %.40s is beyond a 64-bit float", text)
		}
	default:
		s.invalidate(badValue, "value is not a finite number, null or \"NaN\"")
	}
	return nil
}

func (s *sample) decodeTimestamp(d *jsontext.Decoder) error {
	kind, text, err := scalar(d)
	if err != nil {
		return err
	}
	if s.timestamp, err = parseTime(kind, text); err != nil {
		s.invalidate(badTimestamp, "timestamp %v", err)
	}
	return nil
}

// parseTime reads RFC 3339 or whole milliseconds since 1970, and truncates it to microseconds. Null
// is the zero time, which stands for no timestamp.
func parseTime(kind jsontext.Kind, text string) (time.Time, error) {
	switch kind {
	case 'n':
		return time.Time{}, nil
	case '"':
		t, err := rfc3339.Parse(text)
		if err != nil {
			return time.Time{}, fmt.Errorf("%.40q %w", text, err)
		}
		if t.IsZero() { // which stands for no timestamp
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
		s.invalidate(badQuality, "quality is not good, uncertain or bad")
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
		s.invalidate(badQuality, "status_code is not a whole number of 32 bits")
	}
	s.statusCode = uint32(code)
	return nil
}

func (s *sample) decodeSensor(d *jsontext.Decoder) error {
	kind, text, err := scalar(d)
	if err != nil {
		return err
	}
	// a number with a fraction or exponent: an id or a key of digits
	if kind == '0' && strings.Trim(text, "0123456789") != "" {
		id, err := readingjson.Whole(text)
		if err == nil && id >= 0 {
			text = strconv.FormatInt(id, 10)
		} else {
			kind = 0
		}
	}
	if kind != '"' && kind != '0' || !IsKey(text) {
		s.invalidate(badSensor, "sensor is not a key or id")
		return nil
	}
	s.sensor = text
	return nil
}

// status is the content of a status message.
type status struct {
	state     string    // online or offline
	timestamp time.Time // of the device's clock; zero: none was sent
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
			if s.timestamp, err = parseTime(kind, text); err != nil {
				err = fmt.Errorf("timestamp %w", err)
			}
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

// scalar reads a value. It skips an object or array and returns its kind.
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

// end checks that the payload ends here.
func end(d *jsontext.Decoder) error {
	switch _, err := d.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return errors.New("it continues after its end")
}
