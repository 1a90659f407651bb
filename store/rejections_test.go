package store_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

// record records rs as a batch does, keeping most of each gateway.
func record(t testing.TB, s *store.Store, most int, rs ...store.Rejection) {
	t.Helper()
	_, err := s.Write(t.Context(), nil,
		store.SideWrites{Rejections: rs, MaxRejections: most})
	ok(t, err)
}

// refusal is a rejection of gateway id, at so many seconds after noon.
func refusal(gateway int64, payload string, second int) store.Rejection {
	return store.Rejection{
		GatewayID: gateway,
		Gateway:   fmt.Sprint("g", gateway),
		Topic:     fmt.Sprintf("gateways/g%d/data", gateway),
		Reason:    "malformed",
		Detail:    "d",
		Payload:   []byte(payload), At: noon.Add(time.Duration(second) * time.Second),
	}
}

// A flood keeps one payload of each kind and counts every refusal; what is no flood keeps each.
func TestRejections_FoldAFlood(t *testing.T) {
	tests := map[string]struct {
		each int // refusals of each of two gateways, every payload another, in one transaction
		want string
	}{
		"no flood keeps each payload": {
			16, "g1 16 entries 16 in all 0 folded, g2 16 entries 16 in all 0 folded",
		},
		"a flood keeps one of a kind": {
			17, "g1 2 entries 17 in all 16 folded, g2 2 entries 17 in all 16 folded",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, db := openRaw(t)
			var rs []store.Rejection
			for i := range tt.each {
				rs = append(rs, refusal(1, fmt.Sprint("x", i), i),
					refusal(2, fmt.Sprint("y", i), i))
			}
			record(t, s, 0, rs...)
			const q = `
				SELECT string_agg(
					format('%s %s entries %s in all %s folded', gateway, n, total, folded),
					', ' ORDER BY gateway)
				FROM (
					SELECT gateway, count(*) AS n, sum(count) AS total,
						coalesce(sum(count) FILTER (WHERE folded), 0) AS folded
					FROM rejections
					GROUP BY 1) r`
			if got := scan[string](t, db, q); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			record(t, s, 0, rs...) // the same kinds again go to the same entries
			if got, want := scan[int](t, db,
				`SELECT sum(count) FROM rejections`), 4*tt.each; got != want {
				t.Errorf("counted: got %d, want %d", got, want)
			}
			if got, want := scan[int](t, db, `SELECT count(*) FROM rejections WHERE folded`), len(
				rs,
			)/34*2; got != want {
				t.Errorf("folded entries: got %d, want %d", got, want)
			}
		})
	}
}

// What differs only in bytes that text cannot hold, or in the gateway's id, is one entry also
// within a transaction.
func TestRejections_OfOneEntryInOneTransaction(t *testing.T) {
	s, db := openRaw(t)
	a, b := refusal(1, "a", 1), refusal(1, "a", 2)
	a.Topic, b.Topic, b.GatewayID = "t\xff", "t\xfe", 2
	record(t, s, 0, a, b)
	if got := scan[int](t, db, `SELECT count FROM rejections`); got != 2 {
		t.Errorf("counted: got %d, want 2", got)
	}
}

func TestRejections(t *testing.T) {
	s, db := openRaw(t)
	record := func(rs ...store.Rejection) { t.Helper(); record(t, s, 0, rs...) }
	rejection := func(payload string, second int) store.Rejection {
		return store.Rejection{
			Gateway: "g",
			Topic:   "gateways/g/data",
			Reason:  "malformed",
			Detail:  "d" + fmt.Sprint(second),
			Payload: []byte(payload),
			At:      noon.Add(time.Duration(second) * time.Second),
		}
	}
	record(rejection("a", 1), rejection("b", 2), rejection("a", 3))
	record(rejection("a", 9))
	const q = `
		SELECT string_agg(
			format('%s %s %s %s %s', payload, count, extract(second FROM first_at)::int,
				extract(second FROM last_at)::int, detail), ', ' ORDER BY payload)
		FROM rejections`
	if got, want := scan[string](t, db, q), `\x61 3 1 9 d9, \x62 1 2 2 d2`; got != want {
		t.Errorf("counted: got %q, want %q", got, want)
	}

	rnd := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 60_000)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	hostile := map[string]store.Rejection{
		"a NUL": {
			Gateway: "n\x00",
			Topic:   "a\x00b",
			Reason:  "r",
			Detail:  "\x00",
			Payload: []byte{0},
		},
		"bytes that are no UTF-8": {
			Gateway: "n\xff",
			Topic:   "a\xc0\xaf",
			Reason:  "r",
			Detail:  "\xed\xa0\x80",
			Payload: []byte{0xff},
		},
		"a long topic":            {Gateway: "n", Topic: string(noise), Reason: "r", Payload: nil},
		"a long topic of letters": {Gateway: "n", Topic: strings.Repeat("ä", 30_000), Reason: "r"},
		"a large payload":         {Gateway: "n", Topic: "t", Reason: "r", Payload: noise},
		"quotes and braces": {
			Gateway: `"{`,
			Topic:   `\"',{}`,
			Reason:  "r",
			Detail:  `NULL`,
			Payload: []byte(`\x`),
		},
		"nothing": {},
		"a payload of an unknown gateway": {
			Gateway: "n",
			Topic:   "NULL",
			Reason:  "r",
			Payload: []byte("NULL"),
		},
	}
	for name, r := range hostile {
		t.Run(name, func(t *testing.T) {
			r.At = noon
			before := scan[int](t, db, `SELECT count(*) FROM rejections`)
			record(r)
			record(r)
			if n := scan[int](t, db, `SELECT count(*) FROM rejections`); n != before+1 {
				t.Errorf("rows: got %d more, want 1", n-before)
			}
		})
	}
	if n := scan[int](t, db, `SELECT max(length(payload)) FROM rejections`); n != 4096 {
		t.Errorf("kept of a payload: got %d bytes", n)
	}
	if n := scan[int](t, db, `SELECT max(payload_size) FROM rejections`); n != len(noise) {
		t.Errorf("size of a payload: got %d bytes", n)
	}
}

