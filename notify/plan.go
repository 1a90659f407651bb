package notify

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// unacknowledged is the state of an alarm that people are reminded of.
const unacknowledged = "active_unacknowledged"

// defaultKinds are the kinds of events that a route without kinds gets.
var defaultKinds = []string{"raised", "escalated", "reraised", "cleared", "faulted"}

// raisingKinds are the kinds of events with which reminders start over.
var raisingKinds = []string{"raised", "escalated", "reraised"}

// builder groups events into notifications by route, channel and kind.
type builder struct {
	channelKinds map[int64]store.ChannelKind
	now          time.Time
	open         map[group]*store.Notification
	full         []store.Notification
}

type group struct {
	route, channel int64
	kind           string
}

func newBuilder(channelKinds map[int64]store.ChannelKind, now time.Time) *builder {
	return &builder{
		channelKinds: channelKinds,
		now:          now,
		open:         map[group]*store.Notification{},
	}
}

// add adds e. On MQTT every event is a message of its own: nothing waits to be grouped, and no
// event is only counted.
func (b *builder) add(r store.Route, channel int64, kind string, e store.NotificationEvent) {
	g := group{r.ID, channel, kind}
	n := b.open[g]
	if n != nil && n.Ungrouped && n.Count == store.MaxNotificationEvents {
		b.full, n = append(b.full, *n), nil
	}
	if n == nil {
		n = &store.Notification{
			RouteID:     r.ID,
			ChannelID:   channel,
			Kind:        kind,
			FirstOffset: e.Offset,
			DueAt:       b.now.Add(seconds(r.GroupSeconds)),
		}
		if b.channelKinds[channel] == store.MQTT {
			n.DueAt, n.Ungrouped = b.now, true
		}
		b.open[g] = n
	}
	if n.Count++; len(n.Events) < store.MaxNotificationEvents {
		n.Events = append(n.Events, e)
	}
	n.FirstOffset = min(n.FirstOffset, e.Offset)
	n.LastOffset = max(n.LastOffset, e.Offset)
}

