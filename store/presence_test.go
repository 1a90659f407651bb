package store_test

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

func TestPresence(t *testing.T) {
	s := open(t)
	a, b := addGateway(t, s, "a"), addGateway(t, s, "b")
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	steps := []struct {
		name string
		set  []store.Presence
		want string // of a: status, seconds after noon, skew
	}{
		{"nothing", nil, "unknown"},
		{"online", []store.Presence{{GatewayID: a.ID, Status: "online", At: at(1)}}, "online 1"},
		{"only seen", []store.Presence{{GatewayID: a.ID, At: at(5)}}, "online 5"},
		{
			"seen earlier, by another instance",
			[]store.Presence{{GatewayID: a.ID, At: at(3)}},
			"online 5",
		},
		{
			"a skew",
			[]store.Presence{{GatewayID: a.ID, At: at(6), Skew: ptr(-1500 * time.Millisecond)}},
			"online 6 -1500",
		},
		{"the last of several counts", []store.Presence{
			{GatewayID: a.ID, Status: "online", At: at(7), Skew: ptr(time.Second)},
			{GatewayID: b.ID, At: at(1)},
			{GatewayID: a.ID, Status: "offline", At: at(8)},
			{GatewayID: 999, Status: "online", At: at(1)},
		}, "offline 8 1000"},
	}
	for _, step := range steps {
		must(s.SetPresence(t.Context(), step.set))
		g := must(s.Gateway(t.Context(), a.ID))
		got := g.Status
		if g.LastSeenAt != nil {
			got += fmt.Sprint(" ", g.LastSeenAt.Sub(noon).Seconds())
		}
		if g.ClockSkewMs != nil {
			got += fmt.Sprint(" ", *g.ClockSkewMs)
		}
		if got != step.want || g.Version != 1 {
			t.Errorf("%s: got %q version %d, want %q", step.name, got, g.Version, step.want)
		}
	}
	// our own clock jumps, and is put right
	for _, ahead := range []time.Duration{time.Hour, 0, -time.Hour, time.Second} {
		at := time.Now().Add(ahead).Truncate(time.Microsecond)
		before := must(s.Gateway(t.Context(), a.ID)).LastSeenAt
		must(s.SetPresence(t.Context(), []store.Presence{{GatewayID: a.ID, At: at}}))
		want := at
		if ahead < 0 {
			want = *before
		}
		if got := must(s.Gateway(t.Context(), a.ID)).LastSeenAt; !got.Equal(want) {
			t.Errorf("a clock %v ahead: got %v, want %v", ahead, got, want)
		}
	}
	ok(t, s.ResetPresence(t.Context(), false))
	if g := must(s.Gateway(t.Context(), a.ID)); g.Status != "unknown" || g.LastSeenAt == nil {
		t.Errorf("reset: got %+v", g)
	}
}

// TestPresence_OfInstances has two instances hear of one gateway, in the order in which they commit
// it and not that in which it happened.
func TestPresence_OfInstances(t *testing.T) {
	dsn := pgtest.DSN(t) + durable
	a, b := openAt(t, dsn), openAt(t, dsn)
	g := addGateway(t, a, "g")
	type word struct {
		status string
		second int
		link   store.Link
	}
	const up, down, by, other = store.LinkUp, store.LinkDown, store.Linked, store.NoLink
	steps := []struct {
		name    string
		at      *store.Store
		words   []word
		want    string
		changed bool
	}{
		{"it connects to A", a, []word{{"online", 1, up}}, "online", true},
		{"it moves to B", b, []word{{"online", 2, up}}, "online", false},
		{"A sees late that it is gone", a, []word{{"offline", 9, down}}, "online", false},
		{"its will at A comes late", a, []word{{"offline", 10, down}}, "online", false},
		{"it says at B that it goes", b, []word{{"offline", 11, by}}, "offline", true},
		{"what A has heard before", a, []word{{"online", 10, by}}, "offline", false},
		{"what A has heard since", a, []word{{"online", 12, by}}, "online", true},
		{"A says nothing new", a, []word{{"online", 13, by}}, "online", false},
		{
			"its connection to B, where it was last, ends", b,
			[]word{{"offline", 14, down}},
			"offline", true,
		},
		{
			"it is connected to A still, as its readings say", a,
			[]word{{"online", 15, by}},
			"online", true,
		},
		{"and gone from there", a, []word{{"offline", 16, down}}, "offline", true},
		{"it comes to B, whose clock is behind", b, []word{{"online", 3, up}}, "online", true},
		{
			"it comes to A and goes, in one transaction", a,
			[]word{{"online", 20, up}, {"offline", 21, down}},
			"offline", true,
		},
		{"it comes to A again", a, []word{{"online", 22, up}}, "online", true},
		{
			"and is there by way of another broker too", b,
			[]word{{"online", 23, other}},
			"online",
			false,
		},
		{
			"it goes from A and comes back, in one transaction", a,
			[]word{{"offline", 24, down}, {"online", 25, up}},
			"online", false,
		},
	}
	for _, step := range steps {
		var ps []store.Presence
		for _, w := range step.words {
			ps = append(ps,
				store.Presence{
					GatewayID: g.ID,
					Status:    w.status,
					At:        noon.Add(time.Duration(w.second) * time.Second),
					Link:      w.link,
				})
		}
		changed := must(step.at.SetPresence(t.Context(), ps))
		if got := must(a.Gateway(t.Context(), g.ID)).Status; got != step.want {
			t.Errorf("%s: got %s, want %s", step.name, got, step.want)
		}
		if len(changed) > 0 != step.changed || step.changed && changed[0].Status != step.want {
			t.Errorf("%s: got %v as changed, want %v", step.name, changed, step.changed)
		}
	}
}