// kept is the payloads that are kept, by gateway, oldest first. It fails the test when the counts
// say otherwise.
func kept(t testing.TB, db *sql.DB) string {
	t.Helper()
	const miscounted = `
		SELECT count(*)
		FROM (SELECT gateway_id, count(*) AS n FROM rejections GROUP BY gateway_id) r
		FULL JOIN rejection_counts c ON c.gateway_id = r.gateway_id
		WHERE c.kept IS DISTINCT FROM r.n`
	if n := scan[int](t, db, miscounted); n != 0 {
		t.Errorf("the counts of %d gateways are wrong", n)
	}
	return scan[string](t, db, `
		SELECT coalesce(string_agg(gateway_id || ' ' || payloads, ', ' ORDER BY gateway_id), '')
		FROM (
			SELECT gateway_id,
				string_agg(convert_from(payload, 'utf8'), '' ORDER BY last_at, id) AS payloads
			FROM rejections
			GROUP BY gateway_id) r`)
}

func TestRejections_KeepTheNewestOfEachGateway(t *testing.T) {
	s, db := openRaw(t)
	steps := []struct {
		name string
		came []store.Rejection
		want string
	}{
		{
			"up to the most",
			[]store.Rejection{refusal(1, "a", 1), refusal(1, "b", 2), refusal(1, "c", 3)},
			"1 abc",
		},
		{"the oldest gives way", []store.Rejection{refusal(1, "d", 4)}, "1 bcd"},
		{
			"one that comes again is no longer the oldest",
			[]store.Rejection{refusal(1, "b", 5), refusal(1, "e", 6)},
			"1 dbe",
		},
		{
			"a repeated rejection displaces no other",
			[]store.Rejection{refusal(1, "d", 7), refusal(1, "d", 8)},
			"1 bed",
		},
		{
			"another gateway has a place of its own",
			[]store.Rejection{refusal(2, "x", 1), refusal(1, "f", 9), refusal(2, "y", 2)},
			"1 edf, 2 xy",
		},
		{"all that are not registered share one", []store.Rejection{
			{Gateway: "p", Payload: []byte("p"), At: noon},
			{Gateway: "q", Payload: []byte("q"), At: noon},
			{Payload: []byte("r"), At: noon.Add(time.Millisecond)},
			{Gateway: "s", Payload: []byte("s"), At: noon.Add(time.Second)},
			{Gateway: "t", Payload: []byte("t"), At: noon.Add(2 * time.Second)},
		}, "0 rst, 1 edf, 2 xy"},
		{
			"more at once than are kept",
			[]store.Rejection{
				refusal(2, "1", 11), refusal(2, "2", 12), refusal(2, "3", 13), refusal(2, "4", 14),
				refusal(2, "5", 15),
			},
			"0 rst, 1 edf, 2 345",
		},
		{
			"one that is late is the oldest",
			[]store.Rejection{refusal(1, "l", 0)},
			"0 rst, 1 edf, 2 345",
		},
	}
	for _, step := range steps {
		record(t, s, 3, step.came...)
		if got := kept(t, db); got != step.want {
			t.Errorf("%s: got %s, want %s", step.name, got, step.want)
		}
	}
	record(t, s, 1, refusal(1, "n", 20))
	if got, want := kept(t, db), "0 rst, 1 n, 2 345"; got != want {
		t.Errorf("with a lower setting: got %s, want %s", got, want)
	}
}

