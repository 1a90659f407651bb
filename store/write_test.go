package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/oei-ms/oei-ms/store"
)

func TestWrite(t *testing.T) {
	nan := math.NaN()
	bad := func(r store.Reading) store.Reading {
		r.Quality, r.StatusCode = store.Bad, 0x80000000
		return r
	}
	tests := map[string]struct {
		before, came []store.Reading
		outcomes     string
		stored       []store.Reading
	}{
		"nothing": {nil, nil, "[]", nil},
		"what is new is stored": {
			nil,
			[]store.Reading{reading(1, 0, 1), reading(1, 1, 2)},
			"[stored stored]",
			[]store.Reading{reading(1, 0, 1), reading(1, 1, 2)},
		},
		"in any order": {
			nil,
			[]store.Reading{reading(2, 1, 1), reading(1, 0, 2), reading(1, -1, 3)},
			"[stored stored stored]",
			[]store.Reading{reading(1, -1, 3), reading(1, 0, 2), reading(2, 1, 1)},
		},
		"the same again is a duplicate": {
			[]store.Reading{reading(1, 0, 1)},
			[]store.Reading{reading(1, 0, 1)},
			"[duplicate]",
			[]store.Reading{reading(1, 0, 1)},
		},
		"another value conflicts and the first stays": {
			[]store.Reading{reading(1, 0, 1)},
			[]store.Reading{reading(1, 0, 2)},
			"[conflict]",
			[]store.Reading{reading(1, 0, 1)},
		},
		"a duplicate and a conflict among new ones": {
			[]store.Reading{reading(1, 0, 1), reading(1, 1, 1)},
			[]store.Reading{
				reading(1, 2, 9), reading(1, 1, 2), reading(1, -3, 9), reading(1, 0, 1),
				reading(2, 0, 9),
			},
			"[stored conflict stored duplicate stored]",
			[]store.Reading{
				reading(1, -3, 9), reading(1, 0, 1), reading(2, 0, 9), reading(1, 1, 1),
				reading(1, 2, 9),
			},
		},
		"of several in one batch the first counts": {
			nil,
			[]store.Reading{reading(1, 0, 1), reading(1, 0, 1), reading(1, 0, 2), reading(1, 0, 1)},
			"[stored duplicate conflict duplicate]",
			[]store.Reading{reading(1, 0, 1)},
		},
		"of several in one batch none is new when one is there": {
			[]store.Reading{reading(1, 0, 2)},
			[]store.Reading{reading(1, 0, 1), reading(1, 0, 2), reading(1, 0, 1)},
			"[conflict duplicate conflict]",
			[]store.Reading{reading(1, 0, 2)},
		},
		"no value equals no value": {
			[]store.Reading{bad(reading(1, 0, nan))},
			[]store.Reading{bad(reading(1, 0, nan))},
			"[duplicate]",
			[]store.Reading{bad(reading(1, 0, nan))},
		},
		"no value is not a value": {
			[]store.Reading{reading(1, 0, nan)},
			[]store.Reading{reading(1, 0, 0)},
			"[conflict]",
			[]store.Reading{reading(1, 0, nan)},
		},
		"a value is not no value": {
			[]store.Reading{reading(1, 0, 0)},
			[]store.Reading{reading(1, 0, nan)},
			"[conflict]",
			[]store.Reading{reading(1, 0, 0)},
		},
		"no value twice in a batch": {
			nil,
			[]store.Reading{reading(1, 0, nan), reading(1, 0, nan), reading(1, 0, 1)},
			"[stored duplicate conflict]",
			[]store.Reading{reading(1, 0, nan)},
		},
		"the ends of what a float can be": {
			nil,
			[]store.Reading{
				reading(1, 0, math.MaxFloat64), reading(1, 1, -math.MaxFloat64),
				reading(1, 2, math.SmallestNonzeroFloat64),
			},
			"[stored stored stored]",
			[]store.Reading{
				reading(1, 0, math.MaxFloat64), reading(1, 1, -math.MaxFloat64),
				reading(1, 2, math.SmallestNonzeroFloat64),
			},
		},
		"the same value with another quality is there": {
			[]store.Reading{reading(1, 0, 1)},
			[]store.Reading{bad(reading(1, 0, 1))},
			"[duplicate]",
			[]store.Reading{reading(1, 0, 1)},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			if tt.before != nil {
				write(t, s, tt.before...)
			}
			if got := write(t, s, tt.came...); got != tt.outcomes {
				t.Errorf("outcomes: got %s, want %s", got, tt.outcomes)
			}
			if got, want := lines(all(t, s, 1, 2)), lines(tt.stored); !slices.Equal(got, want) {
				t.Errorf("stored: got\n%s\nwant\n%s", strings.Join(got, "\n"),
					strings.Join(want, "\n"))
			}
		})
	}
}

