package notify

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/internal/timejson"
	"github.com/oei-ms/oei-ms/store"
)

const (
	mostField = 200      // characters that a placeholder becomes, at most
	mostText  = 16 << 10 // bytes of a text
)

// The templates of a route that has none.
const (
	usualSubject = "[{severity}] {count} × {alarm}: {kind}"
	usualLine    = "{at} [{severity}] {gateway}/{sensor} {alarm}: {kind} {value} {unit} {message}"
)

var placeholder = regexp.MustCompile(`\{([^{}]*)\}`)

// CheckTemplate says what is wrong with a template: text in which {alarm}, {kind} and so on stand
// for what an event has.
func CheckTemplate(text string) error {
	for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
		if _, ok := fields(store.NoticeEvent{}, 0, time.UTC)[m[1]]; !ok {
			return fmt.Errorf("has the placeholder {%s}; known are {alarm}, {at}, {comment}, {count}, {gateway}, {gateway_key}, {kind}, {message}, {sensor}, {sensor_key}, {severity}, {state}, {unit}, {user} and {value}",
				strings.ToValidUTF8(m[1][:min(len(m[1]), 50)], ""))
		}
	}
	if strings.ContainsAny(placeholder.ReplaceAllString(text, ""), "{}") {
		return errors.New("has a brace that stands alone")
	}
	return nil
}

// fields are what placeholders become; count is how many events there are. A sensor that has lost
// its name to a deletion, or an event of before names were kept, has its key.
func fields(e store.NoticeEvent, count int, zone *time.Location) map[string]string {
	value := ""
	if e.Value != nil {
		value = alarm.FormatNumber(*e.Value)
	}
	return map[string]string{
		"alarm": e.Alarm, "at": clock(e.At, zone), "comment": e.Comment,
		"count":   strconv.Itoa(count),
		"gateway": cmp.Or(e.GatewayName, e.Gateway), "gateway_key": e.Gateway,
		"kind": e.Kind, "message": e.Message,
		"sensor": cmp.Or(e.SensorName, e.Sensor), "sensor_key": e.Sensor, "severity": e.Severity,
		"state": e.State, "unit": e.Unit, "user": e.User,
		"value": value,
	}
}

// render puts what e has into a template. What came from outside is put in as it is, once: it is no
// template itself, has no control characters and a bounded length.
func render(template string, e store.NoticeEvent, count int, zone *time.Location) string {
	f := fields(e, count, zone)
	text := placeholder.ReplaceAllStringFunc(template,
		func(p string) string { return plain(f[p[1:len(p)-1]], mostField) })
	return strings.Join(strings.Fields(text), " ")
}

// plain is s without control characters, and of at most so many characters.
func plain(s string, most int) string {
	var b strings.Builder
	for _, r := range s {
		if most--; most < 0 {
			return b.String() + "…"
		}
		if unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control) {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

// message is a delivery as it is sent.
type message struct {
	store.Delivery
	route   *store.Route // nil: a trial, or it was deleted
	zone    *time.Location
	subject string
}

// body is what a webhook gets.
type body struct {
	ID        string             `json:"id"`
	Type      string             `json:"type"`
	Timestamp time.Time          `json:"timestamp"`
	Subject   string             `json:"subject"`
	Route     *string            `json:"route"`
	Count     int                `json:"count"`
	Events    store.NoticeEvents `json:"events"`
}

func newMessage(d store.Delivery, route *store.Route, zone *time.Location) message {
	m := message{Delivery: d, route: route, zone: zone}
	switch {
	case d.Kind == store.KindTrial || len(d.Events) == 0:
		m.subject = "A trial of OEI-MS: this channel works"
	default:
		template := usualSubject
		if route != nil && route.Subject != "" {
			template = route.Subject
		}
		m.subject = render(template, d.Events[0], d.EventCount, zone)
		if d.Kind != store.KindNotice {
			m.subject = strings.ToUpper(d.Kind[:1]) + d.Kind[1:] + ": " + m.subject
		}
	}
	return m
}

// json is the message for programs. It is the same in every attempt.
func (m message) json() ([]byte, error) {
	b := body{
		ID:        m.Key,
		Type:      "alarm." + m.Kind,
		Timestamp: m.CreatedAt.UTC(),
		Subject:   m.subject,
		Count:     m.EventCount,
		Events:    m.Events,
	}
	if m.route != nil {
		b.Route = &m.route.Name
	}
	if b.Events == nil {
		b.Events = store.NoticeEvents{}
	}
	return timejson.Marshal(b)
}

// text is the message for people.
func (m message) text() string {
	template := usualLine
	if m.route != nil && m.route.Line != "" {
		template = m.route.Line
	}
	var b strings.Builder
	b.WriteString(m.subject + "\n\n")
	for i, e := range m.Events {
		line := render(template, e, m.EventCount, m.zone)
		if b.Len()+len(line) > mostText {
			m.Events = m.Events[:i]
			break
		}
		b.WriteString(line + "\n")
	}
	if left := m.EventCount - len(m.Events); left > 0 {
		fmt.Fprintf(&b, "… and %d more\n", left)
	}
	return b.String()
}
