package store_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/oei-ms/oei-ms/store"
)

func TestGateways(t *testing.T) {
	s := open(t)
	a := addGateway(t, s, "press-1")
	b, err := s.CreateGateway(t.Context(),
		store.Gateway{
			Key:      "press-2",
			Name:     "Press 2",
			Location: "hall",
			Metadata: `{"a": [1, null]}`,
		})
	ok(t, err)
	if b.ID <= a.ID || b.Version != 1 || b.Status != "unknown" || b.LastSeenAt != nil ||
		b.ClockSkewMs != nil || b.Metadata != `{"a": [1, null]}` {
		t.Errorf("created: got %+v", b)
	}
	t.Run("a gateway is found by id", func(t *testing.T) {
		got, err := s.Gateway(t.Context(), b.ID)
		if err != nil || got != b {
			t.Errorf("got %+v, %v, want %+v", got, err, b)
		}
		for _, id := range []int64{0, 9999, 1 << 40} {
			_, err := s.Gateway(t.Context(), id)
			if !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrInvalid) {
				t.Errorf("gateway %d: got %v", id, err)
			}
		}
	})
	t.Run("filters and pages", func(t *testing.T) {
		tests := map[string]struct {
			filter store.GatewayFilter
			after  int64
			limit  int
			want   string
			count  int64
		}{
			"all":            {store.GatewayFilter{}, 0, 10, "press-1 press-2", 2},
			"a page":         {store.GatewayFilter{}, 0, 1, "press-1", 2},
			"the next":       {store.GatewayFilter{}, a.ID, 1, "press-2", 2},
			"after the last": {store.GatewayFilter{}, b.ID, 1, "", 2},
			"a key":          {store.GatewayFilter{Key: ptr("press-2")}, 0, 10, "press-2", 1},
			"in use":         {store.GatewayFilter{IsActive: ptr(true)}, 0, 10, "press-1", 1},
			"a status":       {store.GatewayFilter{Status: ptr("online")}, 0, 10, "", 0},
			"all filters": {
				store.GatewayFilter{
					Key:      ptr("press-2"),
					Status:   ptr("unknown"),
					IsActive: ptr(false),
				},
				0, 10, "press-2", 1,
			},
			"no such key": {store.GatewayFilter{Key: ptr("' OR true --")}, 0, 10, "", 0},
		}
		for name, tt := range tests {
			gs, err := s.Gateways(t.Context(), tt.filter, tt.after, tt.limit)
			var keys []string
			for _, g := range gs {
				keys = append(keys, g.Key)
			}
			if got := strings.Join(keys, " "); err != nil || got != tt.want || gs == nil {
				t.Errorf("%s: got %q, %v, want %q", name, got, err, tt.want)
			}
			if n, err := s.CountGateways(t.Context(), tt.filter); n != tt.count || err != nil {
				t.Errorf("%s: count: got %d, %v, want %d", name, n, err, tt.count)
			}
		}
	})
	t.Run("an update keeps other properties and increments the version", func(t *testing.T) {
		got, err := s.UpdateGateway(t.Context(), b.ID, b.Version,
			store.GatewayChange{Name: ptr("New"), Location: ptr("")})
		if err != nil || got.Name != "New" || got.Location != "" || got.Key != b.Key ||
			got.Version != 2 || got.Metadata != b.Metadata || got.UpdatedAt.Before(b.UpdatedAt) {
			t.Errorf("got %+v, %v", got, err)
		}
		got, err = s.UpdateGateway(t.Context(), b.ID, 0,
			store.GatewayChange{Metadata: ptr(`{}`), IsActive: ptr(true)})
		if err != nil || got.Version != 3 || got.Metadata != "{}" || !got.IsActive {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	t.Run("each fault has its error", func(t *testing.T) {
		update := func(id, version int64, c store.GatewayChange) error {
			_, err := s.UpdateGateway(t.Context(), id, version, c)
			return err
		}
		isError(t, update(b.ID, 1, store.GatewayChange{Name: ptr("x")}), store.ErrStale)
		isError(t, update(9999, 1, store.GatewayChange{Name: ptr("x")}), store.ErrNotFound)
		isError(t, update(9999, 0, store.GatewayChange{Name: ptr("x")}), store.ErrNotFound)
		isError(t, update(b.ID, 0, store.GatewayChange{Key: ptr("press-1")}), store.ErrConflict)
		isError(t, update(b.ID, 0, store.GatewayChange{Metadata: ptr("{")}), store.ErrInvalid)
		isError(t, update(b.ID, 0, store.GatewayChange{Name: ptr(strings.Repeat("x", 101))}),
			store.ErrInvalid)
		_, err := s.CreateGateway(t.Context(),
			store.Gateway{Key: "press-1", Name: "x", Metadata: "{}"})
		isError(t, err, store.ErrConflict)
	})
	t.Run("of many updates of one version one succeeds", func(t *testing.T) {
		now, err := s.Gateway(t.Context(), b.ID)
		ok(t, err)
		var won atomic.Int32
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := s.UpdateGateway(t.Context(), b.ID, now.Version,
					store.GatewayChange{Name: ptr("race")}); err == nil {
					won.Add(1)
				} else {
					isError(t, err, store.ErrStale)
				}
			})
		}
		wg.Wait()
		if n := won.Load(); n != 1 {
			t.Errorf("won: got %d", n)
		}
	})
}

