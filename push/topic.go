package push

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind is what a topic is about.
type Kind byte

// The kinds of topics.
const (
	Sensors Kind = iota + 1 // sensors/12: one sensor's readings
	// gateways/3: a gateway's status and the readings of all its sensors
	Gateways
	// sensors?type=temperature: the readings of every sensor of that type but the server's own
	SensorTypes
	Statuses // gateways/status: the status of every gateway
	// alarms, or alarms/critical: the alarm log, or its events of one severity
	Alarms
	followers // whoever listens to any topic of alarms; no client can name it
)

// Topic names what a client may listen to.
type Topic struct {
	Kind Kind
	ID   int64
	Name string // the type of SensorTypes; the severity of Alarms, empty for all
}

const (
	typePrefix  = "sensors?type="
	maxTypeName = 50
)

// severities are those of alarms, each with its bit in a lane's mask.
var severities = []string{"critical", "major", "minor", "warning"}

// ParseTopic returns ErrUnknownTopic for anything but the forms above, with a positive id in plain
// decimal.
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

// severityMask has a bit for each severity that t is about.
func (t Topic) severityMask() uint8 {
	if t.Name == "" {
		return allSeverities
	}
	return severityBit(t.Name)
}

// allSeverities also takes in a severity that this program does not know.
const allSeverities uint8 = 0xff

func severityBit(severity string) uint8 {
	if i := slices.Index(severities, severity); i >= 0 {
		return 1 << i
	}
	return 1 << 7
}
