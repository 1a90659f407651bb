package store_test

import (
	"database/sql"
	"testing"

	"github.com/oei-ms/oei-ms/store"
)

func TestSensors(t *testing.T) {
	s := open(t)
	g, other := addGateway(t, s, "g"), addGateway(t, s, "other")
	a := addSensor(t, s, g.ID, "t1")
	b, err := s.CreateSensor(t.Context(), store.Sensor{
		GatewayID: other.ID,
		Key:       "t1",
		Name:      "Pressure",
		Type:      "pressure",
		Unit:      "bar",
		MinValue:  ptr(-1.5),
		MaxValue:  ptr(1e300),
		Tags:      `{"line": "3"}`,
	})
	ok(t, err)
	if got, err := s.Sensor(t.Context(), b.ID); err != nil || *got.MinValue != -1.5 ||
		*got.MaxValue != 1e300 || got.Tags != `{"line": "3"}` || got.Version != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	if a.MinValue != nil || a.MaxValue != nil {
		t.Errorf("no bounds: got %+v", a)
	}
	t.Run("filters and pages", func(t *testing.T) {
		tests := map[string]struct {
			filter store.SensorFilter
			after  int64
			want   int64 // the first id; 0: none
			count  int64
		}{
			"all":       {store.SensorFilter{}, 0, a.ID, 2},
			"the next":  {store.SensorFilter{}, a.ID, b.ID, 2},
			"a gateway": {store.SensorFilter{GatewayID: &other.ID}, 0, b.ID, 1},
			"a type":    {store.SensorFilter{Type: ptr("pressure")}, 0, b.ID, 1},
			"in use":    {store.SensorFilter{IsActive: ptr(true)}, 0, a.ID, 1},
			"a key":     {store.SensorFilter{Key: ptr("t1"), GatewayID: &g.ID}, 0, a.ID, 1},
			"none":      {store.SensorFilter{Key: ptr("t2")}, 0, 0, 0},
		}
		for name, tt := range tests {
			list, err := s.Sensors(t.Context(), tt.filter, tt.after, 1)
			var got int64
			if len(list) > 0 {
				got = list[0].ID
			}
			if err != nil || got != tt.want || list == nil {
				t.Errorf("%s: got %d, %v, want %d", name, got, err, tt.want)
			}
			if n, err := s.CountSensors(t.Context(), tt.filter); n != tt.count || err != nil {
				t.Errorf("%s: count: got %d, %v, want %d", name, n, err, tt.count)
			}
		}
		unknown, err := s.UnknownSensors(t.Context(), []int64{999, a.ID, 1 << 40, b.ID, 998})
		if err != nil || len(unknown) != 3 || unknown[0] != 999 || unknown[2] != 998 {
			t.Errorf("unknown: got %v, %v", unknown, err)
		}
	})
	t.Run("an update sets and removes the bounds of the range", func(t *testing.T) {
		number := func(v float64) *sql.Null[float64] {
			return &sql.Null[float64]{V: v, Valid: true}
		}
		got, err := s.UpdateSensor(t.Context(), a.ID, 1,
			store.SensorChange{MinValue: number(1), MaxValue: number(2), Unit: ptr("Cel")})
		if err != nil || *got.MinValue != 1 || *got.MaxValue != 2 || got.Unit != "Cel" ||
			got.Version != 2 {
			t.Errorf("got %+v, %v", got, err)
		}
		got, err = s.UpdateSensor(t.Context(), a.ID, 2,
			store.SensorChange{MinValue: &sql.Null[float64]{}})
		if err != nil || got.MinValue != nil || *got.MaxValue != 2 {
			t.Errorf("got %+v, %v", got, err)
		}
		_, err = s.UpdateSensor(t.Context(), a.ID, 3, store.SensorChange{MinValue: number(3)})
		isError(t, err, store.ErrInvalid)
		_, err = s.UpdateSensor(t.Context(), a.ID, 1, store.SensorChange{})
		isError(t, err, store.ErrStale)
		_, err = s.UpdateSensor(t.Context(), 999, 1, store.SensorChange{})
		isError(t, err, store.ErrNotFound)
	})
	t.Run("each fault has its error", func(t *testing.T) {
		v := store.Sensor{GatewayID: g.ID, Key: "t1", Name: "x", Type: "x", Tags: "{}"}
		_, err := s.CreateSensor(t.Context(), v)
		isError(t, err, store.ErrConflict)
		v.GatewayID = 999
		_, err = s.CreateSensor(t.Context(), v)
		isError(t, err, store.ErrInUse)
		v.GatewayID, v.Key, v.MinValue, v.MaxValue = g.ID, "t2", ptr(2.), ptr(1.)
		_, err = s.CreateSensor(t.Context(), v)
		isError(t, err, store.ErrInvalid)
	})
}