func TestLatest_OnlyMovesForward(t *testing.T) {
	s := open(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	steps := []struct {
		name  string
		write []store.Reading
		want  store.Reading
	}{
		{"the first", []store.Reading{reading(v.ID, 0, 1)}, reading(v.ID, 0, 1)},
		{"a later one", []store.Reading{reading(v.ID, 5, 2)}, reading(v.ID, 5, 2)},
		{"a late one", []store.Reading{reading(v.ID, 3, 3)}, reading(v.ID, 5, 2)},
		{"one of years ago", []store.Reading{reading(v.ID, -3*365*24*60, 3)}, reading(v.ID, 5, 2)},
		{"a conflict", []store.Reading{reading(v.ID, 5, 4)}, reading(v.ID, 5, 2)},
		{
			"the newest of a batch, wherever it is",
			[]store.Reading{reading(v.ID, 6, 1), reading(v.ID, 9, 2), reading(v.ID, 7, 3)},
			reading(v.ID, 9, 2),
		},
		{
			"a conflict newer than what is new in the batch",
			[]store.Reading{reading(v.ID, 9, 5), reading(v.ID, 8, 3)},
			reading(v.ID, 9, 2),
		},
		{
			"one without a value",
			[]store.Reading{reading(v.ID, 10, math.NaN())},
			reading(v.ID, 10, math.NaN()),
		},
		{"and back to one", []store.Reading{reading(v.ID, 11, 7)}, reading(v.ID, 11, 7)},
	}
	for _, step := range steps {
		write(t, s, step.write...)
		got, err := s.Latest(t.Context(), store.LatestQuery{Sensors: []int64{v.ID}, Limit: 1})
		if err != nil || len(got) != 1 || line(got[0]) != line(step.want) ||
			!got[0].Received.Equal(step.want.Received) || got[0].GatewayID != v.GatewayID {
			t.Errorf("%s: got %+v, %v, want %+v", step.name, got, err, step.want)
		}
	}
}

// TestWrite_ConcurrentWritersAgree has many writers offer the same keys with different values.
func TestWrite_ConcurrentWritersAgree(t *testing.T) {
	s := open(t)
	const writers, keys = 6, 60
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	type offer struct {
		r store.Reading
		o store.Outcome
	}
	offers := make([][]offer, writers)
	var wg sync.WaitGroup
	for w := range writers {
		rnd := rand.New(rand.NewPCG(seed, uint64(w)))
		wg.Go(func() {
			for range 8 {
				rs := make([]store.Reading, 0, keys)
				for range keys {
					rs = append(rs,
						reading(int64(rnd.IntN(6)+1), rnd.IntN(10), float64(rnd.IntN(3))))
				}
				res, err := s.Write(t.Context(), rs, store.SideWrites{})
				for store.Transient(err) { // a deadlock would be
					t.Errorf("writer %d: %v", w, err)
					res, err = s.Write(t.Context(), rs, store.SideWrites{})
				}
				if err != nil {
					t.Error(err)
					return
				}
				for i, r := range rs {
					offers[w] = append(offers[w], offer{r, res.Outcomes[i]})
				}
			}
		})
	}
	wg.Wait()
	type key struct {
		sensor int64
		at     int64
	}
	value := map[key]float64{}
	for _, r := range all(t, s, 1, 2, 3, 4, 5, 6) {
		k := key{r.SensorID, r.Timestamp.UnixMicro()}
		if _, twice := value[k]; twice {
			t.Errorf("twice: %s", line(r))
		}
		value[k] = r.Value
	}
	stored := map[key]int{}
	for _, o := range slices.Concat(offers...) {
		k := key{o.r.SensorID, o.r.Timestamp.UnixMicro()}
		there, known := value[k]
		want := store.Conflict
		if there == o.r.Value {
			want = store.Duplicate
		}
		if o.o == store.Stored {
			stored[k]++
			want = store.Stored
			known = known && there == o.r.Value
		}
		if !known || o.o != want {
			t.Errorf("%s: got %v with %v stored", line(o.r), o.o, there)
		}
	}
	for k := range value {
		if stored[k] != 1 {
			t.Errorf("%v: %d writers were told that they stored it", k, stored[k])
		}
	}
	for _, l := range must(s.Latest(t.Context(), store.LatestQuery{Limit: 10})) {
		t.Errorf("latest of a sensor that is not registered: %s", line(l))
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestWrite_AgainAfterAnUnknownCommit writes a batch again as ingest does when the answer to COMMIT
// was lost.
func TestWrite_AgainAfterAnUnknownCommit(t *testing.T) {
	s := open(t)
	rs := []store.Reading{reading(1, 0, 1), reading(1, 1, math.NaN()), reading(2, 0, 3)}
	if got := write(t, s, rs...); got != "[stored stored stored]" {
		t.Errorf("got %s", got)
	}
	if got := write(t, s, rs...); got != "[duplicate duplicate duplicate]" {
		t.Errorf("again: got %s", got)
	}
}

func TestWrite_ChecksForDuplicatesAfterARepetition(t *testing.T) {
	s := open(t)
	minute := 0
	fresh := func() {
		t.Helper()
		minute++
		if got := write(t, s, reading(1, minute, 1)); got != "[stored]" {
			t.Fatalf("minute %d: got %s", minute, got)
		}
	}
	fresh()
	if store.ExpectsRepetition(s) {
		t.Error("wary before anything came twice")
	}
	for range 3 { // by the way that trusts, then by the one that does not
		if got := write(t, s, reading(2, minute, 5), reading(1, minute, 1),
			reading(1, minute, 2)); got != "[stored duplicate conflict]" && got != "[duplicate "+
			"duplicate conflict]" {
			t.Errorf("came twice: got %s", got)
		}
		if !store.ExpectsRepetition(s) {
			t.Error("trusting after something came twice")
		}
	}
	fresh()
	if !store.ExpectsRepetition(s) {
		t.Error("one new batch is enough to be trusted again")
	}
	for range 100 {
		fresh()
	}
	if store.ExpectsRepetition(s) {
		t.Error("wary after 100 new batches")
	}
}

func TestWrite_IsOneTransaction(t *testing.T) {
	s, db := openRaw(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	write(t, s, reading(v.ID, 0, 1))
	g := store.Presence{GatewayID: v.GatewayID, Status: "online", At: noon}
	conflict := store.ConflictRecord{
		Rejection: &store.Rejection{Gateway: "g", Topic: "t", Reason: "conflict", At: noon},
		Payload:   []byte("2"),
	}
	res, err := s.Write(t.Context(), []store.Reading{reading(v.ID, 0, 2), reading(v.ID, 1, 2)},
		store.SideWrites{
			Conflicts: []store.ConflictRecord{conflict, conflict},
			Presence:  []store.Presence{g},
		})
	if err != nil || words(res.Outcomes) != "[conflict stored]" || len(res.Presence) != 1 {
		t.Errorf("got %+v, %v", res, err)
	}
	const recorded = `SELECT count(*) FROM rejections WHERE payload = '2' AND count = 1`
	if n := scan[int](t, db, recorded) + scan[int](t, db,
		`SELECT count(*) FROM gateways WHERE status = 'online'`); n != 2 {
		t.Errorf("rejections and presence: got %d, want 2", n)
	}

	g.Status = "broken" // the schema refuses it
	_, err = s.Write(t.Context(), []store.Reading{reading(v.ID, 2, 2)}, store.SideWrites{
		Rejections: []store.Rejection{{Gateway: "g", Topic: "t", Reason: "other", At: noon}},
		Presence:   []store.Presence{g},
	})
	isError(t, err, store.ErrInvalid)
	ctx, cancel := context.WithCancel(t.Context())
	p := pauseWrite(ctx, t, s, db, v.GatewayID, reading(v.ID, 3, 2))
	cancel()
	if err := p.resume(); err == nil {
		t.Error("a write that was cancelled succeeded")
	}
	if got := len(all(t, s, v.ID)); got != 2 {
		t.Errorf("readings: got %d, want 2", got)
	}
	if n := scan[int](t, db, `SELECT count(*) FROM rejections`); n != 1 {
		t.Errorf("rejections: got %d, want 1", n)
	}
	if l := must(s.Latest(t.Context(), store.LatestQuery{Limit: 1})); len(l) != 1 ||
		!l[0].Timestamp.Equal(reading(0, 1, 0).Timestamp) {
		t.Errorf("latest: got %v", l)
	}
}

// pausedWrite is a write whose transaction has evaluated the alarms of its readings, and has not
// written their states: it waits for a lock that the test holds on a gateway.
type pausedWrite struct {
	t    testing.TB
	db   *sql.DB
	lock *sql.Tx
	done chan error
}

func pauseWrite(
	ctx context.Context, t testing.TB, s *store.Store, db *sql.DB, gateway int64,
	readings ...store.Reading,
) *pausedWrite {
	t.Helper()
	lock, err := db.BeginTx(t.Context(), nil)
	ok(t, err)
	_, err = lock.ExecContext(t.Context(),
		`SELECT FROM gateways WHERE id = $1 FOR NO KEY UPDATE`, gateway)
	ok(t, err)
	p := &pausedWrite{t: t, db: db, lock: lock, done: make(chan error, 1)}
	go func() {
		_, err := s.Write(ctx, readings, store.SideWrites{
			Presence: []store.Presence{{GatewayID: gateway, Status: "online", At: noon}},
		})
		p.done <- err
	}()
	within(t, "the write waits for the gateway", func() bool {
		return scan[bool](t, db, `SELECT EXISTS (`+pausedWrites+`)`)
	})
	return p
}

const pausedWrites = `
	SELECT pid
	FROM pg_stat_activity
	WHERE wait_event_type = 'Lock' AND query LIKE '%UPDATE gateways g%'
		AND datname = current_database()`

// resume releases the lock and returns the error of the write.
func (p *pausedWrite) resume() error {
	p.t.Helper()
	ok(p.t, p.lock.Rollback())
	return <-p.done
}

// kill ends the connection of the write, which has to fail.
func (p *pausedWrite) kill() {
	p.t.Helper()
	run(p.t, p.db, `SELECT pg_terminate_backend(pid) FROM (`+pausedWrites+`) w`)
	if err := p.resume(); err == nil {
		p.t.Error("the write was committed without its connection")
	}
}

func TestErrors(t *testing.T) {
	s, db := openRaw(t)
	_ = s
	raise := func(code string) error {
		_, err := db.ExecContext(t.Context(),
			fmt.Sprintf(`DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '%s'; END $$`, code))
		return err
	}
	tests := map[string]struct {
		codes     []string
		want      error // nil: not a sentinel of store
		transient bool
	}{
		"the connection, the server, its resources and its disks": {
			[]string{
				"08006", "40001", "40P01", "53100", "53300", "55P03", "57014", "57P01", "57P03",
				"58030", "25006", "25P03",
			},
			store.ErrUnavailable, true,
		},
		"no partition": {[]string{"23514"}, store.ErrUnavailable, true},
		"a taken key":  {[]string{"23505"}, store.ErrConflict, false},
		"a reference":  {[]string{"23503"}, store.ErrInUse, false},
		"the data": {
			[]string{"22001", "22003", "22021", "22P02", "23502"}, store.ErrInvalid, false,
		},
		"our mistakes": {[]string{"42P01", "42501", "XX000", "0A000"}, nil, false},
	}
	for name, tt := range tests {
		for _, code := range tt.codes {
			raw := raise(code)
			err := store.Explain("op", raw)
			if !errors.Is(err, raw) || !strings.HasPrefix(err.Error(), "op: ") {
				t.Errorf("%s %s: got %v", name, code, err)
			}
			if got := store.Transient(err); got != tt.transient {
				t.Errorf("%s %s: transient: got %v", name, code, got)
			}
			for _, kind := range []error{
				store.ErrNotFound, store.ErrConflict, store.ErrInUse, store.ErrStale,
				store.ErrInvalid, store.ErrUnavailable,
			} {
				if got, want := errors.Is(err, kind), errors.Is(tt.want, kind); got != want {
					t.Errorf("%s %s: is %v: got %v", name, code, kind, got)
				}
			}
		}
	}
	if store.Explain("op", nil) != nil {
		t.Error("nil became an error")
	}
	canceled := store.Explain("op", context.Canceled)
	if store.Transient(canceled) || !errors.Is(canceled, context.Canceled) {
		t.Errorf("a caller that went away: got %v", canceled)
	}
	if late := store.Explain("op",
		context.DeadlineExceeded); !errors.Is(late, store.ErrUnavailable) {
		t.Errorf("a deadline: got %v", late)
	}
}
