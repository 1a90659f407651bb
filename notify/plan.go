package notify

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// active is the state of an alarm that stands and that nobody has acknowledged: what reminders are
// about.
const active = "active_unacknowledged"

// usual are the kinds of events that a route gets which asks for none in particular.
var usual = []string{"raised", "escalated", "reraised", "cleared", "faulted"}

// outbox gathers what is to be told, by route, channel and kind.
type outbox struct {
	kinds map[int64]store.ChannelKind
	now   time.Time
	open  map[place]*store.Notice
	full  []store.Notice
}

type place struct {
	route, channel int64
	kind           string
}

func newOutbox(kinds map[int64]store.ChannelKind, now time.Time) *outbox {
	return &outbox{kinds: kinds, now: now, open: map[place]*store.Notice{}}
}

// tell adds e. On MQTT every event is a message of its own: there is nothing to wait for, and none
// is only counted.
func (o *outbox) tell(r store.Route, channel int64, kind string, e store.NoticeEvent) {
	p := place{r.ID, channel, kind}
	n := o.open[p]
	if n != nil && n.Alone && n.Count == store.MostNoticed {
		o.full, n = append(o.full, *n), nil
	}
	if n == nil {
		n = &store.Notice{
			RouteID:   r.ID,
			ChannelID: channel,
			Kind:      kind,
			First:     e.Offset,
			DueAt:     o.now.Add(seconds(r.GroupSeconds)),
		}
		if o.kinds[channel] == store.MQTT {
			n.DueAt, n.Alone = o.now, true
		}
		o.open[p] = n
	}
	if n.Count++; len(n.Events) < store.MostNoticed {
		n.Events = append(n.Events, e)
	}
	n.First, n.Last = min(n.First, e.Offset), max(n.Last, e.Offset)
}

