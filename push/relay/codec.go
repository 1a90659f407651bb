package relay

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/oei-ms/oei-ms/push"
)

// A message is a version, a kind, the instance that sent it, and a body that depends on the kind.
// Numbers are little-endian or varints; a string follows its length.
const (
	version     = 2
	headerSize  = 10
	maxReadings = 1000 // readings of one message

	kindReadings byte = 'r'
	kindStatus   byte = 's'
	kindAlarms   byte = 'a' // the alarm log has grown
)

type message struct {
	instance uint64
	kind     byte
	readings []push.Reading
	status   push.Status
}

func appendHeader(b []byte, kind byte, instance uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(b, version, kind), instance)
}

func appendReadings(b []byte, rs []push.Reading) []byte {
	b = binary.AppendUvarint(b, uint64(len(rs)))
	for _, r := range rs {
		b = binary.AppendVarint(b, r.SensorID)
		b = binary.AppendVarint(b, r.GatewayID)
		b = binary.AppendVarint(b, r.Timestamp.UnixMicro())
		b = binary.AppendVarint(b, int64(clockAhead(r)/time.Microsecond))
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(r.Value))
		b = appendString(appendString(b, r.Quality), r.SensorType)
	}
	return b
}

// clockAhead returns how far the timestamp of r is ahead of its received time. It is 0 when the
// received time is not needed to order r among the readings of its sensor.
func clockAhead(r push.Reading) time.Duration {
	if r.Received.IsZero() {
		return 0
	}
	return max(r.Timestamp.Sub(r.Received), 0)
}

func appendStatus(b []byte, s push.Status) []byte {
	b = binary.AppendVarint(b, s.GatewayID)
	b = binary.AppendVarint(b, s.At.UnixMicro())
	return appendString(b, s.Status)
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errMalformed = errors.New("message is malformed or of another version")

func parseMessage(b []byte) (m message, err error) {
	if len(b) < headerSize || b[0] != version {
		return m, errMalformed
	}
	m.kind, m.instance = b[1], binary.LittleEndian.Uint64(b[2:])
	d := decoder{rest: b[headerSize:]}
	switch m.kind {
	case kindReadings:
		n := d.uvarint()
		if n > maxReadings || n > uint64(len(d.rest)) {
			return m, errMalformed
		}
		m.readings = make([]push.Reading, n)
		for i := range m.readings {
			m.readings[i] = d.reading()
		}
	case kindStatus:
		m.status.GatewayID = d.varint()
		m.status.At = time.UnixMicro(d.varint())
		m.status.Status = d.string()
	case kindAlarms:
	default:
		return m, errMalformed
	}
	if d.short || len(d.rest) > 0 {
		return m, errMalformed
	}
	return m, nil
}

// decoder reads the body of a message. Once the body was too short it returns zero values only.
type decoder struct {
	rest  []byte
	short bool
}

func (d *decoder) reading() (r push.Reading) {
	r.SensorID = d.varint()
	r.GatewayID = d.varint()
	at := d.varint()
	r.Timestamp = time.UnixMicro(at)
	if ahead := d.varint(); ahead > 0 {
		r.Received = time.UnixMicro(at - ahead)
	}
	r.Value = d.float()
	r.Quality = d.string()
	r.SensorType = d.string()
	return r
}

// take returns the next n bytes, or nil when there are fewer or n is not positive.
func (d *decoder) take(n int) []byte {
	if n <= 0 || n > len(d.rest) {
		d.rest, d.short = nil, true
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	if d.take(n) == nil {
		return 0
	}
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if d.take(n) == nil {
		return 0
	}
	return v
}

func (d *decoder) float() float64 {
	b := d.take(8)
	if b == nil {
		return 0
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b))
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n == 0 {
		return ""
	}
	if n > uint64(len(d.rest)) {
		d.rest, d.short = nil, true
		return ""
	}
	return string(d.take(int(n)))
}
