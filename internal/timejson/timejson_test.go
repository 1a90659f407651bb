package timejson_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/internal/timejson"
)

type answer struct {
	At       time.Time                        `json:"at"`
	Pointer  *time.Time                       `json:"pointer,omitempty"`
	Nullable nullable.Nullable[time.Time]     `json:"nullable"`
	Absent   nullable.Nullable[time.Time]     `json:"absent,omitempty"`
	Number   nullable.Nullable[float64]       `json:"number"`
	Text     string                           `json:"text"`
	List     []time.Time                      `json:"list"`
	Any      map[string]any                   `json:"any"`
	Values   []nullable.Nullable[json.Number] `json:"values"`
	Floats   []float64                        `json:"floats"`
}

func TestMarshal(t *testing.T) {
	at := time.Date(2026, 1, 2, 4, 4, 5, 0, time.FixedZone("", 3600))
	later := at.Add(678 * time.Millisecond)
	got, err := timejson.Marshal(answer{
		At:       at,
		Pointer:  &later,
		Nullable: nullable.NewNullableWithValue(later),
		Number:   nullable.NewNullNullable[float64](),
		Text:     "2026-01-02T03:04:05Z <&>",
		List:     []time.Time{later},
		Any:      map[string]any{"b": at, "a": nil},
	})
	const want = `{"at":"2026-01-02T03:04:05.000000Z","pointer":"2026-01-02T03:04:05.678000Z",` +
		`"nullable":"2026-01-02T03:04:05.678000Z","number":null,` +
		`"text":"2026-01-02T03:04:05Z \u003c\u0026\u003e","list":["2026-01-02T03:04:05.678000Z"],` +
		`"any":{"a":null,"b":"2026-01-02T03:04:05.000000Z"},"values":null,"floats":null}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestMarshal_EqualsEncodingJSONWithoutTimes(t *testing.T) {
	for range 1000 {
		v := map[string]any{
			"s": string([]rune{rune(rand.IntN(0x3000)), '"', '\\', 0x2028}),
			"f": rand.NormFloat64() * 1e10,
			"i": rand.Int64(),
			"l": []any{nil, true, 1e21, 1e-7},
			"n": nullable.NewNullableWithValue(rand.Float64()),
		}
		got, err := timejson.Marshal(v)
		want, err2 := json.Marshal(v)
		if err != nil || err2 != nil || string(got) != string(want) {
			t.Fatalf("got %s, %v, want %s, %v", got, err, want, err2)
		}
	}
}