func TestRejections_KeepTheMaximumWithoutDeadlocks(t *testing.T) {
	s, db := openRaw(t)
	const writers, rounds, most = 6, 15, 20
	var wg sync.WaitGroup
	for w := range writers {
		rnd := rand.New(rand.NewPCG(7, uint64(w)))
		wg.Go(func() {
			for round := range rounds {
				var rs []store.Rejection
				for range 30 {
					rs = append(rs, refusal(int64(rnd.IntN(4)), fmt.Sprint(rnd.IntN(60)), round))
				}
				_, err := s.Write(t.Context(), nil,
					store.SideWrites{Rejections: rs, MaxRejections: most})
				if err != nil { // a deadlock would be
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}
	wg.Go(func() {
		for range rounds {
			if err := s.DeleteExpiredRejections(t.Context(), time.Hour); err != nil {
				t.Errorf("sweep: %v", err)
			}
		}
	})
	wg.Wait()
	// what two at once left to the next
	record(t, s, most, refusal(0, "z", 99), refusal(1, "z", 99), refusal(2, "z", 99),
		refusal(3, "z", 99))
	kept(t, db)
	if n := scan[int](t, db, `SELECT coalesce(max(kept), 0) FROM rejection_counts`); n > most {
		t.Errorf("kept of one gateway: got %d, want at most %d", n, most)
	}
}

func TestDeleteExpiredRejections(t *testing.T) {
	s, db := openRaw(t)
	g, gone := addGateway(t, s, "g"), addGateway(t, s, "gone")
	for _, id := range []int64{0, g.ID, gone.ID} {
		record(t, s, 0, refusal(id, "a", 0), refusal(id, "b", 1), refusal(id, "c", 2))
	}
	run(t, db, `
		UPDATE rejections
		SET last_at = now() - CASE convert_from(payload, 'utf8')
			WHEN 'c' THEN interval '29 days'
			ELSE interval '31 days' END`)
	must(s.DeleteGateway(t.Context(), gone.ID, 0, true, false))
	ok(t, s.DeleteExpiredRejections(t.Context(), 30*24*time.Hour))
	if got, want := kept(t, db), fmt.Sprintf("0 c, %d c", g.ID); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	run(t, db, `
		INSERT INTO rejections (gateway_id, gateway, topic, reason, detail, payload, payload_size,
			hash, first_at, last_at)
		SELECT $1, 'g', 't', 'r', '', '', 0, int8send(i), now(), now() - interval '2 hours'
		FROM generate_series(1, 2500) i`, g.ID)
	run(t, db, `UPDATE rejection_counts SET kept = kept + 2500 WHERE gateway_id = $1`, g.ID)
	ok(t, s.DeleteExpiredRejections(t.Context(), time.Hour))
	if got := kept(t, db); got != "" {
		t.Errorf("several thousand: got %s, want none left", got)
	}
	ok(t, s.DeleteExpiredRejections(t.Context(), time.Hour))
}

func TestRejections_AreListedNewestFirst(t *testing.T) {
	s := open(t)
	addGateway(t, s, "g1")
	addGateway(t, s, "g2")
	record(t, s, 0, refusal(1, "a", 1), refusal(1, "b", 2)) // and before it was registered:
	record(t, s, 0,
		store.Rejection{
			Gateway: "g1",
			Topic:   "elsewhere",
			Reason:  "unknown_topic",
			Payload: []byte("c"),
			At:      noon.Add(2 * time.Second),
		})
	record(t, s, 0, refusal(2, "d", 3))
	record(t, s, 0,
		store.Rejection{
			Gateway: "g3",
			Topic:   "elsewhere",
			Reason:  "unknown_gateway",
			Payload: []byte("e"),
			At:      noon.Add(4 * time.Second),
		})
	at := func(second int) *time.Time { return ptr(noon.Add(time.Duration(second) * time.Second)) }
	tests := map[string]struct {
		f    store.RejectionFilter
		want string
	}{
		"all":                      {store.RejectionFilter{}, "edcba"},
		"by the gateway's key":     {store.RejectionFilter{Gateway: ptr("g1")}, "cba"},
		"by what a topic said":     {store.RejectionFilter{Gateway: ptr("g3")}, "e"},
		"by the gateway's id":      {store.RejectionFilter{GatewayID: ptr[int64](1)}, "ba"},
		"by reason":                {store.RejectionFilter{Reason: ptr("malformed")}, "dba"},
		"by topic":                 {store.RejectionFilter{Topic: ptr("elsewhere")}, "ec"},
		"by time, without the end": {store.RejectionFilter{Start: at(2), End: at(3)}, "cb"},
		"by everything": {
			store.RejectionFilter{
				Gateway:   ptr("g2"),
				GatewayID: ptr[int64](2),
				Reason:    ptr("malformed"),
				Topic:     ptr("gateways/g2/data"),
				Start:     at(3),
				End:       at(4),
			},
			"d",
		},
		"by what there is not": {
			store.RejectionFilter{Gateway: ptr("g1"), GatewayID: ptr[int64](2)}, "",
		},
	}
	for name, tt := range tests {
		for limit := 1; limit < 6; limit++ {
			got := ""
			var after *time.Time
			var afterID int64
			for {
				page := must(s.Rejections(t.Context(), tt.f, after, afterID, limit))
				for _, r := range page {
					got += string(r.Payload)
					after, afterID = &r.LastAt, r.ID
				}
				if len(page) < limit {
					break
				}
			}
			if n := must(s.CountRejections(t.Context(), tt.f)); got != tt.want ||
				n != int64(len(tt.want)) {
				t.Errorf("%s, %d on a page: got %q and a count of %d, want %q", name, limit, got, n,
					tt.want)
			}
		}
	}
	if rs := must(s.Rejections(t.Context(), store.RejectionFilter{Topic: ptr("elsewhere")}, nil, 0,
		1)); rs[0].GatewayID != nil || rs[0].Gateway != "g3" {
		t.Errorf("a gateway that is not registered: got %+v", rs[0])
	}
	must(s.UpdateGateway(t.Context(), 1, 0, store.GatewayChange{Key: ptr("new")}))
	if rs := must(s.Rejections(t.Context(), store.RejectionFilter{Gateway: ptr("new")}, nil, 0,
		10)); len(rs) != 2 {
		t.Errorf("a gateway with a new key: got %+v, want those of its old one", rs)
	}
}

func TestRejections_AfterMigratingDownAndUp(t *testing.T) {
	dsn := pgtest.DSN(t) + durable
	db := must(sql.Open("postgres", dsn))
	defer db.Close()
	s := openAt(t, dsn)
	record(t, s, 2, refusal(1, "1", 1), refusal(1, "4", 4), refusal(0, "2", 2))
	const gateways = 21 // the version before the rejections'
	ok(t, store.MigrateTo(t.Context(), dsn, gateways))
	ok(t, store.MigrateTo(t.Context(), dsn, store.NewestSchemaVersion()))
	if got := kept(t, db); got != "" {
		t.Errorf("after down and up: got %s, want none", got)
	}
	record(t, s, 2, refusal(1, "7", 7), refusal(1, "5", 5), refusal(1, "3", 3), refusal(0, "8", 8))
	if got, want := kept(t, db), "0 8, 1 57"; got != want {
		t.Errorf("recorded afterwards: got %s, want %s", got, want)
	}
}

// BenchmarkRejections writes transactions of 1,000 readings of 100 gateways, with which 100
// different samples are rejected.
func BenchmarkRejections(b *testing.B) {
	const gateways, most = 100, 1000
	for name, full := range map[string]bool{
		"none": false, "below the most": false, "the oldest give way": true,
	} {
		b.Run(name, func(b *testing.B) {
			s, db := openRaw(b)
			if full {
				run(b, db, `
					INSERT INTO rejections (gateway_id, gateway, topic, reason, detail, payload,
						payload_size, hash, first_at, last_at)
					SELECT g, 'g' || g, 'gateways/g' || g || '/data', 'malformed', 'd', '', 0,
						sha256(int8send(i * 1000000000::bigint + g)), $3,
						$3::timestamptz - i * interval '1 second'
					FROM generate_series(1, $1::int) g, generate_series(1, $2::int) i`,
					gateways, most, noon)
				run(b, db,
					`INSERT INTO rejection_counts SELECT g, $2 FROM generate_series(1, $1::int) g`,
					gateways, most)
				run(b, db, `VACUUM ANALYZE rejections`)
			}
			minute := 0
			for b.Loop() {
				minute++
				var rs []store.Reading
				var refused []store.Rejection
				for i := range 1000 {
					rs = append(rs, reading(int64(i), minute, 1))
				}
				for i := range gateways {
					if name != "none" {
						refused = append(refused,
							refusal(int64(i+1),
								fmt.Sprintf(`{"Value": 21.5, "timestamp": %d}`, minute), minute))
					}
				}
				_, err := s.Write(b.Context(), rs,
					store.SideWrites{Rejections: refused, MaxRejections: most})
				ok(b, err)
			}
		})
	}
}