// notifications returns all notifications, in no order.
func (b *builder) notifications() []store.Notification {
	for _, n := range b.open {
		b.full = append(b.full, *n)
	}
	return b.full
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// routing decides which events go to which channels. silences are those in force.
type routing struct {
	routes       []store.Route
	channelKinds map[int64]store.ChannelKind
	silences     []store.Silence
}

// plan returns the notifications and reminders that follow from events, whose offsets follow after.
func (r routing) plan(
	after int64, events []store.NotificationEvent, now time.Time,
) store.NotificationPlan {
	plan := store.NotificationPlan{After: after, Last: after, HeldBack: map[int64]int64{}}
	type key struct{ alarm, route int64 }
	reminders := map[key]store.Reminder{}
	ended := map[int64]bool{}
	out := newBuilder(r.channelKinds, now)
	for _, e := range events {
		plan.Last = e.Offset
		remind := e.State == unacknowledged && !e.Quiet
		startsOver := slices.Contains(raisingKinds, e.Kind)
		// reminders end: the alarm is acknowledged, cleared, shelved or has another occurrence
		if !remind || startsOver {
			ended[e.AlarmID] = true
			maps.DeleteFunc(reminders,
				func(k key, _ store.Reminder) bool { return k.alarm == e.AlarmID })
		}
		if e.Quiet {
			continue
		}
		silence := r.silenceOf(e)
		if silence != 0 {
			plan.HeldBack[silence]++
		}
		for _, route := range r.routes {
			if !route.IsActive || !matches(route, e) {
				continue
			}
			k := key{e.AlarmID, route.ID}
			if _, exists := reminders[k]; remind && !exists {
				reminder := newReminder(route, e, now)
				reminder.KeepExisting = !startsOver
				if reminder.RemindAt != nil || reminder.EscalateAt != nil {
					reminders[k] = reminder
				}
			}
			if silence == 0 && wantsKind(route, e.Kind) {
				out.add(route, route.ChannelID, store.KindNotification, e)
			}
		}
	}
	plan.Notifications = out.notifications()
	plan.EndReminders = slices.Sorted(maps.Keys(ended))
	plan.Reminders = slices.SortedFunc(maps.Values(reminders), func(a, b store.Reminder) int {
		return cmp.Or(cmp.Compare(a.AlarmID, b.AlarmID), cmp.Compare(a.RouteID, b.RouteID))
	})
	return plan
}

// newReminder returns when r reminds people of e. Both times are nil if r does not.
func newReminder(r store.Route, e store.NotificationEvent, now time.Time) store.Reminder {
	b, _ := json.Marshal(e) // e was read from the database
	reminder := store.Reminder{RouteID: r.ID, AlarmID: e.AlarmID, Event: string(b)}
	if r.RemindSeconds > 0 {
		reminder.RemindAt = new(now.Add(seconds(r.RemindSeconds)))
	}
	if r.EscalateSeconds > 0 && r.EscalationChannelID != nil {
		reminder.EscalateAt = new(now.Add(seconds(r.EscalateSeconds)))
	}
	return reminder
}

// fire returns the notifications of reminders that are due, and the reminders with their next
// times. A reminder of a silenced alarm is postponed to the end of the silence.
func (r routing) fire(
	due []store.Reminder, now time.Time,
) ([]store.Notification, []store.Reminder) {
	out := newBuilder(r.channelKinds, now)
	for i := range due {
		reminder := &due[i]
		var e store.NotificationEvent
		route, ok := r.route(reminder.RouteID)
		if err := json.Unmarshal([]byte(reminder.Event), &e); err != nil || !ok || !route.IsActive {
			// a route that is in use again reminds of later events only
			reminder.RemindAt, reminder.EscalateAt = nil, nil
			continue
		}
		if end := r.silencedUntil(e); !end.IsZero() {
			reminder.RemindAt = postponed(reminder.RemindAt, end)
			reminder.EscalateAt = postponed(reminder.EscalateAt, end)
			continue
		}
		if isDue(reminder.EscalateAt, now) {
			reminder.EscalateAt = nil
			if route.EscalateSeconds > 0 && route.EscalationChannelID != nil {
				out.add(route, *route.EscalationChannelID, store.KindEscalation, e)
			}
		}
		if isDue(reminder.RemindAt, now) {
			reminder.RemindAt = nil
			if route.RemindSeconds > 0 {
				out.add(route, route.ChannelID, store.KindReminder, e)
				reminder.RemindAt = new(now.Add(seconds(route.RemindSeconds)))
			}
		}
	}
	return out.notifications(), due
}

func (r routing) route(id int64) (store.Route, bool) {
	at := slices.IndexFunc(r.routes, func(route store.Route) bool { return route.ID == id })
	if at < 0 {
		return store.Route{}, false
	}
	return r.routes[at], true
}

func isDue(at *time.Time, now time.Time) bool { return at != nil && !at.After(now) }

func postponed(at *time.Time, end time.Time) *time.Time {
	if at == nil || at.After(end) {
		return at
	}
	return &end
}

// matches reports whether r is for alarms with the severity and labels of e.
func matches(r store.Route, e store.NotificationEvent) bool {
	return includes(r.Severities, e.Severity) && hasLabels(e.Labels, r.Labels)
}

func wantsKind(r store.Route, kind string) bool {
	if len(r.Events) == 0 {
		return slices.Contains(defaultKinds, kind)
	}
	return slices.Contains(r.Events, kind)
}

// silenceOf returns the silence that holds e back, 0 for none.
func (r routing) silenceOf(e store.NotificationEvent) int64 {
	for _, s := range r.silences {
		if silences(s, e) {
			return s.ID
		}
	}
	return 0
}

// silencedUntil returns when the last silence that holds e back ends, zero for none.
func (r routing) silencedUntil(e store.NotificationEvent) (end time.Time) {
	for _, s := range r.silences {
		if silences(s, e) && s.EndsAt.After(end) {
			end = s.EndsAt
		}
	}
	return end
}

// silences reports whether s holds e back.
func silences(s store.Silence, e store.NotificationEvent) bool {
	is := func(want *int64, got int64) bool { return want == nil || *want == got }
	return is(s.AlarmID, e.AlarmID) && is(s.SensorID, e.SensorID) && is(s.GatewayID, e.GatewayID) &&
		includes(s.Severities, e.Severity) && hasLabels(e.Labels, s.Labels)
}

// includes reports whether list contains s. An empty list includes everything.
func includes(list []string, s string) bool { return len(list) == 0 || slices.Contains(list, s) }

func hasLabels(labels, want store.LabelMap) bool {
	for name, value := range want {
		if got, ok := labels[name]; !ok || got != value {
			return false
		}
	}
	return true
}
