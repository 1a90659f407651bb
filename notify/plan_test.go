package notify_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// kinds returns kind and number of events of all deliveries, such as "notification:1 reminder:1".
func (p *fixture) kinds() string {
	var words []string
	for _, d := range p.deliveries() {
		words = append(words, fmt.Sprintf("%s:%d", d.Kind, d.EventCount))
	}
	return strings.Join(words, " ")
}

func TestRoute_SelectsEvents(t *testing.T) {
	tests := map[string]struct {
		route store.Route
		want  string
	}{
		"everything": {store.Route{}, "notification:3"},
		"a severity": {
			store.Route{Severities: []string{"minor"}}, "notification:1",
		},
		"a label": {
			store.Route{Labels: store.LabelMap{"line": "1"}}, "notification:2",
		},
		"a label that the alarm does not have": {
			store.Route{Labels: store.LabelMap{"motor": ""}}, "",
		},
		"a kind of event": {
			store.Route{Events: []string{"acknowledged"}}, "notification:1",
		},
		"severity and label": {
			store.Route{Severities: []string{"minor"}, Labels: store.LabelMap{"line": "1"}}, "",
		},
		"several severities": {
			store.Route{Severities: []string{"minor", "critical"}}, "notification:3",
		},
		"two labels, one wrong": {store.Route{Labels: store.LabelMap{"line": "1", "x": "y"}}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := newFixture(t)
			test.route.ChannelID = p.webhook(newReceiver(t, always(204)).URL).ID
			p.route(test.route)
			p.raise(1, 1)
			p.addEvents(1, 1, "acknowledged", acked, false)
			p.addEvents(1, 1, "cleared", "normal", false)
			p.raise(1, 2)
			p.addEvents(1, 2, "shelved", "shelved", true) // quiet: no notification
			p.addEvents(1, 2, "raised", "shelved", true)
			p.step(p.notifier(), noon)
			if got := p.kinds(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestReminders_UntilSomeoneActs(t *testing.T) {
	minute := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
	tests := map[string]struct {
		then func(p *fixture) // after 12 minutes
		want string           // of an hour
	}{
		"no one acts": {
			func(*fixture) {},
			"notification:1 reminder:1 escalation:1 reminder:1 reminder:1 reminder:1 reminder:1 " +
				"reminder:1",
		},
		"an acknowledgement": {
			func(p *fixture) { p.addEvents(1, 1, "acknowledged", acked, false) },
			"notification:1 reminder:1",
		},
		"it is cleared": {
			func(p *fixture) { p.addEvents(1, 1, "cleared", "returned_unacknowledged", false) },
			"notification:1 reminder:1 notification:1",
		},
		"it is shelved": {
			func(p *fixture) { p.addEvents(1, 1, "shelved", "shelved", true) },
			"notification:1 reminder:1",
		},
		"a comment changes nothing": {
			func(p *fixture) { p.addEvents(1, 1, "commented", unacked, false) },
			"notification:1 reminder:1 escalation:1 reminder:1 reminder:1 reminder:1 reminder:1 " +
				"reminder:1",
		},
		"it is raised again": {
			func(p *fixture) { p.raise(1, 1) },
			"notification:1 reminder:1 notification:1 reminder:1 escalation:1 reminder:1 " +
				"reminder:1 reminder:1",
		},
		"the alarm is deleted": {
			func(p *fixture) { p.run(`DELETE FROM alarms WHERE id = 1`) },
			"notification:1 reminder:1",
		},
		"the route is taken out of use": {
			func(p *fixture) { p.run(`UPDATE notification_routes SET is_active = false`) },
			"notification:1 reminder:1",
		},
		"it is silenced for half an hour": {func(p *fixture) {
			if _, err := p.store.CreateSilence(p.t.Context(),
				store.Silence{
					StartsAt:  minute(12),
					EndsAt:    minute(45),
					Labels:    store.LabelMap{"line": "1"},
					Reason:    "x",
					CreatedBy: "x",
				}); err != nil {
				p.t.Fatal(err)
			}
		}, "notification:1 reminder:1 escalation:1 reminder:1 reminder:1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := newFixture(t)
			r, boss := newReceiver(t, always(204)), newReceiver(t, always(204))
			escalation := p.webhook(boss.URL).ID
			p.route(store.Route{
				ChannelID:           p.webhook(r.URL).ID,
				RemindSeconds:       600,
				EscalateSeconds:     900,
				EscalationChannelID: &escalation,
			})
			n := p.notifier()
			p.raise(1, 1)
			for m := range 61 {
				if m == 12 {
					test.then(p)
				}
				p.step(n, minute(m))
			}
			if got := p.kinds(); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			if got, want := len(boss.all()), strings.Count(test.want, "escalation"); got != want {
				t.Errorf("escalation channel: got %d, want %d", got, want)
			}
		})
	}
}

func TestSilence_HoldsBackAndCountsEvents(t *testing.T) {
	p := newFixture(t)
	p.route(store.Route{ChannelID: p.webhook(newReceiver(t, always(204)).URL).ID})
	n := p.notifier()
	v, err := p.store.CreateSilence(t.Context(), store.Silence{
		StartsAt:   time.Now().Add(-time.Minute),
		EndsAt:     time.Now().Add(time.Hour),
		Severities: []string{"critical"},
		Reason:     "x",
		CreatedBy:  "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	p.raise(5, 1)
	p.raise(1, 2)
	p.step(n, time.Now())
	if got := p.kinds(); got != "notification:1" {
		t.Errorf("during the silence: got %q", got)
	}
	if v, err = p.store.EndSilence(t.Context(), v.ID, "operator"); err != nil ||
		v.EndedBy != "operator" || v.HeldBack != 5 {
		t.Errorf("ended early: got %+v, %v", v, err)
	}
	p.raise(1, 1)
	p.step(n, time.Now().Add(time.Second))
	if got := p.kinds(); got != "notification:1 notification:1" {
		t.Errorf("after its end: got %q", got)
	}
}
