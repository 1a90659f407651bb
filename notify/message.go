package notify

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/gen/api"
	"github.com/oei-ms/oei-ms/internal/eventjson"
	"github.com/oei-ms/oei-ms/internal/timejson"
	"github.com/oei-ms/oei-ms/store"
)

const (
	maxField = 200      // characters of a placeholder's value
	maxText  = 16 << 10 // bytes of a text
)

// The templates of a route without templates.
const (
	defaultSubject = "[{severity}] {count} × {alarm}: {kind}"
	defaultLine    = "{at} [{severity}] {gateway}/{sensor} {alarm}: {kind} {value} {unit} {message}"
)

var placeholder = regexp.MustCompile(`\{([^{}]*)\}`)

// CheckTemplate returns an error for an invalid template. A template is a text with placeholders
// such as {alarm} and {kind} for the fields of an event.
func CheckTemplate(text string) error {
	known := fields(store.NotificationEvent{}, 0, time.UTC)
	for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
		if _, ok := known[m[1]]; !ok {
			names := slices.Sorted(maps.Keys(known))
			return fmt.Errorf("has the unknown placeholder {%s}; use {%s}",
				strings.ToValidUTF8(m[1][:min(len(m[1]), 50)], ""), strings.Join(names, "}, {"))
		}
	}
	if strings.ContainsAny(placeholder.ReplaceAllString(text, ""), "{}") {
		return errors.New("has an unpaired brace; use {name} for a placeholder")
	}
	return nil
}

// fields returns the values of placeholders; count is the number of events. A sensor or gateway
// that has been deleted, or is without a name, is shown by its key.
func fields(e store.NotificationEvent, count int, zone *time.Location) map[string]string {
	value := ""
	if e.Value != nil {
		value = alarm.FormatNumber(*e.Value)
	}
	return map[string]string{
		"alarm":       e.Alarm,
		"at":          clock(e.At, zone),
		"comment":     e.Comment,
		"count":       strconv.Itoa(count),
		"gateway":     cmp.Or(e.GatewayName, e.Gateway),
		"gateway_key": e.Gateway,
		"kind":        e.Kind,
		"message":     e.Message,
		"sensor":      cmp.Or(e.SensorName, e.Sensor),
		"sensor_key":  e.Sensor,
		"severity":    e.Severity,
		"state":       e.State,
		"unit":        e.Unit,
		"user":        e.User,
		"value":       value,
	}
}

// render fills the fields of e into a template. Values are inserted once, so that they are not
// templates themselves, without control characters and with a bounded length.
func render(template string, e store.NotificationEvent, count int, zone *time.Location) string {
	f := fields(e, count, zone)
	text := placeholder.ReplaceAllStringFunc(template,
		func(p string) string { return plain(f[p[1:len(p)-1]], maxField) })
	return strings.Join(strings.Fields(text), " ")
}

// plain returns s without control characters, cut after limit characters.
func plain(s string, limit int) string {
	var b strings.Builder
	for _, r := range s {
		if limit--; limit < 0 {
			return b.String() + "…"
		}
		if unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control) {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

// message is a delivery with what its texts need.
type message struct {
	store.Delivery
	route   *store.Route // nil for a test, or when the route has been deleted
	zone    *time.Location
	subject string
}

// webhookBody is the JSON that a webhook gets.
type webhookBody struct {
	ID        string                  `json:"id"`
	Type      string                  `json:"type"`
	Timestamp time.Time               `json:"timestamp"`
	Subject   string                  `json:"subject"`
	Route     *string                 `json:"route"`
	Count     int                     `json:"count"`
	Events    []api.NotificationEvent `json:"events"`
}

func newMessage(d store.Delivery, route *store.Route, zone *time.Location) message {
	m := message{Delivery: d, route: route, zone: zone}
	switch {
	case d.Kind == store.KindTest || len(d.Events) == 0:
		m.subject = "Test of OEI-MS: this channel works"
	default:
		template := defaultSubject
		if route != nil && route.Subject != "" {
			template = route.Subject
		}
		m.subject = render(template, d.Events[0], d.EventCount, zone)
		if d.Kind != store.KindNotification {
			m.subject = strings.ToUpper(d.Kind[:1]) + d.Kind[1:] + ": " + m.subject
		}
	}
	return m
}

// json returns the message for programs. It is the same in every attempt.
func (m message) json() ([]byte, error) {
	b := webhookBody{
		ID:        m.Key,
		Type:      "alarm." + m.Kind,
		Timestamp: m.CreatedAt.UTC(),
		Subject:   m.subject,
		Count:     m.EventCount,
		Events:    make([]api.NotificationEvent, len(m.Events)),
	}
	if m.route != nil {
		b.Route = &m.route.Name
	}
	for i, e := range m.Events {
		b.Events[i] = eventjson.Notification(e)
	}
	return timejson.Marshal(b)
}

// text returns the message for people.
func (m message) text() string {
	template := defaultLine
	if m.route != nil && m.route.Line != "" {
		template = m.route.Line
	}
	var b strings.Builder
	b.WriteString(m.subject + "\n\n")
	for i, e := range m.Events {
		line := render(template, e, m.EventCount, m.zone)
		if b.Len()+len(line) > maxText {
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
