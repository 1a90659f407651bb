package server

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// TestLatestReading_IsStaleFromItsReceipt writes readings whose timestamps are ahead of and behind
// their receipt.
func TestLatestReading_IsStaleFromItsReceipt(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		timestamp, received time.Duration // before now
		age                 float64
		stale               bool
	}{
		"stamped as it is received": {
			10 * time.Second, 10 * time.Second, 10, false,
		},
		"stamped ahead and received just now":        {-time.Minute, 0, 0, false},
		"stamped ahead of now and received long ago": {-time.Minute, 2 * time.Minute, 120, true},
		"received long after its timestamp":          {2 * time.Minute, 0, 120, true},
	}
	for name, tt := range tests {
		r := store.Reading{Timestamp: now.Add(-tt.timestamp), Received: now.Add(-tt.received)}
		var got struct {
			Age   float64 `json:"age_seconds"`
			Stale bool    `json:"is_stale"`
		}
		if err := json.Unmarshal(appendLatest(nil, &r, "", now, time.Minute), &got); err != nil {
			t.Fatal(err)
		}
		if got.Age != tt.age || got.Stale != tt.stale {
			t.Errorf("%s: got %+v, want %v, %v", name, got, tt.age, tt.stale)
		}
	}
}
