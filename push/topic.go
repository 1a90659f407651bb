package push

import (
	"slices"
	"strconv"
	"strings"
)

// Kind is what a topic is about.
type Kind byte

// Sensors are topics of one sensor's readings; Gateways of a gateway's status and the readings of all its sensors.
const (
	Sensors Kind = iota + 1
	Gateways
)

// Topic names what a client may listen to, such as sensors/12 or gateways/3.
type Topic struct {
	Kind Kind
	ID   int64
}

// ParseTopic returns ErrUnknownTopic for anything but a kind and a positive id in plain decimal.
func ParseTopic(s string) (Topic, error) {
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
	if t.Kind == Gateways {
		return "gateways/" + strconv.FormatInt(t.ID, 10)
	}
	return "sensors/" + strconv.FormatInt(t.ID, 10)
}

// index knows who listens to what. Its lists ascend by connection number and what a reader of one sees never changes,
// so they may be walked without the lock they were taken under.
type index map[Topic][]*conn

func byNumber(c *conn, number uint64) int {
	switch {
	case c.number < number:
		return -1
	case c.number > number:
		return 1
	}
	return 0
}

func (x index) add(t Topic, c *conn) {
	list := x[t]
	i, found := slices.BinarySearchFunc(list, c.number, byNumber)
	switch {
	case found:
	case i == len(list):
		x[t] = append(list, c) // beyond what anybody who holds the shorter list can see
	default:
		x[t] = slices.Insert(slices.Clone(list), i, c)
	}
}

func (x index) remove(t Topic, c *conn) {
	list := x[t]
	i, found := slices.BinarySearchFunc(list, c.number, byNumber)
	switch {
	case !found:
	case len(list) == 1:
		delete(x, t)
	default:
		x[t] = slices.Concat(list[:i], list[i+1:])
	}
}

// each calls f once for every connection of either list.
func each(a, b []*conn, f func(*conn)) {
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].number < b[0].number:
			f(a[0])
			a = a[1:]
		case a[0].number > b[0].number:
			f(b[0])
			b = b[1:]
		default:
			f(a[0])
			a, b = a[1:], b[1:]
		}
	}
	for _, c := range a {
		f(c)
	}
	for _, c := range b {
		f(c)
	}
}
