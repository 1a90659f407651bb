package store_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// TestReadings_InPages reads random readings page by page, in every order, and compares them with
// those selected here.
func TestReadings_InPages(t *testing.T) {
	s := open(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var stored []store.Reading
	seen := map[string]bool{}
	for range 600 {
		r := reading(int64(rnd.IntN(8)+1), (rnd.IntN(30)-15)*6*60, float64(rnd.IntN(100)))
		r.Timestamp = r.Timestamp.Add(time.Duration(rnd.IntN(2)) * time.Microsecond)
		r.Quality = store.Quality(rnd.IntN(3))
		if rnd.IntN(9) == 0 {
			r.Value, r.StatusCode = math.NaN(), rnd.Uint32()
		}
		if k := fmt.Sprint(r.SensorID, r.Timestamp); !seen[k] {
			seen[k] = true
			stored = append(stored, r)
		}
	}
	write(t, s, stored...)
	for range 150 {
		q := store.ReadingsQuery{
			Ascending: rnd.IntN(2) == 0,
			Limit:     []int{1, 2, 7, 50, 1000}[rnd.IntN(5)],
		}
		for range rnd.IntN(8) + 1 {
			q.Sensors = append(q.Sensors, int64(rnd.IntN(9)+1)) // some twice, one that has none
		}
		bound := func() *time.Time {
			if rnd.IntN(2) == 0 {
				return nil
			}
			return &stored[rnd.IntN(len(stored))].Timestamp
		}
		if q.Start, q.End = bound(), bound(); rnd.IntN(3) == 0 {
			q.Quality = ptr(store.Quality(rnd.IntN(3)))
		}
		if q.Limit == 1 {
			q.Sensors = q.Sensors[:1] // a page each would take long
		}
		var want []store.Reading
		for _, r := range stored {
			if slices.Contains(q.Sensors, r.SensorID) &&
				(q.Start == nil || !r.Timestamp.Before(*q.Start)) &&
				(q.End == nil || r.Timestamp.Before(*q.End)) &&
				(q.Quality == nil || r.Quality == *q.Quality) {
				want = append(want, r)
			}
		}
		slices.SortFunc(want, func(a, b store.Reading) int {
			byTime := a.Timestamp.Compare(b.Timestamp)
			if !q.Ascending {
				byTime = -byTime
			}
			return cmp.Or(byTime, cmp.Compare(a.SensorID, b.SensorID))
		})
		var got []store.Reading
		for pages := 0; ; pages++ {
			page, err := s.Readings(t.Context(), q)
			ok(t, err)
			got = append(got, page...)
			if len(page) > q.Limit || pages > len(stored) {
				t.Fatalf("%+v: a page of %d, page %d", q, len(page), pages)
			}
			if len(page) < q.Limit {
				break
			}
			last := page[len(page)-1]
			q.After = &store.Cursor{Timestamp: last.Timestamp, SensorID: last.SensorID}
		}
		if !slices.Equal(lines(got), lines(want)) {
			t.Fatalf("%+v: got %d readings\n%v\nwant %d\n%v", q, len(got), lines(got), len(want),
				lines(want))
		}
	}
}

func TestReadings_OfUnknownSensors(t *testing.T) {
	s := open(t)
	for _, q := range []store.ReadingsQuery{
		{Limit: 5}, {Sensors: []int64{1, 1 << 40, -1}, Limit: 5},
	} {
		rs, err := s.Readings(t.Context(), q)
		if err != nil || rs == nil || len(rs) != 0 {
			t.Errorf("%+v: got %v, %v", q, rs, err)
		}
	}
	rs, err := s.Latest(t.Context(), store.LatestQuery{Limit: 5})
	if err != nil || rs == nil || len(rs) != 0 {
		t.Errorf("latest: got %v, %v", rs, err)
	}
}

func TestLatest_InPages(t *testing.T) {
	s := open(t)
	var sensors []store.Sensor
	var rs []store.Reading
	gateways := []store.Gateway{addGateway(t, s, "a"), addGateway(t, s, "b")}
	for i := range 12 {
		v, err := s.CreateSensor(t.Context(), store.Sensor{
			GatewayID: gateways[i%2].ID,
			Key:       fmt.Sprint("s", i),
			Name:      "s",
			Type:      []string{"temperature", "pressure", "flow"}[i%3],
			Tags:      "{}",
		})
		ok(t, err)
		sensors = append(sensors, v)
		if i != 11 { // one has none
			rs = append(rs, reading(v.ID, i, float64(i)), reading(v.ID, i-1, 0))
		}
	}
	write(t, s, rs...)
	ids := func(from ...int) (ids []int64) {
		for _, i := range from {
			ids = append(ids, sensors[i].ID)
		}
		return ids
	}
	tests := map[string]struct {
		q    store.LatestQuery
		want []int64
	}{
		"all that have one": {
			store.LatestQuery{}, ids(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
		},
		"some sensors": {
			store.LatestQuery{Sensors: ids(7, 3, 11, 3)}, ids(3, 7),
		},
		"a gateway": {
			store.LatestQuery{GatewayID: &gateways[1].ID}, ids(1, 3, 5, 7, 9),
		},
		"a type": {store.LatestQuery{Type: ptr("flow")}, ids(2, 5, 8)},
		"everything": {
			store.LatestQuery{
				Sensors:   ids(2, 5, 8, 9),
				GatewayID: &gateways[0].ID,
				Type:      ptr("flow"),
			},
			ids(2, 8),
		},
		"no such":                        {store.LatestQuery{Type: ptr("none")}, nil},
		"an id beyond what an id can be": {store.LatestQuery{Sensors: []int64{1 << 40}}, nil},
		"an empty list of sensors is all": {
			store.LatestQuery{Sensors: []int64{}, Type: ptr("flow")}, ids(2, 5, 8),
		},
		"from the middle on": {store.LatestQuery{After: sensors[8].ID}, ids(9, 10)},
		"from the middle on, of a gateway": {
			store.LatestQuery{After: sensors[4].ID, GatewayID: &gateways[0].ID}, ids(6, 8, 10),
		},
	}
	for name, tt := range tests {
		for _, limit := range []int{1, 2, 100} {
			var got []int64
			q := tt.q
			q.Limit = limit
			for {
				page, err := s.Latest(t.Context(), q)
				ok(t, err)
				for _, r := range page {
					got = append(got, r.SensorID)
					i := slices.IndexFunc(sensors,
						func(v store.Sensor) bool { return v.ID == r.SensorID })
					if r.Value != float64(i) || r.GatewayID != sensors[i].GatewayID ||
						r.Received.IsZero() {
						t.Errorf("%s: got %+v", name, r)
					}
				}
				if len(page) < limit {
					break
				}
				q.After = page[len(page)-1].SensorID
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%s, %d at a time: got %v, want %v", name, limit, got, tt.want)
			}
		}
	}
}

func TestParseQuality(t *testing.T) {
	for _, q := range []store.Quality{store.Good, store.Uncertain, store.Bad} {
		if got, ok := store.ParseQuality(q.String()); !ok || got != q {
			t.Errorf("%v: got %v, %v", q, got, ok)
		}
	}
	for _, name := range []string{"", "GOOD", "quality(3)"} {
		if _, ok := store.ParseQuality(name); ok {
			t.Errorf("%q is a quality", name)
		}
	}
	if got := store.Quality(3).String() +
		store.Quality(-1).String(); got != "quality(3)quality(-1)" {
		t.Errorf("got %s", got)
	}
}