func TestPresence_OfADeadInstance(t *testing.T) {
	dsn := pgtest.DSN(t) + durable
	db, err := sql.Open("postgres", dsn)
	ok(t, err)
	defer db.Close()
	a, b := openAt(t, dsn), openAt(t, dsn)
	var ids []int64
	for i, at := range []*store.Store{a, b} {
		g := addGateway(t, at, fmt.Sprint("g", i))
		ids = append(ids, g.ID)
		_, missed, err := at.BeatInstance(t.Context())
		if err != nil || missed {
			t.Fatalf("the first time: missed %v, %v", missed, err)
		}
		must(at.SetPresence(t.Context(),
			[]store.Presence{{GatewayID: g.ID, Status: "online", At: noon, Link: store.LinkUp}}))
	}
	statuses := func() string {
		return must(a.Gateway(t.Context(), ids[0])).Status + " " + must(a.Gateway(t.Context(),
			ids[1])).Status
	}
	wants := func(name, want string) {
		t.Helper()
		if got := statuses(); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	silent := func() { run(t, db, `UPDATE instances SET beat_at = beat_at - interval '1 minute'`) }

	ok(t, a.ResetPresence(t.Context(), false))
	wants("one starts while others run", "online online")
	silent()
	// before it looks for others it is there itself
	lost, missed, err := b.BeatInstance(t.Context())
	if err != nil || missed || len(lost) != 1 || lost[0].GatewayID != ids[0] ||
		lost[0].Status != "unknown" {
		t.Errorf("A was silent: got %v, missed %v, %v", lost, missed, err)
	}
	wants("A was silent", "unknown online")
	if lost, missed, err := a.BeatInstance(t.Context()); err != nil || !missed || len(lost) > 0 {
		t.Errorf("A comes back: got %v, missed %v, %v", lost, missed, err)
	}
	must(a.SetPresence(t.Context(),
		[]store.Presence{{
			GatewayID: ids[0],
			Status:    "online",
			At:        time.Now(),
			Link:      store.Linked,
		}}))
	silent()
	ok(t, a.ResetPresence(t.Context(), false))
	wants("one starts where none is", "unknown unknown")
	for i, at := range []*store.Store{a, b} {
		must(at.SetPresence(t.Context(),
			[]store.Presence{
				{GatewayID: ids[i], Status: "online", At: time.Now(), Link: store.LinkUp},
			}))
	}
	if lost := must(a.RemoveInstance(t.Context())); len(lost) != 1 || lost[0].GatewayID != ids[0] {
		t.Errorf("A leaves: got %v", lost)
	}
	wants("A leaves", "unknown online")
	must(b.SetPresence(t.Context(),
		[]store.Presence{{
			GatewayID: ids[0],
			Status:    "online",
			At:        time.Now(),
			Link:      store.LinkUp,
		}}))
	wants("its gateway comes to B", "online online")
	if lost := must(a.RemoveInstance(t.Context())); len(lost) > 0 {
		t.Errorf("A leaves again: got %v", lost)
	}
	ok(t, a.ResetPresence(t.Context(), true))
	wants("one starts that is alone", "unknown unknown")
}

// TestPresence_InConcurrentTransactions has instances write about the same gateways at once: none
// waits for another in a circle.
func TestPresence_InConcurrentTransactions(t *testing.T) {
	dsn := pgtest.DSN(t) + durable
	a, b := openAt(t, dsn), openAt(t, dsn)
	var ps [2][]store.Presence
	for i := range 20 {
		g := addGateway(t, a, fmt.Sprint("g", i))
		p := store.Presence{GatewayID: g.ID, Status: "online", At: time.Now(), Link: store.LinkUp}
		ps[0], ps[1] = append(ps[0], p), append([]store.Presence{p}, ps[1]...)
	}
	errs := make(chan error, 4)
	for i, s := range []*store.Store{a, b, a, b} {
		go func() {
			var err error
			for n := 0; n < 50 && err == nil; n++ {
				_, err = s.SetPresence(t.Context(), ps[i%2])
			}
			errs <- err
		}()
	}
	for range 4 {
		ok(t, <-errs)
	}
}
