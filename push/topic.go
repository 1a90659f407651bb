package push

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind is the kind of a topic.
type Kind byte

// The kinds of topics.
const (
	// Sensors is sensors/12: one sensor's readings.
	Sensors Kind = iota + 1
	// Gateways is gateways/3: a gateway's status and the readings of all its sensors.
	Gateways
	// SensorTypes is sensors?type=temperature: the readings of every sensor of that type, without
	// system sensors.
	SensorTypes
	// Statuses is gateways/status: the status of every gateway.
	Statuses
	// Alarms is alarms or alarms/critical: the alarm log, or its events of one severity.
	Alarms
	// anyAlarms has the subscribers of all alarm topics. Clients cannot name it.
	anyAlarms
)

// Topic is what a client subscribes to.
type Topic struct {
	Kind Kind
	ID   int64
	Name string // the type of SensorTypes; the severity of Alarms, empty for all
}

const (
	typePrefix  = "sensors?type="
	maxTypeName = 50
)

// severities are those of alarms. Their indices are their bits in a mask of severities.
var severities = []string{"critical", "major", "minor", "warning"}

// ParseTopic parses a topic. It returns ErrUnknownTopic for other forms than those of Kind; an id
// is a positive decimal number without sign or leading zero.
func ParseTopic(s string) (Topic, error) {
	switch s {
	case "gateways/status":
		return Topic{Kind: Statuses}, nil
	case "alarms":
		return Topic{Kind: Alarms}, nil
	}
	if name, ok := strings.CutPrefix(s, typePrefix); ok {
		if name == "" || utf8.RuneCountInString(name) > maxTypeName ||
			strings.ContainsFunc(name,
				func(r rune) bool { return r == '&' || unicode.IsControl(r) }) {
			return Topic{}, ErrUnknownTopic
		}
		return Topic{Kind: SensorTypes, Name: name}, nil
	}
	if name, ok := strings.CutPrefix(s, "alarms/"); ok {
		if !slices.Contains(severities, name) {
			return Topic{}, ErrUnknownTopic
		}
		return Topic{Kind: Alarms, Name: name}, nil
	}
	t := Topic{Kind: Sensors}
	digits, ok := strings.CutPrefix(s, "sensors/")
	if !ok {
		t.Kind = Gateways
		digits, ok = strings.CutPrefix(s, "gateways/")
	}
	id, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || id < 1 || digits[0] == '0' || digits[0] == '+' {
		return Topic{}, ErrUnknownTopic
	}
	t.ID = id
	return t, nil
}

func (t Topic) String() string {
	switch t.Kind {
	case Gateways:
		return "gateways/" + strconv.FormatInt(t.ID, 10)
	case SensorTypes:
		return typePrefix + t.Name
	case Statuses:
		return "gateways/status"
	case Alarms:
		if t.Name == "" {
			return "alarms"
		}
		return "alarms/" + t.Name
	}
	return "sensors/" + strconv.FormatInt(t.ID, 10)
}

// severityMask returns the bits of the severities of t.
func (t Topic) severityMask() uint8 {
	if t.Name == "" {
		return allSeverities
	}
	return severityBit(t.Name)
}

// allSeverities includes severities that this program does not know.
const allSeverities uint8 = 0xff

func severityBit(severity string) uint8 {
	if i := slices.Index(severities, severity); i >= 0 {
		return 1 << i
	}
	return 1 << 7
}
