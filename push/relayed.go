package push

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// What instances tell each other: a version, a kind, who says it, and the rest by kind; numbers are
// little-endian or varints, strings have their length before them.
const (
	relayVersion  = 2
	relayReadings = 1000 // readings in one message

	kindReadings byte = 'r'
	kindStatus   byte = 's'
	kindAlarms   byte = 'a' // the alarm log has grown
)

type relayedMessage struct {
	from     uint64
	kind     byte
	readings []Reading
	status   Status
}

func (r *Relay) head(kind byte) []byte {
	return binary.LittleEndian.AppendUint64(append(make([]byte, 0, 64), relayVersion, kind), r.self)
}

func appendRelayedReadings(b []byte, rs []Reading) []byte {
	b = binary.AppendUvarint(b, uint64(len(rs)))
	for _, r := range rs {
		b = binary.AppendVarint(b, r.SensorID)
		b = binary.AppendVarint(b, r.GatewayID)
		b = binary.AppendVarint(b, r.Timestamp.UnixMicro())
		b = binary.AppendVarint(b, int64(r.order().ahead/time.Microsecond))
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(r.Value))
		b = appendText(appendText(b, r.Quality), r.SensorType)
	}
	return b
}

func appendRelayedStatus(b []byte, s Status) []byte {
	return appendText(binary.AppendVarint(binary.AppendVarint(b, s.GatewayID), s.At.UnixMicro()),
		s.Status)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errRelayed = errors.New("not a message of this version")

func parseRelayed(b []byte) (m relayedMessage, err error) {
	if len(b) < 10 || b[0] != relayVersion {
		return m, errRelayed
	}
	m.kind, m.from = b[1], binary.LittleEndian.Uint64(b[2:])
	d := decoder{rest: b[10:]}
	switch m.kind {
	case kindReadings:
		n := d.uvarint()
		if n > relayReadings || n > uint64(len(d.rest)) {
			return m, errRelayed
		}
		m.readings = make([]Reading, n)
		for i := range m.readings {
			r := &m.readings[i]
			r.SensorID, r.GatewayID, r.Timestamp = d.varint(), d.varint(), time.UnixMicro(
				d.varint(),
			)
			if ahead := d.varint(); ahead > 0 {
				r.Received = time.UnixMicro(r.Timestamp.UnixMicro() - ahead)
			}
			r.Value, r.Quality, r.SensorType = d.float(), d.text(), d.text()
		}
	case kindStatus:
		m.status = Status{GatewayID: d.varint(), At: time.UnixMicro(d.varint()), Status: d.text()}
	case kindAlarms:
	default:
		return m, errRelayed
	}
	if d.short || len(d.rest) > 0 {
		return m, errRelayed
	}
	return m, nil
}

// decoder takes a message apart; once it was too short everything is zero.
type decoder struct {
	rest  []byte
	short bool
}

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

func (d *decoder) text() string {
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