func TestDeleteGateway(t *testing.T) {
	s, db := openRaw(t)
	g, other := addGateway(t, s, "g"), addGateway(t, s, "other")
	a, b := addSensor(t, s, g.ID, "a"), addSensor(t, s, g.ID, "b")
	stays := addSensor(t, s, other.ID, "c")
	_, _, _, err := s.AddCredential(t.Context(), g.ID, "secret")
	ok(t, err)
	write(t, s, reading(a.ID, 0, 1), reading(a.ID, 3*24*60, 2), reading(b.ID, -24*60, 3),
		reading(stays.ID, 0, 4))
	count := func(q string) int { return scan[int](t, db, q) }

	check := func(what string, d store.Deletion, err error, gateways, sensors, first, last int) {
		t.Helper()
		ok(t, err)
		if d.Gateways != gateways || d.Sensors != sensors || d.First == nil || d.Last == nil ||
			!d.First.Equal(reading(0, first, 0).Timestamp) ||
			!d.Last.Equal(reading(0, last, 0).Timestamp) {
			t.Errorf("%s: got %+v %v %v", what, d, d.First, d.Last)
		}
	}
	d, err := s.DeleteGateway(t.Context(), g.ID, 0, false, true)
	check("a dry run", d, err, 1, 2, -24*60, 3*24*60)
	d, err = s.DeleteSensor(t.Context(), a.ID, a.Version, true)
	check("a dry run of a sensor", d, err, 0, 1, 0, 3*24*60)
	if n := count(`SELECT count(*) FROM sensors`) + count(`SELECT count(*) FROM purges`); n != 3 {
		t.Errorf("after dry runs: got %d sensors and purges, want 3", n)
	}
	_, err = s.DeleteGateway(t.Context(), g.ID, 0, false, false)
	isError(t, err, store.ErrInUse)
	_, err = s.DeleteGateway(t.Context(), g.ID, 7, true, false)
	isError(t, err, store.ErrStale)
	_, err = s.DeleteGateway(t.Context(), 999, 0, true, false)
	isError(t, err, store.ErrNotFound)
	_, err = s.DeleteSensor(t.Context(), a.ID, 7, false)
	isError(t, err, store.ErrStale)
	_, err = s.DeleteSensor(t.Context(), 999, 0, false)
	isError(t, err, store.ErrNotFound)

	d, err = s.DeleteGateway(t.Context(), g.ID, g.Version, true, false)
	check("a cascade", d, err, 1, 2, -24*60, 3*24*60)
	if n := count(`SELECT count(*) FROM sensors`); n != 1 {
		t.Errorf("sensors: got %d, want 1", n)
	}
	if n := count(`SELECT count(*) FROM gateway_credentials`); n != 0 {
		t.Errorf("credentials: got %d, want 0", n)
	}
	latest, err := s.Latest(t.Context(), store.LatestQuery{Limit: 10})
	if err != nil || len(latest) != 1 || latest[0].SensorID != stays.ID {
		t.Errorf("latest: got %v, %v", latest, err)
	}

	write(t, s, reading(a.ID, 1, 5)) // it was on its way during the deletion
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { isError(t, s.PurgeDeletedSensors(t.Context()), nil) })
	}
	wg.Wait()
	ok(t, s.PurgeDeletedSensors(t.Context()))
	if n := count(`SELECT count(*) FROM sensor_data`); n != 1 || len(all(t, s, stays.ID)) != 1 {
		t.Errorf("readings: got %d, want the other gateway's", n)
	}
	if n := count(`SELECT count(*) FROM latest`) + count(`SELECT count(*) FROM purges`); n != 1 {
		t.Errorf("latest and purges: got %d, want 1", n)
	}
	d, err = s.DeleteSensor(t.Context(), stays.ID, stays.Version, false)
	check("a sensor", d, err, 0, 1, 0, 0)
	d, err = s.DeleteGateway(t.Context(), other.ID, 0, false, false)
	if err != nil || d.Sensors != 0 || d.First != nil || d.Last != nil {
		t.Errorf("an empty gateway: got %+v, %v", d, err)
	}
}
