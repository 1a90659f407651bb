package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

// hourChanged is a change as tests write it: "1 2026-03-04T12", "1 all" for all hours.
func hourChanged(c store.Change) string {
	if c.Hour.IsZero() {
		return fmt.Sprintf("%d all", c.SensorID)
	}
	return fmt.Sprintf("%d %s", c.SensorID, c.Hour.Format("2006-01-02T15"))
}

// watcher reads changes repeatedly, each time since the Xmin of the time before.
type watcher struct {
	t     *testing.T
	s     *store.Store
	since uint64
	last  store.Changes
	seen  map[store.Change]bool
}

func watchChanges(t *testing.T, s *store.Store) *watcher {
	w := &watcher{t: t, s: s, seen: map[store.Change]bool{}}
	w.look()
	return w
}

// look returns what has changed since the last look, in order and each once.
func (w *watcher) look() []string {
	w.t.Helper()
	found, err := w.s.Changes(w.t.Context(), w.since, 1000)
	if err != nil || found.More || !found.Marked {
		w.t.Fatalf("got %+v, %v", found, err)
	}
	w.since, w.last = found.Xmin, found
	list := []string{}
	for _, c := range found.List {
		if !w.seen[c] { // as long as an older transaction is open, they come again
			list = append(list, hourChanged(c))
		}
		w.seen[c] = true
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (w *watcher) want(what string, want ...string) {
	w.t.Helper()
	if got := w.look(); !slices.Equal(got, want) {
		w.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// rolledUp has all hours before now be over and known to be.
func rolledUp(t *testing.T, s *store.Store) {
	t.Helper()
	if _, _, err := s.RollUp(t.Context(), 1000); err != nil {
		t.Fatal(err)
	}
}

func TestChanges_OfHoursThatAreOver(t *testing.T) {
	s, db := openRaw(t)
	store.RollUpAtOnce(s)
	g := addGateway(t, s, "g")
	a, b := addSensor(t, s, g.ID, "a").ID, addSensor(t, s, g.ID, "b").ID
	rolledUp(t, s)
	w := watchChanges(t, s)
	write(t, s, reading(a, 0, 1), reading(a, 59, 1), reading(a, 60, 1), reading(b, -1, 1))
	w.want("late readings", "1 2026-03-04T12", "1 2026-03-04T13", "2 2026-03-04T11")
	w.want("nothing more")
	write(t, s, reading(a, 0, 1))
	w.want("a duplicate")
	now := time.Now().UTC()
	write(t, s, store.Reading{SensorID: a, Timestamp: now, Received: now, Value: 1})
	w.want("what is measured now")

	write(t, s, reading(a, 120, 1))
	rolledUp(t, s)
	rolledUp(t, s)
	w.want("what rollups have taken", "1 2026-03-04T14")
	if n := scan[int](t, db, `SELECT count(*) FROM late_changes`); n != 2 {
		t.Errorf("rows: got %d, want 2: live readings are not late", n)
	}

	if _, err := s.DeleteReadings(t.Context(), a, noon, noon.Add(time.Hour), false); err != nil {
		t.Fatal(err)
	}
	w.want("a deletion", "1 2026-03-04T12")
	if _, err := s.DeleteSensor(t.Context(), b, 0, false); err != nil {
		t.Fatal(err)
	}
	w.want("a sensor's deletion", "2 all")
	ok(t, s.EnforceRetention(t.Context(), time.Now(), func(store.RetentionStep) {}))
	w.want("retention that is for ever")
}

func TestChanges_OfADroppedPartition(t *testing.T) {
	dsn := pgtest.DSN(t) + durable
	s := openWith(t, dsn, func(c *store.Config) { c.Retention = 24 * time.Hour })
	a := addSensor(t, s, addGateway(t, s, "g").ID, "a").ID
	at := time.Now().UTC().Truncate(24 * time.Hour).Add(-70 * time.Hour)
	write(t, s, store.Reading{SensorID: a, Timestamp: at, Received: at, Value: 1})
	rolledUp(t, s)
	w := watchChanges(t, s)
	ok(t, s.EnforceRetention(t.Context(), time.Now(), func(store.RetentionStep) {}))
	got := w.look()
	if first := "0 " + at.Truncate(24*time.Hour).Format("2006-01-02T15"); len(got) != 24 ||
		got[0] != first {
		t.Errorf("got %q, want 24 hours from %s on", got, first)
	}
}

// TestChanges_OfATransactionThatEndsLate has a transaction that begins before many others and ends
// after them.
func TestChanges_OfATransactionThatEndsLate(t *testing.T) {
	s, db := openRaw(t)
	store.RollUpAtOnce(s)
	addSensor(t, s, addGateway(t, s, "g").ID, "a")
	rolledUp(t, s)
	w := watchChanges(t, s)
	slow, err := db.BeginTx(t.Context(), nil)
	ok(t, err)
	defer slow.Rollback()
	mark(t, slow, 1, noon)
	for i := range 3 {
		write(t, s, reading(1, 60*(i+1), 1))
		rolledUp(t, s)
		w.look()
	}
	ok(t, slow.Commit())
	rolledUp(t, s)
	if got := w.look(); !slices.Contains(got, "1 2026-03-04T12") {
		t.Errorf("got %q", got)
	}
	w.want("once it was seen")
}

// mark marks an hour as the transaction of ingest that changes it does.
func mark(t *testing.T, tx *sql.Tx, sensor int64, hour time.Time) {
	t.Helper()
	const q = `
		INSERT INTO rollup_marks (oldest, sensors, hours)
		VALUES ($1, ARRAY[$2::int], ARRAY[$1::timestamptz])`
	if _, err := tx.ExecContext(t.Context(), q, hour, sensor); err != nil {
		t.Fatal(err)
	}
}

func TestChanges_AreDeletedAfterAWhile(t *testing.T) {
	s, db := openRaw(t)
	store.RollUpAtOnce(s)
	addSensor(t, s, addGateway(t, s, "g").ID, "a")
	rolledUp(t, s)
	w := watchChanges(t, s)
	before := w.since
	age := func(want int) { // the others on this server may hold things up
		t.Helper()
		left := -1
		for range 200 {
			run(t, db, `UPDATE late_changes SET at = now() - interval '2 minutes'`)
			rolledUp(t, s)
			if left = scan[int](t, db, `SELECT count(*) FROM late_changes`); left == want {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatalf("left over: %d, want %d", left, want)
	}
	write(t, s, reading(1, 0, 1))
	age(0)
	first, err := db.BeginTx(t.Context(), nil)
	ok(t, err)
	defer first.Rollback()
	mark(t, first, 1, noon.Add(-5*time.Hour))
	second, err := db.BeginTx(t.Context(), nil)
	ok(t, err)
	defer second.Rollback()
	mark(t, second, 1, noon.Add(-6*time.Hour))
	ok(t, second.Commit())
	age(1) // it began behind one that is not over
	w.look()
	if w.last.DeletedThrough < before {
		t.Errorf("deleted through %d, want at least %d", w.last.DeletedThrough, before)
	}
	w = watchChanges(t, s)
	w.since, w.seen = w.last.DeletedThrough+1, map[store.Change]bool{}
	w.want("what has not gone", "1 2026-03-04T06")
	ok(t, first.Commit())
	w.want("what came late", "1 2026-03-04T07")
	age(0)
}

func TestChanges_AfterRollupsWereOff(t *testing.T) {
	dsn := pgtest.DSN(t) + durable
	on := openAt(t, dsn)
	if _, err := on.PrepareRollups(t.Context()); err != nil {
		t.Fatal(err)
	}
	addSensor(t, on, addGateway(t, on, "g").ID, "a")
	w := watchChanges(t, on)
	off := openWith(t, dsn, func(c *store.Config) { c.Rollups = false })
	if _, err := off.PrepareRollups(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, off, reading(1, 0, 1))
	if found, err := on.Changes(t.Context(), 0, 1); err != nil || found.Marked {
		t.Errorf("while they are off: got %+v, %v", found, err)
	}
	if _, err := on.PrepareRollups(t.Context()); err != nil {
		t.Fatal(err)
	}
	since := w.since
	w.look()
	if w.last.DeletedThrough < since {
		t.Errorf("deleted through %d, want at least %d", w.last.DeletedThrough, since)
	}
}

func TestChanges_AreLimited(t *testing.T) {
	s, _ := openRaw(t)
	addSensor(t, s, addGateway(t, s, "g").ID, "a")
	rolledUp(t, s)
	for i := range 5 {
		write(t, s, reading(1, 60*i, 1))
	}
	for limit, more := range map[int]bool{4: true, 5: false} {
		if found, err := s.Changes(context.Background(), 0, limit); err != nil ||
			len(found.List) != limit || found.More != more {
			t.Errorf("%d: got %+v, %v", limit, found, err)
		}
	}
}