// notices are all that were told, in no order.
func (o *outbox) notices() []store.Notice {
	for _, n := range o.open {
		o.full = append(o.full, *n)
	}
	return o.full
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// rules are what decides who is told. silences are those in force.
type rules struct {
	routes   []store.Route
	kinds    map[int64]store.ChannelKind
	silences []store.Silence
}

// plan says what follows from events, which come after the offset after: which routes get them, and
// who is to be reminded when.
func (rs rules) plan(after int64, events []store.NoticeEvent, now time.Time) store.Notices {
	plan := store.Notices{After: after, Upto: after, HeldBack: map[int64]int64{}}
	type key struct{ alarm, route int64 }
	watches := map[key]store.Watch{}
	unwatch := map[int64]bool{}
	out := newOutbox(rs.kinds, now)
	for _, e := range events {
		plan.Upto = e.Offset
		standing := e.State == active && !e.Quiet
		anew := slices.Contains(renewing, e.Kind)
		// whatever was watched is over: acknowledged, cleared, shelved, or another occurrence
		if !standing || anew {
			unwatch[e.AlarmID] = true
			maps.DeleteFunc(watches,
				func(k key, _ store.Watch) bool { return k.alarm == e.AlarmID })
		}
		if e.Quiet {
			continue
		}
		silence := rs.silencedBy(e)
		if silence != 0 {
			plan.HeldBack[silence]++
		}
		for _, r := range rs.routes {
			if !r.IsActive || !matches(r, e) {
				continue
			}
			if w := newWatch(r, e, now); standing && (w.RemindAt != nil || w.EscalateAt != nil) {
				k := key{e.AlarmID, r.ID}
				if _, there := watches[k]; !there {
					w.Keep = !anew
					watches[k] = w
				}
			}
			if silence == 0 && wants(r, e.Kind) {
				out.tell(r, r.ChannelID, store.KindNotice, e)
			}
		}
	}
	plan.Notices = out.notices()
	plan.Unwatch = slices.Sorted(maps.Keys(unwatch))
	plan.Watch = slices.SortedFunc(maps.Values(watches), func(a, b store.Watch) int {
		return cmp.Or(cmp.Compare(a.AlarmID, b.AlarmID), cmp.Compare(a.RouteID, b.RouteID))
	})
	return plan
}

// renewing are the kinds of events with which reminding begins anew.
var renewing = []string{"raised", "escalated", "reraised"}

// newWatch is when somebody is reminded of e.
func newWatch(r store.Route, e store.NoticeEvent, now time.Time) store.Watch {
	b, _ := json.Marshal(e) // it came out of the database
	w := store.Watch{RouteID: r.ID, AlarmID: e.AlarmID, Event: string(b)}
	if r.RemindSeconds > 0 {
		w.RemindAt = new(now.Add(seconds(r.RemindSeconds)))
	}
	if r.EscalateSeconds > 0 && r.EscalationChannelID != nil {
		w.EscalateAt = new(now.Add(seconds(r.EscalateSeconds)))
	}
	return w
}

// remind says what becomes of watches that are due: reminders, escalations, and when they are due
// again. What is silenced waits for the end of its silence.
func (rs rules) remind(due []store.Watch, now time.Time) ([]store.Notice, []store.Watch) {
	out := newOutbox(rs.kinds, now)
	for i := range due {
		w := &due[i]
		var e store.NoticeEvent
		at := slices.IndexFunc(rs.routes, func(r store.Route) bool { return r.ID == w.RouteID })
		if err := json.Unmarshal([]byte(w.Event), &e); err != nil || at < 0 ||
			!rs.routes[at].IsActive {
			// nor when the route is in use again: it reminds of what comes then
			w.RemindAt, w.EscalateAt = nil, nil
			continue
		}
		r := rs.routes[at]
		if end := rs.silentUntil(e); !end.IsZero() {
			w.RemindAt, w.EscalateAt = postponed(w.RemindAt, end), postponed(w.EscalateAt, end)
			continue
		}
		if isDue(w.EscalateAt, now) {
			if w.EscalateAt = nil; r.EscalateSeconds > 0 && r.EscalationChannelID != nil {
				out.tell(r, *r.EscalationChannelID, store.KindEscalation, e)
			}
		}
		if isDue(w.RemindAt, now) {
			if w.RemindAt = nil; r.RemindSeconds > 0 {
				out.tell(r, r.ChannelID, store.KindReminder, e)
				w.RemindAt = new(now.Add(seconds(r.RemindSeconds)))
			}
		}
	}
	return out.notices(), due
}

func isDue(at *time.Time, now time.Time) bool { return at != nil && !at.After(now) }

func postponed(at *time.Time, end time.Time) *time.Time {
	if at == nil || at.After(end) {
		return at
	}
	return &end
}

// matches reports whether r is about the alarm of e.
func matches(r store.Route, e store.NoticeEvent) bool {
	return has(r.Severities, e.Severity) && hasAll(e.Labels, r.Labels)
}

func wants(r store.Route, kind string) bool {
	if len(r.Events) == 0 {
		return slices.Contains(usual, kind)
	}
	return slices.Contains(r.Events, kind)
}

// silencedBy returns the silence that holds e back, 0 for none.
func (rs rules) silencedBy(e store.NoticeEvent) int64 {
	for _, s := range rs.silences {
		if isAbout(s, e) {
			return s.ID
		}
	}
	return 0
}

// silentUntil returns when the last of the silences that hold e back ends; zero when there is none.
func (rs rules) silentUntil(e store.NoticeEvent) (end time.Time) {
	for _, s := range rs.silences {
		if isAbout(s, e) && s.EndsAt.After(end) {
			end = s.EndsAt
		}
	}
	return end
}

func isAbout(s store.Silence, e store.NoticeEvent) bool {
	is := func(want *int64, got int64) bool { return want == nil || *want == got }
	return is(s.AlarmID, e.AlarmID) && is(s.SensorID, e.SensorID) && is(s.GatewayID, e.GatewayID) &&
		has(s.Severities, e.Severity) && hasAll(e.Labels, s.Labels)
}

// has reports whether list has s; an empty one has everything.
func has(list []string, s string) bool { return len(list) == 0 || slices.Contains(list, s) }

func hasAll(labels, want store.LabelMap) bool {
	for name, value := range want {
		if got, ok := labels[name]; !ok || got != value {
			return false
		}
	}
	return true
}
